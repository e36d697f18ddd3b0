"""Under churn no item of a map is lost, and none runs twice unless its method is idempotent, with many seeds."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trionet import CallTimeout, DefiniteError, Node, NodeConfig, RemoteError, rpc
from trionet.message import Remote
from trionet.simulation import Partition, open_cluster, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from trionet import Done
    from trionet.simulation import Simulation

CHURN_S = 20.0
WITHIN_S = 600.0


class Ledger:
    """What happened to the items, on all nodes.

    Attributes:
        begun: how often each has begun.
        ended: how often each has come to its end.
        most: how many one life of a node had at once, at most.
    """

    def __init__(self) -> None:
        self.begun = Counter[int]()
        self.ended = Counter[int]()
        self.most = 0


class Worker:
    """Works on items for a random time, and fails at some."""

    def __init__(self, ledger: Ledger, random: Random) -> None:
        self._ledger = ledger
        self._random = random
        self._running = 0

    @rpc
    async def work(self, item: int) -> int:
        self._ledger.begun[item] += 1
        self._running += 1
        self._ledger.most = max(self._ledger.most, self._running)
        try:
            await trio.sleep(self._random.choice((0.0, 0.01, 0.1, self._random.uniform(0.0, 2.0))))
            self._ledger.ended[item] += 1
            if item % 17 == 3:
                raise ValueError("it can't be done")
        finally:
            self._running -= 1
        return item * item


class Plan:
    """The options of a map, and what happens to its cluster."""

    def __init__(self, seed: int) -> None:
        random = Random(f"{seed} plan")
        self.random = random
        self.size = random.choice((2, 3, 4, 6))
        self.network = random.choice(("lan", "lan", "bad"))
        self.count = random.choice((1, 20, 60, 150))
        self.is_async = random.random() < 0.5
        self.per_member = random.choice((1, 1, 2, 5))
        self.retries = random.choice((0, 1, 3))
        self.ordered = random.random() < 0.5
        self.idempotent = random.random() < 0.5
        self.by_rule = random.random() < 0.5
        self.was_cut_off = False

    def options(self) -> dict[str, Any]:
        names = ("per_member", "retries", "ordered", "idempotent")
        return {name: getattr(self, name) for name in names}


async def _churn(sim: Simulation, plan: Plan) -> None:
    """Crash, stop, pause, cut off and start members; in the end all of them run."""
    random, end = plan.random, trio.current_time() + CHURN_S
    while trio.current_time() < end:
        await trio.sleep(random.choice((0.1, random.uniform(0.0, 3.0))))
        index = random.randrange(1, len(sim.nodes))
        what = random.choice(("crash", "crash", "stop", "pause", "cut", "start"))
        if what == "crash" and sim.is_up(index):
            sim.crash(index, is_silent=random.random() < 0.5)
            await trio.sleep(random.uniform(0.0, 4.0))
            sim.restart_soon(index)
        elif what == "stop" and sim.stop(index):
            sim.restart_soon(index)
        elif what in ("pause", "cut"):
            plan.was_cut_off = True
            await _cut_off(sim, index, random, is_paused=what == "pause")
        elif what == "start" and len(sim.nodes) < 8:
            await sim.start()


async def _cut_off(sim: Simulation, index: int, random: Random, *, is_paused: bool) -> None:
    if not is_paused:
        others = [place for place in range(len(sim.nodes)) if place != index]
        sim.play([Partition(at_s=0.0, duration_s=random.uniform(0.1, 8.0), sides=[[index], others])])
    elif (resume := sim.pause(index)) is not None:
        await trio.sleep(random.choice((0.1, random.uniform(0.0, 8.0))))
        resume()


def _items(plan: Plan) -> Generator[int] | AsyncGenerator[int]:
    async def slowly() -> AsyncGenerator[int]:
        for item in range(plan.count):
            await trio.sleep(plan.random.choice((0.0, 0.0, plan.random.uniform(0.0, 0.3))))
            yield item

    return slowly() if plan.is_async else (item for item in range(plan.count))


async def work_through_churn(seed: int) -> dict[str, int]:
    """Map items over a cluster that changes; check what came of them, and return how much happened."""
    plan, ledger = Plan(seed), Ledger()

    async def employ(node: Node) -> None:
        await node.local.routes.put(Worker(ledger, Random(f"{seed} {node.address}")), "worker")

    def configure(index: int) -> NodeConfig:
        return NodeConfig(on_start=employ, tags={"role": "worker"} if index else {})

    async with open_cluster(plan.size, config=configure, seed=seed, network=plan.network, is_traced=False) as sim:
        caller, remote = sim.nodes[0], Remote(service="worker", method="work")
        if plan.by_rule:
            await caller.local.groups.put("workers", where={"role": "worker"})
        group = caller.group("workers") if plan.by_rule else caller.all
        read: list[Done[int, Any]] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_churn, sim, plan)
            with trio.fail_after(WITHIN_S):
                async with group.map(remote, _items(plan), **plan.options()) as results:
                    async for done in results:
                        read.append(done)
                        if plan.random.random() < 0.1:
                            await trio.sleep(plan.random.uniform(0.0, 0.5))
            nursery.cancel_scope.cancel()
        _check(plan, ledger, read)
        return {
            "items": len(read),
            "moved": sum(done.attempts > 1 for done in read),
            "lost": sum(done.error is not None and not isinstance(done.error, RemoteError) for done in read),
        }


def _check(plan: Plan, ledger: Ledger, read: list[Done[int, Any]]) -> None:
    indexes = [done.index for done in read]
    assert sorted(indexes) == list(range(plan.count)), "an item is lost, or came out twice"
    assert not plan.ordered or indexes == list(range(plan.count))
    assert ledger.most <= plan.per_member or plan.was_cut_off  # a member that seemed dead may still run old items
    for done in read:
        item, begun = done.item, ledger.begun[done.item]
        assert begun <= done.attempts <= 1 + plan.retries, f"item {item} has begun {begun} times"
        assert plan.idempotent or begun <= 1, f"item {item} has run twice"
        if done.error is None:
            assert done.result() == item * item
            assert ledger.ended[item] >= 1
        elif isinstance(done.error, RemoteError):
            assert item % 17 == 3
        elif isinstance(done.error, DefiniteError):
            assert plan.idempotent or begun == 0, f"item {item} has run, and comes out as if it had not"
        else:
            assert not isinstance(done.error, CallTimeout)
            assert not plan.idempotent or done.attempts == 1 + plan.retries


def run_seeds(first: int, last: int) -> dict[str, int]:
    total = Counter[str]()
    for seed in range(first, last):
        try:
            total.update(run(work_through_churn, seed, seed=seed))
        except BaseException as exc:
            raise AssertionError(f"seed {seed}") from exc
    return dict(total)


@pytest.mark.slow
def test_no_item_is_lost_and_none_runs_twice_that_must_not() -> None:
    run_seeds(0, 3)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_no_item_is_lost_and_none_runs_twice_with_a_hundred_seeds(first: int) -> None:
    assert run_seeds(first, first + 100)["moved"] > 50
