"""One test from its beginning to its end: nodes, network, services, clients, faults; then the final operations.

Source: Maelstrom, ``src/maelstrom/core.clj``: until the time limit operations and faults; then, where the workload has
final operations, heal the network, wait 10 s, and do those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import trio
import trio.testing

from trionet.errors import ConfigError
from trionet.trio_internals import seeded

from .client import Clients
from .cluster import Cluster
from .errors import SetupFailed, StoreFailed, leaves
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
"""How long nodes have to recover before the final operations."""


@dataclass(slots=True)
class Status:
    """How a test is getting on.

    Attributes:
        phase: what is going on.
        elapsed_s: since the nodes were ready.
        operations, unfinished, messages: how many there were.
        fault: what is wrong just now.
    """

    phase: str
    elapsed_s: float
    operations: int
    unfinished: int
    messages: int
    fault: str


@dataclass(slots=True)
class Run:
    """What happened in a test.

    Attributes:
        options: what was to be done.
        workload: which judges the history.
        history: what clients did.
        network: the network's statistics.
        arrows: the first messages.
        crashes: the nodes that ended by themselves.
        warnings: all that was noteworthy on the way.
        setup_s: how long it took until all nodes were ready.
        duration_s: how long it took from then on.
    """

    options: Options
    workload: Workload
    history: History
    network: dict[str, Any] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    setup_s: float = 0.0
    duration_s: float = 0.0


def run(
    options: Options,
    store: Store | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
    on_status: Callable[[Status], None] | None = None,
) -> Run:
    """Run a test, and return what happened. It blocks; do not call it in an event loop.

    Args:
        options: what to do.
        store: where messages and logs are kept, if anywhere.
        say: told what is noteworthy, at once.
        on_status: told every now and then how it is getting on.

    Raises:
        ConfigError: the options make no sense together.
        SetupFailed: the test could not begin.
        StoreFailed: what happens can't be written to the store.
    """
    test = _Test(options, store, say, on_status)
    try:
        if options.is_simulated:
            with seeded(options.seed, options.seed):
                trio.run(test.run, clock=trio.testing.MockClock(autojump_threshold=0))
        else:
            trio.run(test.run)
    except BaseExceptionGroup as group:
        for leaf in leaves(group):
            if isinstance(leaf, SetupFailed | StoreFailed | ConfigError | KeyboardInterrupt):
                raise leaf from None
        raise
    return test.done


class _Test:
    """The parts of a test, as long as it runs."""

    def __init__(
        self,
        options: Options,
        store: Store | None,
        say: Callable[[str], None],
        on_status: Callable[[Status], None] | None,
    ) -> None:
        self._options = options
        self._store = store
        self._say = say
        self._on_status = on_status
        self._begun = 0.0
        self._phase = "starting nodes"
        self._lives = 0
        self._workload = WORKLOADS[options.workload](options, Random(f"{options.seed} workload"))
        self.done = Run(options, self._workload, History(self._now))
        if options.is_simulated:
            build = load_program(options.bin, options.arguments)
            self._make: Callable[[str], RunningNode] = lambda name: self._in_process(name, build)
        else:
            path = program_path(options.bin)
            self._make = lambda name: self._process(name, path)

    def _now(self) -> int:
        return int((trio.current_time() - self._begun) * 1e9)

    def _warn(self, text: str) -> None:
        if text not in self.done.warnings:
            self.done.warnings.append(text)
            self._say(text)

    def _in_process(self, name: str, build: Callable[[], Any]) -> RunningNode:
        self._lives += 1
        return InProcessNode(name, self._network, self._warn, build, f"{self._options.seed} {name} {self._lives}")

    def _process(self, name: str, path: str) -> RunningNode:
        log = open("/dev/null", "ab") if self._store is None else self._store.node_log(name)  # noqa: SIM115
        echo = self._say if self._options.log_stderr else None
        return NodeProcess(name, self._network, self._warn, [path, *self._options.arguments], log, echo)

    def _random(self, purpose: str) -> Random:
        return Random(f"{self._options.seed} {purpose}")

    async def run(self) -> None:
        options, done = self._options, self.done
        started = self._begun = trio.current_time()
        self._journal = Journal(started, SERVICES, None if self._store is None else self._store.messages)
        latency_ms = latency_source(options.latency_dist, options.latency_ms, self._random("latency"))
        self._network = Network(latency_ms, self._random("loss"), options.p_loss, self._journal)
        add_services(self._network, self._random("services"), self._warn)
        self._clients = Clients(self._network, self._warn)
        cluster = Cluster(
            options.nodes, self._make, self._network, self._clients, self._workload, options.init_timeout_s
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._network.run)
                await nursery.start(cluster.run)
                done.setup_s = trio.current_time() - started
                self._begun = trio.current_time()
                self._nemesis = Nemesis(
                    options.nemesis,
                    options.nemesis_interval_s,
                    options.nodes,
                    self._network,
                    cluster,
                    done.history,
                    self._random("nemesis"),
                )
                if self._on_status is not None:
                    nursery.start_soon(self._report)
                await self._work()
                nursery.cancel_scope.cancel()
        finally:
            done.duration_s = trio.current_time() - self._begun
            done.crashes = cluster.crashes
            done.arrows = self._journal.arrows
            done.network = self._journal.statistics(len(done.history.invocations))

    async def _work(self) -> None:
        options, count = self._options, len(self._options.nodes)
        workers = [
            Worker(index, options.nodes[index % count], self._clients.open()) for index in range(options.concurrency)
        ]
        self._workload.begin(workers)
        scheduler = Scheduler(self._workload, workers, self._clients, self.done.history, self._random("scheduler"))
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

    async def _report(self) -> None:
        assert self._on_status is not None
        while True:
            await trio.sleep(1)
            ops = self.done.history
            unfinished = sum(op.type == "info" for op in ops.completions)
            elapsed_s = trio.current_time() - self._begun
            invoked = len(ops.invocations)
            status = Status(self._phase, elapsed_s, invoked, unfinished, self._journal.total, self._nemesis.state)
            self._on_status(status)
