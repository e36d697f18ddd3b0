"""Very many whole nodes in one simulation: what they know, a rumor, group-wide calls, and a failure.

``python -m benchmarks simulated-nodes --nodes 1000`` runs it for so many nodes.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet import MemberFailed, Node, NodeConfig, Remote, rpc
from trionet.simulation import open_cluster, run
from trionet.simulation.cluster import are_converged

from .memory import memory
from .results import Goal, Result

if TYPE_CHECKING:
    from trionet import Event, Replies
    from trionet.simulation import Simulation

    from .settings import Settings

__all__ = ["NodesFigures", "Step", "nodes_figures", "run_simulated_nodes"]

_LIMIT_S: Final = 120.0
_HEAR: Final = Remote(service="hearer", method="hear")
_REST_S: Final = 10.0


class Step(msgspec.Struct, frozen=True):
    """One step of the run.

    Attributes:
        what: what is done.
        reached: how many nodes it has reached.
        of: how many it had to reach.
        virtual_s: its virtual time.
        cpu_s: its processor time.
        messages: the messages of all nodes.
    """

    what: str
    reached: int
    of: int
    virtual_s: float
    cpu_s: float
    messages: int


class NodesFigures(msgspec.Struct, frozen=True):
    """The figures of one run.

    Attributes:
        nodes: how many nodes.
        steps: the steps, in order.
        mib: the memory of all nodes, in MiB.
        false_failures: reports of failures of nodes that ran.
    """

    nodes: int
    steps: list[Step]
    mib: float
    false_failures: int


class _Hearer:
    """Counts the calls of its node."""

    def __init__(self) -> None:
        self.heard = 0

    @rpc
    def hear(self) -> int:
        self.heard += 1
        return self.heard


class _Watch:
    """Measures the steps of one run."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.hearers: list[_Hearer] = []
        self._sim: Simulation | None = None
        self._begin()

    def _begin(self) -> None:
        messages = 0 if self._sim is None else self._sim.fabric.messages
        self._begun = trio.current_time(), time.process_time(), messages

    async def hear_at(self, node: Node) -> None:
        """Expose a hearer at a node that starts."""
        hearer = _Hearer()
        self.hearers.append(hearer)
        await node.local.routes.put(hearer, "hearer")

    def end(self, sim: Simulation, what: str, reached: int, of: int) -> None:
        """End a step, and begin the next one."""
        self._sim = sim
        at, cpu, messages = self._begun
        spent = trio.current_time() - at, time.process_time() - cpu, sim.fabric.messages - messages
        self.steps.append(Step(what, reached, of, *spent))
        self._begin()


async def _wait_until(is_done: Any) -> None:
    with trio.move_on_after(_LIMIT_S):
        while not is_done():  # noqa: ASYNC110  virtual time
            await trio.sleep(0.05)


def _answered(replies: Replies[Any]) -> int:
    return len(replies.values)


async def _fail_one(sim: Simulation, watch: _Watch) -> int:
    """Crash the host of one node; return how often a node was reported that runs."""
    victim = len(sim.nodes) // 2
    lost, noticed, false = sim.nodes[victim].address, set[str](), 0

    def note(node: Node, event: Event) -> None:
        nonlocal false
        if isinstance(event, MemberFailed):
            if event.node == lost:
                noticed.add(node.sid)
            else:
                false += 1

    others = [node for index, node in enumerate(sim.nodes) if index != victim]
    for node in others:
        node.listen(functools.partial(note, node))
    await trio.sleep(_REST_S)
    knowing = sum(len(node.members()) == len(sim.nodes) for node in sim.nodes)
    watch.end(sim, f"{_REST_S:g} s at rest, all know all", knowing, len(sim.nodes))
    sim.crash(victim, is_silent=True)
    await _wait_until(lambda: len(noticed) == len(others))
    watch.end(sim, "one fails, known by all", len(noticed), len(others))
    return false


async def _figures(nodes: int, seed: int) -> NodesFigures:
    before, watch = memory()["rss"], _Watch()
    config = NodeConfig(on_start=watch.hear_at)
    async with open_cluster(nodes, seed=seed, config=config, is_traced=False) as sim:
        watch.end(sim, "all start, and know all", nodes if are_converged(sim.nodes) else 0, nodes)
        everyone = sim.nodes[-1].all  # which has few links yet
        await everyone.gossip.send([], _HEAR)
        await _wait_until(lambda: all(hearer.heard for hearer in watch.hearers))
        watch.end(sim, "a rumor", sum(hearer.heard == 1 for hearer in watch.hearers), nodes)
        for what, group in (
            ("a group-wide call, with connecting", everyone.options(service="hearer")),
            ("a group-wide call", everyone.options(service="hearer")),
            ("a group-wide call along a tree, with connecting", everyone.options(service="hearer", tree=True)),
            ("a group-wide call along a tree", everyone.options(service="hearer", tree=True)),
        ):
            watch.end(sim, what, _answered(await group.call(_Hearer.hear)), nodes)
        false = await _fail_one(sim, watch)
        return NodesFigures(nodes, watch.steps, (memory()["rss"] - before) / 2**20, false)
    raise AssertionError


def nodes_figures(nodes: int, seed: int = 0) -> NodesFigures:
    """Run so many whole nodes in virtual time."""
    return run(_figures, nodes, seed, seed=seed)


def _measured(settings: Settings) -> Result:
    settings.say(f"simulated-nodes: {settings.nodes:,} whole nodes in one simulation")
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, context, logging.disable, (logging.CRITICAL,)) as pool:
        found = pool.submit(nodes_figures, settings.nodes).result()
    result = Result("Whole nodes in one simulation", ["step", "nodes", "reached", "virtual s", "CPU s", "messages"])
    for step in found.steps:
        result.rows.append([step.what, step.of, step.reached, step.virtual_s, step.cpu_s, step.messages])
        result.goals.append(Goal(step.what, step.of, at_least=True, measured=step.reached, unit="nodes"))
    opened = found.steps[0]
    pairs = found.nodes**2
    result.rows.append(["memory, MiB in all", found.nodes, None, None, None, found.mib])
    result.goals += [
        Goal("failures reported of nodes that run", 0, at_least=False, measured=found.false_failures, unit="reports"),
    ]
    result.watch("start: CPU for each node that a node knows", [opened.cpu_s / pairs * 1e6], at_least=False, unit="us")
    return result


async def run_simulated_nodes(settings: Settings) -> Result:
    """Measure it."""
    return await trio.to_thread.run_sync(_measured, settings)
