"""Members that fail and return in the same life, and the groups that they are put back into."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.clusters import Cluster, open_cluster
from tests.protocols.swim_clusters import alive, stated, swim
from tests.waiting import wait_until
from trionet import GroupNotFound, MemberFailed, MemberJoined, NodeAddress, NodeConfig
from trionet.protocols.effects import Notify
from trionet.protocols.statements import State
from trionet.protocols.swim_events import MemberForgotten
from trionet.protocols.swim_settings import SwimOptions
from trionet.services.groups import Groups
from trionet.services.missed_changes import MissedChanges

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trionet import Node
    from trionet.services.absences import MissedChange

OWN = NodeAddress("127.0.0.1", 8080)
A, B, C = (NodeAddress("127.0.0.1", port) for port in (1, 2, 3))


class Observer:
    """Ignores everything."""

    def group_added(self, gid: str) -> None: ...

    def group_changed(self, gid: str) -> None: ...

    def group_removed(self, gid: str) -> None: ...

    def cluster_members(self) -> list[Any]:
        return []


@pytest.fixture
async def groups() -> AsyncGenerator[Groups]:
    """The groups of a node whose cluster has the members A and B; both are in ``g``. It changes those of all nodes."""
    found = Groups(OWN, Observer())
    for node in (A, B):
        found.admit(node)
    await found.put("g", [OWN, A, B])
    with found.absences.group_wide():
        yield found


def _return(groups: Groups, node: NodeAddress, boot_id: int = 1) -> dict[str, MissedChange]:
    groups.admit(node)
    groups.restore(node, boot_id)
    return groups.absences.missed(node)


def _methods(missed: dict[str, MissedChange]) -> dict[str, str]:
    return {gid: change.method for gid, change in missed.items()}


# ------------------------------------------------------------------------------------------------ the rule, on one node


async def test_a_member_that_failed_and_returns_is_put_back_into_its_groups(groups: Groups) -> None:
    await groups.put("h", [A])
    await groups.put("others", [B])
    groups.expel(A, 1)
    assert A not in {*groups.members("g").values(), *groups.members("h").values(), *groups.members("all").values()}
    assert _return(groups, A) == {}
    assert [gid for gid in groups.gids() if A in groups.members(gid).values()] == ["all", "g", "h"]
    assert len(groups.absences) == 0


async def test_one_that_left_or_was_forgotten_or_started_again_is_not(groups: Groups) -> None:
    groups.expel(A)
    assert _return(groups, A) == {}
    assert A not in groups.members("g").values()
    groups.expel(B, 1)
    groups.absences.forget(B)
    _return(groups, B)
    assert B not in groups.members("g").values()
    await groups.add("g", A)
    groups.expel(A, 1)
    _return(groups, A, boot_id=2)
    assert A not in groups.members("g").values()
    assert len(groups.absences) == 0


async def test_one_that_fails_in_one_life_and_then_in_another_is_restored_as_the_second_was(groups: Groups) -> None:
    await groups.put("h", [A])
    groups.expel(A, 1)
    _return(groups, A, boot_id=2)
    await groups.add("h", A)
    groups.expel(A, 2)
    _return(groups, A, boot_id=2)
    assert A in groups.members("h").values()
    assert A not in groups.members("g").values()


async def test_one_that_was_removed_meanwhile_is_not_put_back_and_is_told(groups: Groups) -> None:
    groups.expel(A, 1)
    await groups.rem("g", A.sid)
    await groups.rem("g", B.sid)
    assert _methods(_return(groups, A)) == {"g": "rem"}
    assert list(groups.members("g").values()) == [OWN]
    change = groups.absences.missed(A)["g"]
    assert change.is_own
    groups.absences.told(A, "g", change)
    assert len(groups.absences) == 0


async def test_a_change_on_this_node_alone_holds_here_and_the_member_is_not_told() -> None:
    groups = Groups(OWN, Observer())
    for gid in ("g", "h", "i"):
        await groups.put(gid, [OWN, A])
    groups.expel(A, 1)
    await groups.rem("g", A.sid)
    await groups.del_("h")
    await groups.put("i", [OWN])
    assert _return(groups, A) == {}
    assert [gid for gid in groups.gids() if A in groups.members(gid).values()] == ["all"]
    assert len(groups.absences) == 0


async def test_a_group_that_was_deleted_meanwhile_is_not_made_again_and_the_member_is_told(groups: Groups) -> None:
    groups.expel(A, 1)
    await groups.del_("g")
    assert _methods(_return(groups, A)) == {"g": "del"}
    assert "g" not in groups.gids()


async def test_a_group_that_was_put_meanwhile_has_the_members_of_the_put(groups: Groups) -> None:
    groups.expel(A, 1)
    groups.expel(B, 1)
    await groups.put("g", [OWN, B])
    assert _methods(_return(groups, A)) == {"g": "rem"}
    assert _methods(_return(groups, B)) == {}
    assert sorted(groups.members("g").values()) == sorted([OWN, B])


async def test_a_group_that_was_deleted_and_put_again_with_the_member_holds_it(groups: Groups) -> None:
    groups.expel(A, 1)
    await groups.del_("g")
    await groups.put("g", [A])
    assert _return(groups, A) == {}
    assert list(groups.members("g").values()) == [A]


async def test_one_that_was_removed_and_added_again_meanwhile_is_in_the_group(groups: Groups) -> None:
    groups.expel(A, 1)
    await groups.rem("g", A.sid)
    await groups.add("g", A)
    assert _return(groups, A) == {}
    assert A in groups.members("g").values()


async def test_one_that_was_added_and_removed_again_meanwhile_is_not(groups: Groups) -> None:
    groups.expel(A, 1)
    await groups.add("g", A)
    await groups.rem("g", A.sid)
    assert _methods(_return(groups, A)) == {"g": "rem"}
    assert A not in groups.members("g").values()


async def test_a_removal_that_was_not_told_yet_is_told_after_the_next_return(groups: Groups) -> None:
    await groups.put("h", [A])
    groups.expel(A, 1)
    await groups.rem("g", A.sid)
    _return(groups, A)
    groups.expel(A, 1)
    assert groups.absences.missed(A) == {}, "it can't be told while it is away"
    assert _methods(_return(groups, A)) == {"g": "rem"}
    assert A in groups.members("h").values()


async def test_an_addition_after_the_return_ends_the_telling(groups: Groups) -> None:
    groups.expel(A, 1)
    await groups.rem("g", A.sid)
    _return(groups, A)
    await groups.add("g", A)
    assert groups.absences.missed(A) == {}


async def test_a_group_with_a_rule_restores_nobody_itself(groups: Groups) -> None:
    await groups.put("h", where={})
    groups.expel(A, 1)
    await groups.put("g", where={})
    assert _return(groups, A) == {}
    assert A not in {*groups.members("g").values(), *groups.members("h").values()}


async def test_what_is_kept_is_bounded_by_the_members_and_nothing_is_kept_without_listed_groups() -> None:
    groups = Groups(OWN, Observer())
    for port in range(1, 1000):
        node = NodeAddress("10.0.0.1", port)
        groups.admit(node)
        groups.expel(node, 1)
    assert len(groups.absences) == 0
    await groups.put("g", [A])
    for boot_id in range(1000):
        groups.admit(A)
        await groups.add("g", A)
        groups.expel(A, boot_id)
    assert len(groups.absences) == 1


_STEPS = st.sampled_from(
    ["fail", "return", "restart", "leave", "forget", "put with", "put without", "add", "rem", "del"]
)


class _Model:
    """Whether A is in the group ``g``, said plainly.

    Attributes:
        is_here: whether A is present.
        is_in: whether the group holds A.
        would_be: whether A would be put back into it.
        exists: whether there is a group.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.boot_id = 1
        self.is_here, self.is_in, self.would_be, self.exists = True, True, False, True

    async def take(self, step: str) -> None:
        """Do one step on the groups and on the model, if it is possible."""
        if step in ("fail", "leave"):
            self._go(step)
        elif step in ("return", "restart", "forget"):
            self._come(step)
        elif step.startswith("put"):
            await self.groups.put("g", [A, B] if step == "put with" else [B])
            self.is_in, self.would_be, self.exists = step == "put with", False, True
        elif self.exists:
            await {
                "add": partial(self.groups.add, "g", A),
                "rem": partial(self.groups.rem, "g", A.sid),
                "del": partial(self.groups.del_, "g"),
            }[step]()
            self.is_in, self.exists = step == "add", step != "del"
            self.would_be = self.would_be and step == "add"

    def _go(self, step: str) -> None:
        if self.is_here:
            self.groups.expel(A, self.boot_id if step == "fail" else None)
            self.is_here, self.is_in, self.would_be = False, False, self.is_in and step == "fail"

    def _come(self, step: str) -> None:
        if self.is_here:
            return
        if step == "forget":
            self.groups.absences.forget(A)
        else:
            self.boot_id += step == "restart"
            _return(self.groups, A, self.boot_id)
            self.is_here, self.is_in = True, self.is_in or (self.would_be and step == "return")
        self.would_be = False


@given(st.lists(_STEPS, max_size=14))
def test_a_member_is_in_a_group_exactly_if_the_last_step_that_concerns_it_says_so(steps: list[str]) -> None:
    async def run() -> None:
        groups = Groups(OWN, Observer())
        groups.admit(A)
        await groups.put("g", [A, B])
        model = _Model(groups)
        for step in steps:
            await model.take(step)
            assert ("g" in groups.gids()) is model.exists
            assert (model.exists and A in groups.members("g").values()) is model.is_in
            assert not model.is_in or not groups.absences.missed(A)

    trio.run(run)


# -------------------------------------------------------------------------------------------------------- the protocol


def test_the_protocol_reports_whom_it_forgets_after_its_time_and_for_room() -> None:
    core = swim("a", options=SwimOptions(forget_failed_s=100.0, gone=2))
    core.receive("b", alive("b"), 0.0)

    def forgotten(effects: list[Any]) -> list[str]:
        events = [effect.event for effect in effects if isinstance(effect, Notify)]
        return [event.name for event in events if isinstance(event, MemberForgotten)]

    found = [forgotten(core.receive("b", stated(name, State.DEAD), 1.0)) for name in ("x", "y", "z")]
    assert found == [[], [], ["x"]]
    later: list[str] = []
    while (now := core.next_deadline()) < 150.0:
        later += forgotten(core.on_timer(now))
        core.receive("b", alive("b", int(now)), now)
    assert later == ["y", "z"]


# --------------------------------------------------------------------------------------------------------- whole nodes


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


def _sids(*nodes: Node) -> list[str]:
    return sorted(node.sid for node in nodes)


def _held(node: Node, gid: str = "g") -> list[str]:
    return list(node.group(gid).members())


async def _put_everywhere(nodes: list[Node], gid: str = "g") -> None:
    await nodes[0].all.groups.put(gid, nodes)


async def _cut_off(cluster: Cluster, nodes: list[Node], victim: Node) -> list[Node]:
    """Cut a node off until the others hold it failed; return the others."""
    others = [node for node in nodes if node is not victim]
    cluster.network.down.add(victim.address)
    await wait_until(lambda: all(victim.sid not in node.all.members() for node in others))
    return others


async def _return_of(cluster: Cluster, nodes: list[Node]) -> None:
    cluster.network.down.clear()
    await cluster.wait_members(nodes)


async def test_a_node_that_was_cut_off_is_in_its_group_again_on_every_node(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    await _put_everywhere(nodes)
    others = await _cut_off(cluster, nodes, nodes[4])
    assert all(_held(node) == _sids(*others) for node in others)
    seen: list[tuple[str, bool]] = []

    def watch(event: object) -> None:
        if isinstance(event, MemberJoined | MemberFailed) and event.sid == nodes[4].sid:
            seen.append((type(event).__name__, event.sid in _held(nodes[0])))

    nodes[0].listen(watch)
    await _return_of(cluster, nodes)
    assert all(_held(node) == _sids(*nodes) for node in nodes)
    assert seen == [("MemberJoined", True)], "the groups have changed when the event comes"


async def test_both_sides_of_a_partition_are_in_their_groups_again_after_it(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(6)
    await _put_everywhere(nodes)
    sides = [nodes[:3], nodes[3:]]
    cluster.network.sides = [{node.address for node in side} for side in sides]
    for side in sides:
        await cluster.wait_members(side)
        assert all(_held(node) == _sids(*side) for node in side)
    cluster.network.sides = []
    await cluster.wait_members(nodes)
    assert all(_held(node) == _sids(*nodes) for node in nodes)


@pytest.mark.parametrize("change", ["rem", "del", "put"])
async def test_what_was_changed_meanwhile_holds_on_every_node_and_on_the_returned_one(
    autojump_clock: MockClock, cluster: Cluster, change: str
) -> None:
    nodes = await cluster.start_many(5)
    victim = nodes[4]
    await _put_everywhere(nodes)
    await _put_everywhere(nodes, "kept")
    others = await _cut_off(cluster, nodes, victim)
    groups = nodes[1].group("g").groups
    if change == "rem":
        await groups.rem("g", victim.sid)
    elif change == "del":
        await groups.del_("g")
    else:
        await groups.put("g", others)
    await _return_of(cluster, nodes)
    if change == "del":
        await wait_until(lambda: "g" not in victim.local.groups.gids())
    else:
        await wait_until(lambda: victim.sid not in _held(victim))
    await trio.sleep(60)
    for node in nodes:
        assert _held(node, "kept") == _sids(*nodes)
        if change == "del":
            with pytest.raises(GroupNotFound):
                node.group("g")
        else:
            assert victim.sid not in _held(node)
    assert all(len(node.local.groups.absences) == 0 for node in nodes)


async def test_what_a_node_changes_in_its_own_table_alone_does_not_reach_the_returned_one(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    await _put_everywhere(nodes)
    await _put_everywhere(nodes, "h")
    others = await _cut_off(cluster, nodes, nodes[4])
    await nodes[0].local.groups.put("g", others)
    await nodes[0].local.groups.del_("h")
    await _return_of(cluster, nodes)
    await trio.sleep(30)
    assert [nodes[4].sid in _held(node) for node in nodes] == [False, True, True, True, True]
    assert all(_held(node, "h") == _sids(*nodes) for node in nodes[1:])


async def test_a_returned_member_is_told_even_if_the_node_that_made_the_change_is_gone(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    victim = nodes[4]
    await _put_everywhere(nodes)
    await _cut_off(cluster, nodes, victim)
    await nodes[1].group("g").groups.rem("g", victim.sid)
    cluster.kill(nodes[1])
    rest = [node for node in nodes if node is not nodes[1]]
    await cluster.wait_members(rest[:-1])
    await _return_of(cluster, rest)
    await wait_until(lambda: victim.sid not in _held(victim))


async def test_a_node_that_leaves_or_starts_again_or_left_itself_is_not_put_back(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    await _put_everywhere(nodes)
    await nodes[1].leave()
    await wait_until(lambda: nodes[1].sid not in _held(nodes[0]))
    await nodes[1].join([nodes[0]])
    address = nodes[3].address
    cluster.kill(nodes[3])
    await wait_until(lambda: nodes[3].sid not in _held(nodes[0]))
    again = await cluster.start(NodeConfig(ip=address.ip, port=address.port, join=[str(nodes[0].address)]))
    await cluster.wait_members([*nodes[:3], again])
    await wait_until(lambda: _held(nodes[0]) == _held(nodes[2]) == _sids(nodes[0], nodes[2]))
    await trio.sleep(60)
    assert _held(nodes[0]) == _held(nodes[2]) == _sids(nodes[0], nodes[2])
    assert _held(nodes[1]) == [nodes[1].sid]


async def test_one_that_leaves_while_another_is_failed_does_not_restore_it_when_it_joins_again(
    autojump_clock: MockClock,
    cluster: Cluster,
) -> None:
    nodes = await cluster.start_many(4)
    await _put_everywhere(nodes)
    await _cut_off(cluster, nodes, nodes[3])
    await nodes[0].leave()
    assert len(nodes[0].local.groups.absences) == 0
    await nodes[0].join([nodes[1]])
    await _return_of(cluster, nodes)
    assert _held(nodes[0]) == [nodes[0].sid]
    assert nodes[3].sid in _held(nodes[1])


async def test_members_that_missed_nothing_are_told_nothing(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    await _put_everywhere(nodes)
    told: list[NodeAddress] = []

    async def tell(node: NodeAddress) -> None:
        told.append(node)

    for node in nodes:
        node._agent.missed_changes._tell = tell  # type: ignore[method-assign]  # noqa: SLF001
    await _cut_off(cluster, nodes, nodes[3])
    await _return_of(cluster, nodes)
    await trio.sleep(10)
    assert told == []
    await _cut_off(cluster, nodes, nodes[3])
    await nodes[0].all.groups.rem("g", nodes[3].sid)
    await _return_of(cluster, nodes)
    await wait_until(lambda: told == 3 * [nodes[3].address])


@pytest.mark.parametrize("size", [5, 7, 400])
async def test_of_a_large_group_some_tell_a_returned_member_and_the_one_that_made_the_change(size: int) -> None:
    """Count the tellers among the nodes of a group, each with random numbers of its own."""
    members = [NodeAddress(f"10.0.{number >> 8}.{number & 255}", 80) for number in range(1, size)]
    tellers = 0
    for number in range(size):
        groups = Groups(OWN, Observer())
        groups.admit(A)
        await groups.put("g", [A, *members])
        groups.expel(A, 1)
        with groups.absences.group_wide():
            await groups.rem("g", A.sid)
        change = groups.absences._by_sid[A.sid].missed["g"]  # noqa: SLF001
        groups.absences._by_sid[A.sid].missed["g"] = change._replace(is_own=number == 0)  # noqa: SLF001
        _return(groups, A)
        comm: Any = None  # the task that would call is cancelled before it begins
        async with trio.open_nursery() as nursery:
            missed = MissedChanges(groups.absences, comm, nursery, Random(number))
            missed.tell(A)
            started = len(nursery.child_tasks)
            groups.absences.clear()
        assert number or started, "the node that made the change tells it"
        tellers += started
    assert tellers == size if size <= 7 else 1 <= tellers <= 35
