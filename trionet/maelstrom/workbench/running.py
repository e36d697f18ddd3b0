"""One test from its beginning to its end: nodes, network, services, clients, faults; then the final operations.

Source: Maelstrom, ``src/maelstrom/core.clj``: until the time limit operations and faults; then, where the workload has
final operations, heal the network, wait 10 s, and do those.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

import trio
import trio.testing

from trionet.errors import ConfigError
from trionet.trio_internals import seeded
from trionet.user_code import leaves

from .client import Clients
from .cluster import NodeCluster
from .errors import SetupFailed, StoreFailed
from .history import History
from .in_process import InProcessNode, load_program
from .journal import Journal
from .latency import latency_source
from .nemesis import Nemesis
from .network import Network
from .processes import NodeProcess, program_path
from .scheduler import Scheduler
from .services import SERVICES, add_services
from .workloads import WORKLOADS, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .journal import Arrow
    from .node_base import Crash, RunningNode
    from .options import Options
    from .store import Store
    from .workloads import Workload

__all__ = ["RECOVERY_S", "Run", "Status", "run"]

RECOVERY_S: Final = 10.0
"""The time for nodes to recover before the final operations."""


@dataclass(slots=True)
class Status:
    """The progress of a test.

    Attributes:
        phase: its phase, in words.
        elapsed_s: the time since the nodes were ready.
        operations, unfinished, messages: their numbers.
        fault: the current faults, in words.
    """

    phase: str
    elapsed_s: float
    operations: int
    unfinished: int
    messages: int
    fault: str


@dataclass(frozen=True, slots=True)
class Run:
    """The record of a test.

    Attributes:
        options: the options.
        workload: judges the history.
        history: the operations of clients.
        network: the network's statistics.
        arrows: the first messages.
        crashes: the nodes that ended by themselves.
        warnings: the warnings, each once.
        setup_s: the time until all nodes were ready.
        duration_s: the time from then on.
    """

    options: Options
    workload: Workload
    history: History
    network: dict[str, Any]
    arrows: list[Arrow]
    crashes: list[Crash]
    warnings: list[str]
    setup_s: float
    duration_s: float


def run(
    options: Options,
    store: Store | None = None,
    *,
    on_line: Callable[[str], None] = lambda text: None,
    on_status: Callable[[Status], None] | None = None,
) -> Run:
    """Run a test, and return its record. It blocks; do not call it in an event loop.

    Args:
        options: the options.
        store: keeps messages and logs, if given.
        on_line: called at once with each warning, and with each line of ``log_stderr``.
        on_status: called with the progress every second.

    Raises:
        ConfigError: the options contradict each other.
        SetupFailed: the test could not begin.
        StoreFailed: the store is not writable.
    """

    async def test() -> Run:
        return await _Test(options, store, on_line, on_status).run()

    try:
        if not options.is_simulated:
            return trio.run(test)
        with seeded(options.seed, options.seed):
            return trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        for leaf in leaves(group):
            if isinstance(leaf, SetupFailed | StoreFailed | ConfigError | KeyboardInterrupt):
                raise leaf from None
        raise


class _Test:
    """The parts of a test; to be made in an event loop."""

    def __init__(
        self,
        options: Options,
        store: Store | None,
        on_line: Callable[[str], None],
        on_status: Callable[[Status], None] | None,
    ) -> None:
        self._options = options
        self._on_line = on_line
        self._on_status = on_status
        self._warnings: list[str] = []
        self._phase = "starting nodes"
        self._begun = trio.current_time()  # again when all nodes are ready
        self._workload = WORKLOADS[options.workload](options, self._random("workload"))
        self._history = History(lambda: int((trio.current_time() - self._begun) * 1e9))
        self._journal = Journal(self._begun, SERVICES, None if store is None else store.messages)
        latency_ms = latency_source(options.latency_dist, options.latency_ms, self._random("latency"))
        self._network = Network(latency_ms, self._random("loss"), options.p_loss, self._journal)
        add_services(self._network, self._random("services"), self._warn)
        self._clients = Clients(self._network, self._warn)
        self._cluster = NodeCluster(options, self._maker(store), self._network, self._clients, self._workload)
        self._nemesis = Nemesis(options, self._network, self._cluster, self._history, self._random("nemesis"))

    def _maker(self, store: Store | None) -> Callable[[str], RunningNode]:
        """Return a function that makes the next run of the node of a name."""
        options, network, warn = self._options, self._network, self._warn
        if options.is_simulated:
            build, runs = load_program(options.bin, options.arguments), itertools.count(1)
            return lambda name: InProcessNode(name, network, warn, build, f"{options.seed} {name} {next(runs)}")
        command = [program_path(options.bin), *options.arguments]
        echo = self._on_line if options.log_stderr else None
        log = (lambda _: None) if store is None else store.node_log
        return lambda name: NodeProcess(name, network, warn, command, log(name), echo)

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)
            self._on_line(text)

    def _random(self, purpose: str) -> Random:
        return Random(f"{self._options.seed} {purpose}")

    async def run(self) -> Run:
        started = self._begun
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._network.run)
            await nursery.start(self._cluster.run)
            self._begun = trio.current_time()
            if self._on_status is not None:
                nursery.start_soon(self._report, self._on_status)
            await self._work()
            nursery.cancel_scope.cancel()
        return Run(
            options=self._options,
            workload=self._workload,
            history=self._history,
            network=self._journal.statistics(len(self._history.invocations)),
            arrows=self._journal.arrows,
            crashes=self._cluster.crashes,
            warnings=self._warnings,
            setup_s=self._begun - started,
            duration_s=trio.current_time() - self._begun,
        )

    async def _work(self) -> None:
        options, count = self._options, len(self._options.nodes)
        workers = [
            Worker(index, options.nodes[index % count], self._clients.open()) for index in range(options.concurrency)
        ]
        self._workload.begin(workers)
        scheduler = Scheduler(self._workload, workers, self._clients, self._history, self._random("scheduler"))
        self._phase = "working"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._nemesis.run)
            await scheduler.run(options.rate, options.time_limit_s)
            nursery.cancel_scope.cancel()
        if self._workload.has_final:
            self._phase = "recovering"
            await self._nemesis.heal()
            await trio.sleep(RECOVERY_S)
            self._phase = "final operations"
            await scheduler.finish()

    async def _report(self, on_status: Callable[[Status], None]) -> None:
        while True:
            await trio.sleep(1)
            unfinished = sum(op.type == "info" for op in self._history.completions)
            elapsed_s = trio.current_time() - self._begun
            invoked = len(self._history.invocations)
            on_status(Status(self._phase, elapsed_s, invoked, unfinished, self._journal.total, self._nemesis.state))
