"""How members see each other: asked a few a second, compared where digests differ, and bounded."""

from __future__ import annotations

from contextlib import aclosing
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.waiting import wait_until
from trionet import NodeAddress, NodeConfig, open_node
from trionet.dashboard import Dashboard
from trionet.dashboard.bounded import bounded
from trionet.dashboard.glances import Answer, Glance, Glances
from trionet.dashboard.looked_at import LookedAt
from trionet.dashboard.roster import Entry
from trionet.dashboard.topics import TOPICS
from trionet.dashboard.views import Views, differences
from trionet.protocols.statements import State, Statement
from trionet.protocols.swim_events import MemberInfo
from trionet.services.member import member_of
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from trionet import Node


def entry(number: int, state: State = State.ALIVE) -> Entry:
    info = MemberInfo(f"10.0.0.{number}:80", 1, state, number, {}, 0.0)
    member = member_of(info)
    assert member is not None
    return Entry(info, member, member.sid, 0)


def sid(number: int) -> str:
    return NodeAddress(f"10.0.0.{number}", 80).sid


ENTRIES = {
    one.info.name: one for one in (entry(1), entry(2, State.SUSPECT), entry(3, State.DEAD), entry(4, State.LEFT))
}
DOUBTED = {name: one for name, one in ENTRIES.items() if one.info.state in (State.SUSPECT, State.DEAD)}


@pytest.mark.parametrize(
    ("seen", "is_whole", "found"),
    [
        ({"1": "alive", "2": "suspect", "3": "failed", "4": "left"}, True, {}),
        ({"1": "failed", "2": "alive"}, True, {1: "failed", 2: "alive"}),
        ({"1": "alive"}, True, {2: "absent"}),  # those that are gone may be forgotten
        ({"1": "alive", "2": "suspect", "3": "alive"}, True, {3: "alive"}),
        ({"1": "alive", "2": "suspect", "5": "alive", "6": "failed"}, True, {5: "alive"}),
        ({"2": "suspect", "3": "failed"}, False, {}),
        ({"1": "suspect", "3": "failed"}, False, {1: "suspect", 2: "alive"}),
        ({"1": "nonsense", "2": "suspect", "3": "failed"}, False, {}),
    ],
)
def test_a_view_differs_where_it_has_others_as_present(
    seen: dict[str, str], is_whole: bool, found: dict[int, str]
) -> None:
    answer = Answer(seen={f"10.0.0.{number}:80": status for number, status in seen.items()}, is_whole=is_whole)
    assert differences(answer, ENTRIES, DOUBTED) == {sid(number): status for number, status in found.items()}


def test_the_view_of_a_hostile_member_is_bounded() -> None:
    answer = Answer(
        seen={f"10.1.{number // 250}.{number % 250}:80": "alive" for number in range(5000)} | {"x" * 9999: "alive"}
    )
    assert len(differences(answer, ENTRIES, DOUBTED)) <= 512


@pytest.mark.parametrize("value", [object(), float("nan"), 2**200, b"x", {1: {2: [None, ("x",)]}}, [[[[]]]]])
def test_what_a_peer_says_becomes_plain_data(value: Any) -> None:
    deep: Any = value
    for _ in range(50):
        deep = {"x" * 999: [deep, "y" * 999]}
    found = bounded({"parts": [deep, *range(10_000)]}, 100, 40)
    assert len(repr(found)) < 100 * 60


async def gathered(node: Node, name: str, glances: Glances, *of: str) -> dict[str, Any]:
    topic = TOPICS[name].begin(node, glances)
    document = await topic.gather(LookedAt(of=of, nodes=of))
    topic.close()
    return document


async def test_members_are_glanced_at_and_their_views_compared(autojump_clock: trio.testing.MockClock) -> None:
    fabric = MemoryFabric()
    async with (
        open_node(NodeConfig(join=[]), fabric=fabric) as a,
        open_node(NodeConfig(join=[str(a.address)]), fabric=fabric) as b,
        trio.open_nursery() as nursery,
    ):
        await wait_until(lambda: len(a.members()) == len(b.members()) == 2)
        glances = Glances(a)
        nursery.start_soon(glances.run, lambda: [b.sid], lambda: None)
        await wait_until(lambda: set(glances.latest) == {a.sid, b.sid})
        document = await gathered(a, "cluster", glances)
        assert document["views"] == {b.sid: {}}
        assert document["members"][b.sid]["status"] == "alive"
        row = (await gathered(a, "details", glances, b.sid))[b.sid]
        assert (row["health"], row["running"]) == (0, 0)
        nursery.cancel_scope.cancel()
    async with open_node(NodeConfig(join=[]), fabric=fabric) as a:
        assert "seen" not in a.local.inspection.glance(a.local.inspection.view)
        other = a.local.inspection.glance(0)
        assert (other["seen"], other["is_whole"]) == ({str(a.address): "alive"}, True)


async def test_a_member_that_does_not_answer_is_told_and_asked_less_often(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fabric = MemoryFabric()
    async with open_node(NodeConfig(join=[]), fabric=fabric) as a, trio.open_nursery() as nursery:
        a._agent.swim.assume([Statement("127.0.0.9:9", 1, int(State.ALIVE), 1)], a._agent.driver.now())  # noqa: SLF001
        silent = NodeAddress("127.0.0.9", 9).sid
        glances = Glances(a)
        nursery.start_soon(glances.run, lambda: [silent], lambda: None)
        await wait_until(lambda: silent in glances.latest)
        assert glances.latest[silent].row()["error"]
        asked_at = glances.latest[silent].at
        await trio.sleep(3)
        assert silent not in glances.latest or glances.latest[silent].at == asked_at
        nursery.cancel_scope.cancel()


async def test_news_has_accusers_whatever_they_are_called(autojump_clock: trio.testing.MockClock) -> None:
    async with open_node(NodeConfig(join=[]), fabric=MemoryFabric()) as a:
        driver, swim = a._agent.driver, a._agent.swim  # noqa: SLF001
        accused = Statement("127.0.0.9:9", 1, int(State.ALIVE), 1)
        by = (f"{a.address}", "no address at all", "x" * 100)
        driver.act(swim.receive("127.0.0.9:9", accused, driver.now()))
        suspected = Statement("127.0.0.9:9", 1, int(State.SUSPECT), 1, {}, tuple(sorted(by)))
        driver.act(swim.receive("127.0.0.9:9", suspected, driver.now()))
        news = await gathered(a, "news", Glances(a))
        assert [(one["kind"], one.get("by")) for one in news.values()] == [("joined", None), ("suspect", [a.sid])]


async def test_a_dashboard_whose_glances_fail_goes_on_and_so_does_its_node(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def fail(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise RuntimeError("no roster")

    monkeypatch.setattr("trionet.dashboard.glances.Glances._due", fail)
    async with open_node(NodeConfig(join=[]), fabric=MemoryFabric()) as node, trio.open_nursery() as nursery:
        dashboard = Dashboard(node, nursery)
        async with aclosing(dashboard.stream({"topics": "cluster"}, lambda: None)) as events:
            await anext(events)
            await wait_until(lambda: tries > 2)
            assert dashboard.gathered == ["cluster"]
        assert dashboard.gathered == []
        assert dashboard.viewers == 0


def test_of_too_many_differences_each_view_shows_its_share() -> None:
    every = {info.name: one for number in range(1000) for one in [entry_of(number)] for info in [one.info]}
    roster = SimpleNamespace(by_name=every, view=1)
    answers = {
        one.sid: Glance(0.0, answer=Answer(view=2, seen=dict.fromkeys(islice(every, 256), "suspect"), is_whole=False))
        for one in every.values()
    }
    views = Views()
    for _ in range(9):  # 128 a second
        found = views.refresh(answers, roster, "")  # type: ignore[arg-type]  # what is used of it
    assert len(found) == 1000
    assert {len(seen) for seen in found.values()} == {12}
    assert views.left_out == 1000 * (256 - 12)
    few = views.refresh(dict(islice(answers.items(), 20)), roster, "")  # type: ignore[arg-type]
    assert {len(seen) for seen in few.values()} == {256}
    assert views.left_out == 0


def entry_of(number: int) -> Entry:
    info = MemberInfo(f"10.0.{number // 250}.{number % 250 + 1}:80", 1, State.ALIVE, number, {}, 0.0)
    member = member_of(info)
    assert member is not None
    return Entry(info, member, member.sid, 0)
