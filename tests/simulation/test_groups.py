"""Groups of whole clusters under faults: members that return are put back, and rules are followed."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trionet import GroupNotFound, Member, Node, NodeConfig
from trionet.simulation import Crash, Leave, Network, Simulation, Trial, open_cluster, run, run_trial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet import Replies
    from trionet.simulation import Fault

COUNT = 30
LOSSY = Network(loss=0.05, duplicates=0.01, reordered=0.05)
STALL_S = 12.0
CHURN_S = 600.0
WITHIN_S = 10.0
POLL_S = 0.1

ROLES = ("worker", "store", "idle")
RULE = {"role": "worker"}


async def _wait(condition: Callable[[], object], within_s: float, what: Callable[[], object]) -> float:
    """Return after how many seconds the condition holds; fail when it takes longer than `within_s`."""
    began = trio.current_time()
    while not condition():
        assert trio.current_time() - began < within_s, what()
        await trio.sleep(POLL_S)
    return trio.current_time() - began


async def _on_all(change: Callable[[], Awaitable[Replies[Any]]]) -> None:
    """Change a group on every member; where messages are lost, a member may have to be called again."""
    while any(not isinstance(error, GroupNotFound) for error in (await change()).errors.values()):
        pass


def _sids(node: Node, gid: str) -> set[str] | None:
    return set(node.group(gid).members()) if gid in node.local.groups.gids() else None


# ------------------------------------------------------------------------------------------------------------- a stall


class _Stall:
    """A worker whose loop stalls, while its groups are changed.

    Five groups hold it: `kept` and `workers` are not changed meanwhile; it is removed from `removed`, `deleted` is
    deleted, and `replaced` is put without it.
    """

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        random = sim.random
        self.victim, self.changer = (sim.nodes[index] for index in random.sample(range(COUNT), 2))
        rest = [node for node in sim.nodes if node is not self.victim]
        self.rest = rest
        few = [self.victim, *random.sample(rest, 9)]
        self.groups = {"workers": few, "kept": sim.nodes, "removed": sim.nodes, "deleted": few, "replaced": sim.nodes}

    async def run(self) -> float:
        """Return how many seconds after the end of the stall all is as it should be on all nodes."""
        sid, nodes = self.victim.sid, self.sim.nodes
        for gid, members in self.groups.items():
            await _on_all(partial(self.changer.all.groups.put, gid, members))
        await trio.sleep(self.sim.random.uniform(0.0, 2.0))
        release = self.sim.pause(nodes.index(self.victim))
        assert release is not None
        with trio.move_on_after(STALL_S):
            await _wait(lambda: sid not in self.changer.all.members(), STALL_S, self._state)
            await trio.sleep(self.sim.random.uniform(0.0, 3.0))
            groups = self.changer.all.groups
            await _on_all(partial(groups.rem, "removed", sid))
            await _on_all(partial(groups.del_, "deleted"))
            await _on_all(partial(groups.put, "replaced", self.rest))
            await trio.sleep_forever()
        assert all(sid not in node.all.members() for node in self.rest), "the stall was noticed everywhere"
        release()
        return await _wait(self._is_healed, WITHIN_S, self._state)

    def _is_healed(self) -> bool:
        sid = self.victim.sid
        for node in self.rest:
            assert all(sid not in (_sids(node, gid) or ()) for gid in ("removed", "deleted", "replaced"))
        return all(
            sid not in (_sids(node, "removed") or ())
            and sid not in (_sids(node, "replaced") or ())
            and _sids(node, "deleted") is None
            and all(_sids(node, gid) == {one.sid for one in self.groups[gid]} for gid in ("workers", "kept"))
            for node in self.sim.nodes
        )

    def _state(self) -> str:
        wrong = {
            gid: [i for i, node in enumerate(self.sim.nodes) if self.victim.sid in (_sids(node, gid) or ())]
            for gid in self.groups
        }
        return f"n{self.sim.nodes.index(self.victim)} is held by {wrong}"


async def _stall(seed: int) -> float:
    async with open_cluster(COUNT, seed=seed, network=LOSSY, is_traced=False) as sim:
        return await _Stall(sim).run()


def _run_stalls(first: int, last: int) -> None:
    for seed in range(first, last):
        print(f"seed {seed}: {run(_stall, seed, seed=seed):.1f} s")  # noqa: T201  shown when it fails


@pytest.mark.slow
def test_a_stalled_worker_is_back_in_its_groups_on_every_node_and_in_none_that_it_was_removed_from() -> None:
    _run_stalls(0, 2)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 100, 10))
def test_a_stalled_worker_is_back_in_its_groups_with_many_seeds(first: int) -> None:
    _run_stalls(first, first + 10)


# ---------------------------------------------------------------------------------------------------------------- churn


def is_busy(member: Member) -> bool:
    """A rule by a function."""
    return member.tags["role"] != "idle"


async def put_rules(node: Node) -> None:
    """Put the groups of the churn, as `on_start`."""
    await node.local.groups.put("workers", where=RULE)
    await node.local.groups.put("busy", where=is_busy, subset=3)


def _configure(index: int) -> NodeConfig:
    return NodeConfig(tags={"role": ROLES[index % len(ROLES)]}, on_start=put_rules)


def _churn(duration_s: float, random: Random) -> list[Fault]:
    """Return crashes and leaves, each with a restart, at most a third of the nodes at once."""
    faults: list[Fault] = []
    back_at = [0.0] * COUNT
    at_s = 0.0
    while (at_s := at_s + random.expovariate(0.2)) < duration_s - 1.0:
        node = random.randrange(COUNT)
        if back_at[node] < at_s and sum(back > at_s for back in back_at) < COUNT // 3:
            away_s = min(random.uniform(1.0, 30.0), duration_s - at_s)
            back_at[node] = at_s + away_s + 5.0
            kind: type[Crash | Leave] = random.choice((Crash, Leave))
            faults.append(kind(at_s=at_s, duration_s=away_s, node=node))
    return faults


async def _change_tags(sim: Simulation) -> None:
    while True:
        await trio.sleep(sim.random.expovariate(0.5))
        await sim.random.choice(sim.up).set_tags({"role": sim.random.choice(ROLES)})


def _role(node: Node) -> str:
    return next(member.tags["role"] for member in node.members() if member.sid == node.sid)


def _differences(sim: Simulation) -> list[str]:
    roles = {node.sid: _role(node) for node in sim.up}
    workers = {sid for sid, role in roles.items() if role == "worker"}
    busy = {sid for sid, role in roles.items() if role != "idle"}
    return [
        f"n{sim.nodes.index(node)} {gid}"
        for node in sim.up
        for gid, expected in (("workers", workers), ("busy", busy))
        if _sids(node, gid) != expected
    ]


async def _churned(seed: int, duration_s: float) -> float:
    """Return how many seconds after the churn each node's view equals the rule."""
    async with open_cluster(COUNT, seed=seed, network=LOSSY, config=_configure, is_traced=False) as sim:
        sim.play(_churn(duration_s, Random(f"{seed} churn")))
        with trio.move_on_after(duration_s):
            await _change_tags(sim)
        return await _wait(
            lambda: len(sim.up) == COUNT and not _differences(sim), WITHIN_S, lambda: (len(sim.up), _differences(sim))
        )


def _run_churns(first: int, last: int, duration_s: float) -> None:
    for seed in range(first, last):
        print(f"seed {seed}: {run(_churned, seed, duration_s, seed=seed):.1f} s")  # noqa: T201  shown when it fails


@pytest.mark.slow
def test_after_a_churn_each_nodes_groups_equal_their_rules() -> None:
    _run_churns(0, 1, 60.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)  # a seed takes 18 s of processor time
@pytest.mark.parametrize("first", range(0, 1000, 20))
def test_after_a_churn_of_ten_minutes_each_nodes_groups_equal_their_rules(first: int) -> None:
    _run_churns(first, first + 20, CHURN_S)


# -------------------------------------------------------------------------------------------------------- the invariant


def with_rules(index: int) -> NodeConfig:
    """The configuration of a trial with groups by rule."""
    return _configure(index)


async def break_a_group(sim: Simulation) -> None:
    """Remove a node from a group, past its rule."""
    await trio.sleep(sim.duration_s)
    node = sim.nodes[0]
    node.local.groups._entries["workers"].delete(node.address)  # noqa: SLF001
    node.local.groups._entries["busy"].delete(node.address)  # noqa: SLF001


def _trial(seed: int, **changes: Any) -> Trial:
    settings: dict[str, Any] = {"nodes": 4, "duration_s": 10.0, "config": f"{__name__}:with_rules", **changes}
    return Trial(seed=seed, network=("lan", "bad")[seed % 2], **settings)


@pytest.mark.slow
def test_groups_follow_their_rules_after_faults_of_all_kinds() -> None:
    for seed in range(6):
        violations = run_trial(_trial(seed)).violations
        assert not violations, f"seed {seed}: {violations[0]}"


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_groups_follow_their_rules_with_many_seeds(first: int) -> None:
    for seed in range(first, first + 100):
        violations = run_trial(_trial(seed, nodes=3 + seed % 4)).violations
        assert not violations, f"seed {seed}: {violations[0]}"


def test_a_group_that_differs_from_its_rule_is_a_violation() -> None:
    trial = _trial(0, nodes=2, duration_s=1.0, settle_s=30.0, faults=[], program=f"{__name__}:break_a_group")
    violations = run_trial(trial).violations
    assert [violation.invariant for violation in violations] == ["groups_follow_rules"]
    assert violations[0].text == "the group workers of n0 lacks n0; the rule is {'role': 'worker'}"
