"""Trials of calls along a tree: nodes end, links are cut, callers cancel, at any moment; and what must hold."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import trio
import trio.lowlevel

from trionet import DefiniteError, Node, NodeConfig, OrphanedCall, Replies, current_call, rpc
from trionet.simulation import (
    Crash,
    Degrade,
    Isolate,
    Network,
    OneWay,
    Partition,
    Pause,
    open_cluster,
    run,
)
from trionet.templates import tree_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trionet.simulation import Fault

__all__ = ["Ledger", "Work", "check_trial"]

SETTLE_S = 70.0
CALLS = 4
LATENCIES_S = (0.0005, 0.01, 0.05)


class Ledger:
    """What has run in one trial, on all nodes and in all their lives.

    Attributes:
        begun: how often each call has begun at each address.
        running: the handlers that run, by id.
        orphans: the ids of calls that were reported as orphans at their caller.
    """

    def __init__(self) -> None:
        self.begun: Counter[tuple[str, str]] = Counter()
        self.running: Counter[str] = Counter()
        self.orphans: set[str] = set()


class Work:
    """A service whose handlers take a time, and are noted."""

    def __init__(self, node: Node, ledger: Ledger) -> None:
        self._own = str(node.address)
        self._ledger = ledger

    @rpc
    async def do(self, seconds: float) -> tuple[str, str]:
        call = current_call()
        self._ledger.begun[self._own, call.id] += 1
        self._ledger.running[call.id] += 1
        try:
            await trio.sleep(seconds)
        finally:
            self._ledger.running[call.id] -= 1
        return self._own, call.id

    @rpc
    def note(self, _: float) -> tuple[str, str]:
        call = current_call()
        self._ledger.begun[self._own, call.id] += 1
        return self._own, call.id


def _faults(random: Random, nodes: int, within_s: float) -> Iterator[Fault]:
    """Yield faults of other nodes than the caller, and of links."""
    for _ in range(random.randrange(4)):
        at_s, lasts_s = random.uniform(0, within_s), random.choice((0.2, 2.0, 40.0))
        node = random.randrange(1, nodes)
        others = random.sample(range(nodes), nodes)
        cut = random.randrange(1, nodes)
        yield random.choice((
            Crash(at_s=at_s, duration_s=lasts_s, node=node),
            Crash(at_s=at_s, duration_s=None, node=node, is_silent=True),
            Pause(at_s=at_s, duration_s=lasts_s, node=node),
            Isolate(at_s=at_s, duration_s=lasts_s, node=node),
            Partition(at_s=at_s, duration_s=lasts_s, sides=[others[:cut], others[cut:]]),
            OneWay(at_s=at_s, duration_s=lasts_s, sources=others[:cut], targets=others[cut:]),
            Degrade(at_s=at_s, duration_s=lasts_s, loss=0.3),
        ))  # fmt: skip


def check_trial(seed: int, monkeypatch: Any, *, with_faults: bool = True) -> None:
    """Run a trial; raise `AssertionError` where a promise is broken."""
    random = Random(seed)
    arity = random.choice((2, 3, 5))
    monkeypatch.setattr(tree_calls, "arity_of", lambda _: arity)
    run(_trial, seed, random, with_faults, seed=seed)


async def _trial(seed: int, random: Random, with_faults: bool) -> None:
    ledger = Ledger()

    async def start(node: Node) -> None:
        await node.local.routes.put(Work(node, ledger))

    count = random.randrange(6, 16)
    network = Network(latency="uniform", latency_s=random.choice(LATENCIES_S))
    outcomes: list[Replies[Any]] = []
    async with open_cluster(count, seed=seed, config=NodeConfig(on_start=start), network=network) as sim:
        await sim.wait_converged()
        caller = sim.nodes[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note_orphans, caller, ledger)
            await trio.lowlevel.checkpoint()
            for _ in range(CALLS):
                work_s = random.choice((0.0, 0.01, 0.3))
                if with_faults:
                    sim.play(list(_faults(random, count, work_s + 0.2)))
                outcomes.append(await _call(random, caller, ledger, work_s, with_faults))
            await trio.sleep(SETTLE_S)
            nursery.cancel_scope.cancel()
    assert ledger.begun
    twice = [place for place, times in ledger.begun.items() if times > 1]
    assert not twice, f"these have run twice: {twice}"
    assert not +ledger.running, f"these run on: {ledger.running}"
    for replies in outcomes:
        _check_errors(replies, ledger)


async def _note_orphans(caller: Node, ledger: Ledger) -> None:
    async for event in caller.events():
        if isinstance(event, OrphanedCall):
            ledger.orphans.add(event.id)


async def _call(random: Random, caller: Node, ledger: Ledger, work_s: float, with_faults: bool) -> Replies[Any]:
    """Make one call along a tree; cancel it at some moment, or not."""
    members = caller.all.members()
    method = Work.do if random.random() < 0.8 else Work.note
    within_s = random.choice((None, None, random.uniform(0, work_s + 0.1)))
    partial = random.random() < 0.5
    wait: Any = random.choice(("all", "all", "first", 3))
    options = caller.all.options(tree=True, partial=partial, wait=wait if len(members) >= 3 else "all")
    replies: Replies[Any] = Replies({}, {})
    before = set(ledger.begun)
    with trio.CancelScope() as scope:
        if within_s is not None:
            scope.deadline = trio.current_time() + within_s
        replies = await options.call(method, work_s)
        is_whole = wait == "all" or len(members) < 3
        assert not (is_whole and replies.values.keys() | replies.errors.keys() != members.keys()), "the map has a hole"
        assert (
            is_whole
            or len(replies.values) >= (1 if wait == "first" else 3)
            or (replies.values.keys() | replies.errors.keys() == members.keys())
        ), "there are too few values"
    ids = {call_id for _, call_id in set(ledger.begun) - before}
    if not with_faults:
        left = [one for one in ids if ledger.running[one]]
        assert not left, f"handlers run after the end of their call: {left}"
        assert not ledger.orphans
    assert not replies.values.keys() & replies.errors.keys()
    for sid, (own, call_id) in replies.values.items():
        assert own == str(members[sid]), "another member's answer"
        assert ledger.begun[own, call_id] == 1, "these have run twice, or never"
    return replies


def _check_errors(replies: Replies[Any], ledger: Ledger) -> None:
    ids = {call_id for _, call_id in replies.values.values()}
    if len(ids) != 1:
        assert not ids
        return
    (call_id,) = ids
    for error in replies.errors.values():
        if isinstance(error, DefiniteError):
            assert not ledger.begun[str(error.node), call_id], f"a call has run that has surely not: {error!r}"
