"""A trial: one cluster, one program, one schedule of faults, and what must hold; as data, so that it can be repeated.

Invariant: the outcome of a trial follows from the trial, the installed code and nothing else.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.import_paths import import_reference
from trionet.transports.memory import DROP, PASS
from trionet.user_code import pass_endings

from .agreement import GossipReachesAll
from .cluster import open_cluster
from .faults import AnyFault, Crash, Leave
from .guarding import Guarded
from .invariants import Invariant, Violation
from .promises import INVARIANTS, invariant_of
from .raised import shown, signature_of, signature_of_record
from .rules import Network, network_of
from .running import run
from .scenarios import SCENARIOS, schedule_of
from .trace import Trace
from .workload import busy, open_workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence

    from trionet import Node
    from trionet.transports.memory import Message, Rule, Verdict

    from .cluster import Simulation

__all__ = ["Outcome", "Trial", "run_trial"]

_LOOK_AGAIN_S: Final = 0.25
_STAYS_S: Final = 2.0
"""For how long all must be settled before the quiet time ends early."""

_START_S: Final = 120.0
_LEAST_STORM: Final = 250_000
_STORM_PER_S: Final = 1000
_log: Final = logging.getLogger("trionet")


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is tried.

    Attributes:
        seed: what all random numbers follow from.
        nodes: how many.
        duration_s: for how long things may go wrong; then all faults are over, but for nodes that don't start again.
        settle_s: for how long after that things may take to come right.
        network: how it is when nothing is wrong: the name of one of `networks`, or a `Network`.
        scenario: which faults happen: the name of one of `SCENARIOS`, or the import path of such a function.
        faults: the faults themselves, in the place of any scenario.
        program: what happens meanwhile: the import path of an async function of the `Simulation`; None for
            `workload.busy`.
        config: the import path of the nodes' configuration, or of a function of a node's place that gives it.
        invariants: what must hold, each as for `invariant_of`; None for all `INVARIANTS`.
        most_messages: how many messages may be sent, so that a storm of them ends; None for 1,000 from each node in a
            second of the duration, and at least 250,000. Sane: some times what is expected.
    """

    seed: int = 0
    nodes: int = 5
    duration_s: float = 20.0
    settle_s: float = 60.0
    network: str | Network = "lan"
    scenario: str = "anything"
    faults: list[AnyFault] | None = None
    program: str | None = None
    config: str | None = None
    invariants: list[str] | None = None
    most_messages: int | None = None

    def schedule(self) -> list[AnyFault]:
        """Return the faults that happen; but for the ends of nodes for good, none outlasts the trial's duration."""
        faults = self.faults
        if faults is None:
            faults = schedule_of(self.scenario, self.nodes, self.duration_s, Random(f"{self.seed} faults"))
        return [_within(fault, self.duration_s) for fault in faults if fault.at_s < self.duration_s]

    def explicit(self) -> Trial:
        """Return the same trial with its faults in the place of its scenario."""
        return msgspec.structs.replace(self, faults=self.schedule(), scenario="anything")

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, data: str | bytes) -> Trial:
        """Return the trial that `to_json` has made.

        Raises:
            ConfigError: it is none.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as exc:
            raise ConfigError(f"no trial: {exc}") from exc

    def check(self) -> None:
        """See whether everything is there that it names, and its time suffices for what must hold.

        Raises:
            ConfigError: it isn't, or doesn't, or a number is out of range; the text says which.
        """
        if self.nodes < 1:
            raise ConfigError(f"a trial has at least one node, not {self.nodes}")
        if not (0 < self.duration_s < float("inf") and 0 < self.settle_s < float("inf")):
            raise ConfigError("durations are more than 0 s")
        if self.most_messages is not None and self.most_messages < 1:
            raise ConfigError(f"a trial may have at least one message, not {self.most_messages}")
        network_of(self.network)
        if ":" not in self.scenario and self.scenario not in SCENARIOS:
            raise ConfigError(f"no scenario {self.scenario!r}: there are {', '.join(SCENARIOS)}")
        self.schedule()
        if not callable(self.main()):
            raise ConfigError(f"{self.program} is no function")
        profile = self.configure(0).profile
        for invariant in self.watched():
            least_s = invariant.least_settle_s(profile) if isinstance(invariant, GossipReachesAll) else 0.0
            if self.settle_s < least_s:
                raise ConfigError(
                    f"{invariant.name} is judged once the cluster has been whole for {least_s:g} s: settle_s must be at"
                    f" least {least_s:g}, and more after faults, not {self.settle_s:g}"
                )

    def watched(self) -> list[Invariant]:
        """Return the invariants."""
        return [invariant_of(one) for one in (INVARIANTS if self.invariants is None else self.invariants)]

    def limit(self) -> int:
        """Return how many messages may be sent."""
        if self.most_messages is not None:
            return self.most_messages
        return max(_LEAST_STORM, int(_STORM_PER_S * self.nodes * self.duration_s))

    def main(self) -> Callable[[Simulation], Awaitable[object]]:
        """Return the program."""
        found: Callable[[Simulation], Awaitable[object]] = (
            busy if self.program is None else import_reference(self.program)
        )
        return found

    def configure(self, index: int) -> NodeConfig:
        """Return the configuration of a node."""
        found = NodeConfig() if self.config is None else import_reference(self.config)
        if callable(found):
            found = found(index)
        if not isinstance(found, NodeConfig):
            raise ConfigError(f"{self.config} gives no NodeConfig")
        if self.program is None:
            found = msgspec.structs.replace(found, on_start=_with_workload(found.on_start))
        return found


def _within(fault: AnyFault, until_s: float) -> AnyFault:
    """Return the fault, over by then; a node that isn't to start again doesn't."""
    if fault.duration_s is None and isinstance(fault, Crash | Leave):
        return fault
    longest_s = until_s - fault.at_s
    if fault.duration_s is not None and fault.duration_s <= longest_s:
        return fault
    return msgspec.structs.replace(fault, duration_s=longest_s)


def _with_workload(on_start: Any) -> Callable[[Node], Awaitable[None]]:
    """Return what offers the workload, and then does what else is to be done at a node's start."""

    async def start(node: Node) -> None:
        await open_workload(node)
        function = import_reference(on_start) if isinstance(on_start, str) else on_start
        result = None if function is None else function(node)
        if result is not None:
            await result

    return start


class Outcome:
    """What came of a trial.

    Attributes:
        violations: in the order in which they were seen.
        trace: what happened.
        has_stormed: whether it was ended by a storm of messages: what fails while it ends doesn't count.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.has_stormed: bool = False
        self.trace: Trace = Trace()

    @property
    def trace_hash(self) -> str:
        """The trace's hash: equal for equal runs."""
        return self.trace.hash()

    @property
    def is_fine(self) -> bool:
        """Whether nothing was violated."""
        return not self.violations


def run_trial(trial: Trial, invariants: Iterable[Any] = ()) -> Outcome:
    """Try it; return what came of it.

    Besides the invariants, it counts as a violation when the program raises (``program``) or doesn't end
    (``deadlock``), when there are too many messages (``storm``), and when a node fails or logs an error (``node``).

    Args:
        trial: what.
        invariants: what must hold besides what the trial names: as for `invariant_of`.

    Raises:
        ConfigError: as from `Trial.check`.
    """
    trial.check()
    watching = [Guarded(one) for one in (*trial.watched(), *map(invariant_of, invariants))]
    outcome = Outcome()
    with _logged() as errors:
        try:
            run(_run, trial, watching, outcome, seed=trial.seed)
        except ConfigError:
            raise
        except BaseException as exc:
            pass_endings(exc)
            _note(outcome, "node", shown(exc), signature_of(exc))
    for error, signature in errors:
        _note(outcome, "node", error, signature)
    outcome.violations.sort(key=lambda violation: violation.at_s)
    return outcome


def _limit(trial: Trial, outcome: Outcome, scope: trio.CancelScope) -> Rule:
    """Return what ends the trial when there is a storm of messages."""
    most = trial.limit()

    def judge(message: Message, _: Random) -> Verdict:
        if message.number <= most:
            return PASS
        _note(outcome, "storm", f"more than {most:,} messages were sent")
        outcome.has_stormed = True
        scope.cancel()
        return DROP

    return judge


def _note(outcome: Outcome, invariant: str, text: str, signature: str = "") -> None:
    if outcome.has_stormed:
        return
    at_s = outcome.trace.events[-1].at if outcome.trace.events else 0.0
    outcome.violations.append(Violation(invariant=invariant, at_s=at_s, text=text, signature=signature))


async def _run(trial: Trial, invariants: Sequence[Invariant], outcome: Outcome) -> None:
    with trio.move_on_after(_START_S + trial.duration_s + 3 * trial.settle_s) as scope:
        async with open_cluster(trial.nodes, seed=trial.seed, network=trial.network, config=trial.configure) as sim:
            assert sim.trace is not None
            outcome.trace, sim.duration_s = sim.trace, trial.duration_s
            for invariant in invariants:
                invariant.begin(sim, trial)
                sim.trace.listeners.append(invariant.take)
            begun_at = sim.now
            sim.fabric.add_rules(_limit(trial, outcome, scope))
            sim.play(trial.schedule())
            await _run_program(trial, sim, outcome)
            await trio.sleep(max(0.0, begun_at + trial.duration_s - sim.now))
            await _wait_settled(trial, sim, invariants)
            for invariant in invariants:
                outcome.violations += await invariant.check()
            sim.trace.listeners.clear()
            scope.deadline = math.inf  # a handler that shields itself may hold up the end
    if scope.cancelled_caught:
        _note(outcome, "deadlock", "the cluster did not become whole at its start, or an invariant was never checked")


async def _run_program(trial: Trial, sim: Simulation, outcome: Outcome) -> None:
    limit_s = trial.duration_s + trial.settle_s
    try:
        with trio.move_on_after(limit_s) as scope:
            await trial.main()(sim)
        if scope.cancelled_caught:
            _note(outcome, "deadlock", f"the program had not ended after {limit_s:g} s", "program")
    except BaseException as exc:
        pass_endings(exc)
        _note(outcome, "program", shown(exc), signature_of(exc))


async def _wait_settled(trial: Trial, sim: Simulation, invariants: Sequence[Invariant]) -> None:
    until, since = sim.now + trial.settle_s, sim.now
    while sim.now < until:
        settled = [invariant.is_settled() for invariant in invariants]  # all are asked
        if not all(settled):
            since = sim.now + _LOOK_AGAIN_S
        elif sim.now >= since + _STAYS_S:
            return
        await trio.sleep(_LOOK_AGAIN_S)


@contextmanager
def _logged() -> Generator[list[tuple[str, str]]]:
    """Gather what is logged as an error, and its kind; warnings, of which there are many under faults, aren't shown."""
    errors: list[tuple[str, str]] = []

    class Gather(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                raised = f": {shown(record.exc_info[1])}" if record.exc_info and record.exc_info[1] else ""
                errors.append((f"{record.getMessage()}{raised}", signature_of_record(record)))

    handler = Gather()
    _log.addHandler(handler)
    try:
        yield errors
    finally:
        _log.removeHandler(handler)
