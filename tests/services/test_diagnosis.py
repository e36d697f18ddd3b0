"""What nodes tell of themselves and of their way to others, and the pings for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.certificates import CertificateAuthority
from tests.clusters import open_cluster
from tests.security.keys import key_of
from tests.serving import serving
from tests.transports.keyed_nodes import open_keyed
from tests.waiting import wait_until
from trionet import MalformedRequest, Node, NodeConfig, Remote, open_node
from trionet.diagnosis.checks import diagnose
from trionet.diagnosis.facts import NodeFacts, Survey, survey_from
from trionet.figures import NodeFigures
from trionet.security.key_file import new_key_file
from trionet.services.diagnosis import next_ones
from trionet.services.pinging import Way
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock


async def survey(node: Node, asker: Node | None = None) -> Survey:
    """Return the survey of a node, as another one receives it."""
    remote = Remote(node=node.address, service="diagnosis", method="survey")
    return survey_from(await (asker or node).local.comm.send([], remote))


async def test_a_survey_has_the_facts_of_all_members_and_a_healthy_cluster_no_findings(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(4)
        found = await survey(nodes[1], nodes[0])
        assert found.entry == str(nodes[1].address)
        assert sorted(found.members) == sorted(str(node.address) for node in nodes)
        for name, member in found.members.items():
            assert member.facts is not None
            assert member.faults == []
            assert member.facts.members == sorted(found.members), name
            assert member.facts.datagrams
            assert member.facts.version
        assert diagnose(found) == []


async def test_a_member_that_is_cut_off_is_found_with_what_it_could_not_do(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(4)
        cluster.network.down.add(nodes[3].address)
        found = await survey(nodes[0])
        ill = str(nodes[3].address)
        assert "no answer within" in found.members[ill].error
        for node in nodes[:3]:
            faults = found.members[str(node.address)].faults
            assert [(fault.to, fault.kind) for fault in faults] == [(ill, "both")]
        findings = diagnose(found)
        assert findings[0].check == "answers"
        assert {one.nodes for one in findings} == {(ill,)}


async def test_a_failed_member_is_gone_in_the_overview_and_the_survey(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(3)
        lost = str(nodes[2].address)
        cluster.kill(nodes[2])
        await wait_until(lambda: len(nodes[0].members()) == 2)
        overview = await nodes[0].local.comm.send(
            [], Remote(node=nodes[0].address, service="diagnosis", method="overview")
        )
        assert overview[lost] == {"sid": nodes[2].sid, "state": "failed", "figures": None, "error": ""}
        alive = overview[str(nodes[1].address)]
        assert (alive["state"], alive["error"]) == ("alive", "")
        assert msgspec.convert(alive["figures"], NodeFigures, strict=False).at_s > 0
        (finding,) = diagnose(await survey(nodes[0]))
        assert (finding.check, finding.nodes) == ("failed", (lost,))


async def test_a_silent_member_costs_the_overview_no_more_than_its_limit(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(3)
        cluster.network.hanging.add(nodes[2].address)
        begun_at = trio.current_time()
        found = await nodes[0].local.diagnosis.overview(0.5)
        assert trio.current_time() - begun_at < 1.6  # the cancelled call has a second to confirm its end
        assert found[str(nodes[2].address)]["error"] == "no answer within 0.5 s"
        assert found[str(nodes[1].address)]["figures"] is not None


@pytest.mark.parametrize("within_s", [0, -1, 61, True, "1", None, float("nan")])
async def test_the_limit_of_an_overview_is_some_seconds(within_s: Any, autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        node = await cluster.start(join=[])
        with pytest.raises(MalformedRequest, match="within_s is a number of seconds"):
            await node.local.diagnosis.overview(within_s)


@pytest.mark.parametrize("others", [5, "127.0.0.1:1", ["nonsense"], ["127.0.0.1:1"] * 17, None])
async def test_those_to_try_are_a_short_list_of_addresses(others: Any, autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        node = await cluster.start(join=[])
        with pytest.raises(MalformedRequest):
            await node.local.diagnosis.examine(others)


async def test_a_node_tries_to_reach_members_only_and_not_what_a_stranger_names() -> None:
    connected = trio.Event()

    async def notice(_: trio.SocketStream) -> None:
        connected.set()

    async with open_node(NodeConfig(join=[])) as node, serving(notice) as stranger:
        found = await node.local.diagnosis.examine([str(stranger), str(node.address)])
        assert found["faults"] == []
        assert not connected.is_set()


async def test_a_node_is_examined_for_some_at_once_and_others_wait(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        node = await cluster.start(join=[])
        begun_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(node.local.diagnosis.examine, [])
        assert 1.9 < trio.current_time() - begun_at < 2.1


async def test_surveys_by_all_members_at_once_find_nothing(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(8)
        found: list[Survey] = []

        async def look(node: Node) -> None:
            found.append(await survey(node))

        async with trio.open_nursery() as nursery:
            for node in nodes * 2:
                nursery.start_soon(look, node)
        assert [diagnose(one) for one in found] == [[]] * 16


async def test_two_members_that_don_t_reach_each_other_are_named_though_others_reach_both(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(4)
        one, other = nodes[2].address, nodes[3].address
        everyone = {node.address for node in nodes}
        cluster.network.sides = [everyone - {one}, everyone - {other}]
        (finding,) = [found for found in diagnose(await survey(nodes[0])) if found.check == "datagrams"]
        assert finding.nodes == tuple(sorted(map(str, (one, other))))
        assert finding.what.startswith("datagrams between ")


def test_in_a_large_cluster_each_member_is_tried_by_as_many() -> None:
    names = [f"10.0.0.{number}:1" for number in range(60)]
    tried = [name for place in range(60) for name in next_ones(names, place)]
    assert {tried.count(name) for name in names} == {16}
    assert all(name not in next_ones(names, place) for place, name in enumerate(names))


@pytest.mark.parametrize("way", Way)
async def test_a_ping_is_answered_by_each_way(way: Way) -> None:
    async with open_node(NodeConfig(join=[])) as one, open_node(NodeConfig(join=[str(one.address)])) as other:
        took_s = await one.local.diagnosis.pinging.ping(other.address, 20.0, way)
        assert took_s is not None
        assert 0 < took_s < 20
        assert other.local.diagnosis.pinging.open_count == one.local.diagnosis.pinging.open_count == 0


async def test_a_ping_to_nobody_ends_in_time_and_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(2)
        pinging = nodes[0].local.diagnosis.pinging
        cluster.network.down.add(nodes[1].address)
        begun_at = trio.current_time()
        assert await pinging.ping(nodes[1].address, 0.7) is None
        assert trio.current_time() - begun_at == pytest.approx(0.7)
        with trio.move_on_after(0.1):
            await pinging.ping(nodes[1].address, 5.0)
        assert pinging.open_count == 0


async def test_pings_are_no_probes(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(2)
        counts = nodes[0]._agent.swim.counts  # noqa: SLF001  nothing public shows these
        before = counts.unexpected
        for _ in range(5):
            assert await nodes[0].local.diagnosis.pinging.ping(nodes[1].address, 1.0) is not None
        assert counts.unexpected == before


async def test_a_key_that_a_member_lacks_is_found_and_named(tmp_path: Path, autojump_clock: MockClock) -> None:
    fabric = MemoryFabric()
    for name, number in (("one", 1), ("other", 1), ("new", 2)):
        new_key_file(str(tmp_path / name), key_of(number))
    async with (
        open_node(NodeConfig(key_file=str(tmp_path / "one"), join=[]), fabric=fabric) as one,
        open_node(NodeConfig(key_file=str(tmp_path / "other"), join=[str(one.address)]), fabric=fabric) as other,
    ):
        await wait_until(lambda: len(one.members()) == len(other.members()) == 2)
        await trio.sleep(10)
        assert diagnose(await survey(one)) == []
        key_id = await one.keys.install(str(tmp_path / "new"), by_file=True)
        await trio.sleep(10)
        (finding,) = [found for found in diagnose(await survey(one)) if found.severity != "note"]
        assert (finding.check, finding.severity) == ("keys", "warning")
        assert finding.nodes == (key_id, str(other.address))
        assert f"{other.address} don't hold key {key_id}, which is installed" in finding.what


async def test_a_sealed_cluster_is_healthy_and_its_pings_are_sealed() -> None:
    async with open_keyed(NodeConfig(join=[])) as one, open_keyed(NodeConfig(join=[str(one.address)])) as other:
        await wait_until(lambda: len(one.members()) == len(other.members()) == 2)
        found = await survey(one)
        assert all(facts.has_key and facts.is_protected and facts.seals_with for facts in found.facts.values())
        for way in Way:
            assert await one.local.diagnosis.pinging.ping(other.address, 20.0, way) is not None
        assert [one for one in diagnose(found) if one.check not in ("lag", "keys", "volatile-keys")] == []


async def test_a_certificate_that_ends_soon_is_found(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    for days, severity in ((30, None), (9, "warning"), (1, "error")):
        settings = authority.issue(hosts=("127.0.0.1",), ends_in_s=days * 86_400)
        async with open_node(NodeConfig(**settings)) as node:
            found = [one for one in diagnose(await survey(node)) if one.check == "certificates"]
            assert [one.severity for one in found] == ([severity] if severity else [])
            assert all(str(node.address) in one.what for one in found)


async def test_a_node_with_a_key_that_still_accepts_plain_peers_is_found(tmp_path: Path) -> None:
    new_key_file(str(tmp_path / "key"), key_of(1))
    async with open_node(NodeConfig(key_file=str(tmp_path / "key"), accept="both")) as node:
        found = [one for one in diagnose(await survey(node)) if one.check == "protection"]
        assert [(one.severity, one.nodes) for one in found] == [("warning", (str(node.address),))]


async def test_a_group_that_differs_is_found_and_one_by_rule_is_not(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(3, tags={"role": "worker"})
        await nodes[0].all.groups.put("ruled", where={"role": "worker"})
        await nodes[0].all.groups.put("listed", [node.address for node in nodes])
        assert diagnose(await survey(nodes[0])) == []
        await nodes[2].local.groups.rem("listed", nodes[0].sid)
        (finding,) = diagnose(await survey(nodes[0]))
        assert (finding.check, finding.nodes) == ("groups", ("listed",))


def test_the_facts_of_a_node_have_defaults() -> None:
    assert msgspec.convert({}, NodeFacts) == NodeFacts()
