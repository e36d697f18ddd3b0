"""What a member costs that is new, changes or goes: the same however many there are."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.clusters import open_cluster
from tests.protocols.swim_clusters import alive, stated, swim
from trionet import NodeAddress
from trionet.protocols.group_members import GroupMembers
from trionet.protocols.members import Members
from trionet.protocols.statements import State
from trionet.protocols.swim_messages import IndirectAck, Nack, Sync
from trionet.protocols.swim_settings import SwimOptions
from trionet.services.groups import ALL, Groups

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trionet import Member, Node
    from trionet.protocols.member_record import MemberRecord
    from trionet.protocols.statements import Statement


def _name(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:80"


def _take(node: Node, statements: list[Statement]) -> float:
    """Have a node hear statements, each in a packet of its own, from a member; return the processor time."""
    cluster = node._agent  # noqa: SLF001
    began = time.process_time()
    for statement in statements:
        cluster.driver.act(cluster.swim.receive(_name(0), statement, cluster.driver.now()))
    return time.process_time() - began


@pytest.mark.slow
async def test_a_join_and_a_failure_cost_the_same_among_many_as_among_few(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        node = await cluster.start(join=[])
        _take(node, [alive(_name(0))])
        spent: list[tuple[float, float]] = []
        first = 1
        for many in (500, 8000):
            _take(node, [alive(_name(number)) for number in range(first, many)])
            new = [_name(number) for number in range(many, many + 400)]
            joins = _take(node, [alive(name) for name in new])
            failures = _take(node, [stated(name, State.LEFT, 1) for name in new])
            spent.append((joins, failures))
            first = many + 400
            assert len(await node.local.groups.get(ALL)) == 1 + len(list(node.members())) - 1
        for few, many_s in zip(*spent, strict=True):
            assert many_s < 5 * few, "in proportion to the members it would be 16 times as much"


async def test_a_view_of_hundreds_is_told_to_the_groups_at_once(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        node = await cluster.start(join=[])
        _take(node, [alive(_name(0))])
        asked: list[int] = []

        def subset(sids: list[str]) -> int:
            asked.append(len(sids))
            return 3

        await node.local.groups.put("g", [_name(number) for number in range(300)], subset=subset)
        asked.clear()
        driver = node._agent.driver  # noqa: SLF001
        driver.act(node._agent.swim.receive(_name(0), Sync(tuple(alive(_name(n)) for n in range(1, 300))), 1.0))  # noqa: SLF001
        gone = Sync(tuple(stated(_name(number), State.LEFT, 1) for number in range(1, 200)))
        driver.act(node._agent.swim.receive(_name(0), gone, 1.0))  # noqa: SLF001
        assert asked == [101]


class _Counting:
    def __init__(self) -> None:
        self.changed: list[str] = []

    def group_added(self, gid: str) -> None: ...

    def group_changed(self, gid: str) -> None:
        self.changed.append(gid)

    def group_removed(self, gid: str) -> None: ...

    def cluster_members(self) -> list[Member]:
        return []


async def test_what_changes_within_a_block_is_told_once_and_exactly() -> None:
    observer = _Counting()
    one, two, three = (NodeAddress("10.0.0.1", port) for port in (1, 2, 3))
    groups = Groups(one, observer)
    await groups.put("g", [one, two])
    observer.changed.clear()
    for gid in (ALL, "g"):
        assert groups.pop_changes(gid) is None, "it may be anything"
    with groups.batch():
        groups.admit(three)
        groups.expel(two)
        groups.admit(two)
        groups.expel(three)
        assert observer.changed == []
    assert sorted(observer.changed) == [ALL, "g"]
    changes = groups.pop_changes(ALL)
    assert changes is not None
    assert (list(changes.added), list(changes.removed)) == ([two], [three])
    changes = groups.pop_changes("g")
    assert changes is not None
    assert (list(changes.added), list(changes.removed)) == ([], [two])
    assert list((await groups.get(ALL)).values()) == sorted((one, two), key=lambda node: node.sid)


@pytest.mark.parametrize("seed", range(20))
def test_the_members_of_a_group_that_changes_are_those_of_one_made_anew(seed: int) -> None:
    random = Random(seed)
    members = GroupMembers("me", ("me", "a", "b"), random)
    expected = {"me", "a", "b"}
    for _ in range(100):
        added = [str(random.randrange(30)) for _ in range(random.randrange(4))]
        removed = [random.choice([*sorted(expected), "nobody"]) for _ in range(random.randrange(4))]
        members.change(added, removed)
        expected = (expected - set(removed)) | set(added)
        assert sorted(members.names) == sorted(expected)
        assert members.is_member is ("me" in expected)
        assert all(name in members for name in expected)
        assert "nobody" not in members
        assert set(members.pick(100)) == expected - {"me"}


@pytest.mark.parametrize("seed", range(10))
def test_the_next_on_the_circle_is_found_whoever_comes_and_goes(seed: int) -> None:
    random = Random(seed)
    members = Members(alive("me"), 0.0, random, SwimOptions())
    here: dict[str, int] = {}
    for number in range(600):
        if random.random() < (0.8 if number < 200 else 0.3) or not here:
            here[str(number)] = 0
            members.put(alive(str(number)), 0.0)
        else:  # rather those near, as somebody would who means harm
            near = members.trusted_on_circle()
            assert near is not None
            name = near.name if random.random() < 0.7 else random.choice(list(here))
            del here[name]
            members.put(stated(name, State.LEFT, 1), 0.0)
        nearest = sorted(members.present, key=members._distance)[:7]  # noqa: SLF001
        assert members.trusted_on_circle() is (nearest[0] if nearest else None)
        assert members._near[::-1][:7] == nearest  # noqa: SLF001  those before a suspect confirm it: enough are cached


def test_members_that_go_in_the_order_of_the_circle_do_not_have_all_looked_at_each_time() -> None:
    looked = 0

    class Counting(Members):
        __slots__ = ()

        def _distance(self, member: MemberRecord) -> int:
            nonlocal looked
            looked += 1
            return super()._distance(member)

    members = Counting(alive("me"), 0.0, Random(1), SwimOptions(members=10_000, gone=10_000))
    for number in range(2000):
        members.put(alive(str(number)), 0.0)
    looked = 0
    for _ in range(1000):
        nearest = members.trusted_on_circle()
        assert nearest is not None
        members.put(stated(nearest.name, State.LEFT, 1), 0.0)
    assert looked < 2000 * 1000 / 10


def test_a_list_of_a_million_names_is_taken_up_to_the_bound_and_counted() -> None:
    core = swim("a", "b", options=SwimOptions(members=500))
    for start in range(0, 3000, 300):
        core.receive("b", Sync(tuple(alive(f"x{number}") for number in range(start, start + 300))), 1.0)
        core.receive("b", msgspec.structs.replace(alive(f"x{start}"), incarnation=5), 1.0)
    assert core.present_count <= 500
    assert core.counts.refused >= 2000


def test_a_member_that_comes_and_goes_for_ever_leaves_nothing_behind() -> None:
    core = swim("a", "b")
    for number in range(2000):
        core.receive("b", stated("c", State.DEAD, 2 * number), 1.0)
        core.receive("b", alive("c", 2 * number + 1), 1.0)
    assert len(core._context.timers._heap) < 100  # noqa: SLF001


def test_those_that_went_are_forgotten_in_their_order_each_after_its_time() -> None:
    core = swim("a", options=SwimOptions(forget_failed_s=100.0, forget_left_s=10.0))
    core.receive("b", alive("b"), 0.0)
    core.receive("b", stated("failed", State.DEAD), 1.0)
    core.receive("b", stated("left", State.LEFT), 2.0)
    core.receive("b", stated("later", State.LEFT), 5.0)
    forgotten: dict[str, float] = {}
    while (now := core.next_deadline()) < 150.0:
        core.on_timer(now)
        core.receive("b", alive("b", int(now)), now)
        for name in ("failed", "left", "later"):
            if core.member(name) is None:
                forgotten.setdefault(name, now)
    assert forgotten == {"left": 12.0, "later": 15.0, "failed": 101.0}


def test_an_answer_that_nobody_waits_for_costs_the_same_among_many_suspects() -> None:
    core = swim("a", *(f"n{number}" for number in range(2000)))
    core.receive("n0", Sync(tuple(stated(f"n{number}", State.SUSPECT) for number in range(1, 2000))), 1.0)
    looked = 0

    class Counting(set[str]):
        def __contains__(self, name: object) -> bool:
            nonlocal looked
            looked += 1
            return super().__contains__(name)

    for suspicion in core._suspecting.by_name.values():  # noqa: SLF001
        suspicion.asked, suspicion.seq = Counting(), 7  # as if all had this number
    core.receive("n0", Nack(7), 1.1)
    core.receive("n0", IndirectAck(7), 1.1)
    assert looked <= 2
