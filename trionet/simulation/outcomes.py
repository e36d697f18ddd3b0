"""Runs a trial, and returns its outcome.

Invariant: the outcome follows from the trial, the installed code and nothing else.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.errors import ConfigError
from trionet.transports.memory import DROP, PASS
from trionet.user_code import pass_endings

from .arguments import require
from .cluster import check_schedule, open_cluster
from .guarding import Guarded
from .invariants import Violation, Watch
from .promises import INVARIANTS, invariant_of
from .raised import shown, signature_of, signature_of_record
from .rules import network_of
from .running import run
from .scenarios import SCENARIOS
from .trace import Trace
from .trials import Trial

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from random import Random

    from trionet.transports.memory import Message, Rule, Verdict

    from .cluster import Simulation
    from .invariants import Invariant

__all__ = ["Outcome", "check_trial", "run_trial"]

_POLL_S: Final = 0.25
_SETTLED_S: Final = 2.0
"""For how long everything must be settled before the quiet time ends early."""

_START_S: Final = 120.0
_log: Final = logging.getLogger("trionet")


class Outcome:
    """The outcome of a trial.

    Attributes:
        violations: in the order in which they were detected.
        trace: the trace of the simulation.
        has_stormed: whether a storm of messages ended it; later failures don't count then.
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

    def add(self, invariant: str, text: str, signature: str = "", *, at_s: float | None = None) -> None:
        """Add a violation, by default at the time of the last event."""
        if not self.has_stormed:
            if at_s is None:
                at_s = self.trace.events[-1].at if self.trace.events else 0.0
            self.violations.append(Violation(invariant=invariant, at_s=at_s, text=text, signature=signature))

    def add_raised(self, invariant: str, exc: BaseException, *, at_s: float | None = None) -> None:
        """Add an exception as a violation; raise it if it isn't a failure of the user's code."""
        pass_endings(exc)
        self.add(invariant, shown(exc), signature_of(exc), at_s=at_s)


def check_trial(trial: Trial) -> None:
    """Check that everything exists that a trial names, and that its quiet time suffices for its invariants.

    Raises:
        ConfigError: something doesn't exist, a value is out of range or of a wrong type, or the time is too short.
    """
    _check_types(trial)
    if trial.nodes < 1:
        raise ConfigError(f"a trial has at least one node, not {trial.nodes}")
    if not (0 < trial.duration_s < math.inf and 0 < trial.settle_s < math.inf):
        raise ConfigError("durations are more than 0 s")
    if trial.most_messages is not None and trial.most_messages < 1:
        raise ConfigError(f"a trial may have at least one message, not {trial.most_messages}")
    network_of(trial.network)
    if ":" not in trial.scenario and trial.scenario not in SCENARIOS:
        raise ConfigError(f"no scenario {trial.scenario!r}: there are {', '.join(SCENARIOS)}")
    trial.schedule()
    if not callable(trial.main()):
        raise ConfigError(f"{trial.program} is no function")
    profile = trial.configure(0).profile
    for invariant in _invariants_of(trial):
        least_s = invariant.least_settle_s(profile) if isinstance(invariant, Watch) else 0.0
        if trial.settle_s < least_s:
            raise ConfigError(
                f"{invariant.name} is judged once the cluster has been whole for {least_s:g} s: settle_s must be at"
                f" least {least_s:g}, and more after faults, not {trial.settle_s:g}"
            )


def _check_types(trial: Any) -> None:
    require(trial, Trial, "a trial is a Trial")
    try:
        msgspec.convert(msgspec.to_builtins(msgspec.structs.replace(trial, faults=None)), Trial)
    except (msgspec.MsgspecError, TypeError) as exc:
        raise ConfigError(f"no trial: {exc}") from exc
    check_schedule(trial.faults or [])


def _invariants_of(trial: Trial) -> list[Invariant]:
    return [invariant_of(one) for one in (INVARIANTS if trial.invariants is None else trial.invariants)]


def run_trial(trial: Trial, invariants: Iterable[Any] = ()) -> Outcome:
    """Run a trial, and return its outcome.

    Besides the invariants, it is a violation if the program raises (``program``) or doesn't end (``deadlock``), if
    there are too many messages (``storm``), and if a node fails or logs an error (``node``).

    Args:
        trial: the trial.
        invariants: further invariants, as for `invariant_of`.

    Raises:
        ConfigError: as from `check_trial`.
    """
    check_trial(trial)
    require(invariants, Iterable, "invariants are a list")
    guarded = [Guarded(one) for one in (*_invariants_of(trial), *map(invariant_of, invariants))]
    outcome = Outcome()
    with _logged() as errors:
        try:
            run(_run, trial, guarded, outcome, seed=trial.seed)
        except ConfigError:
            raise
        except BaseException as exc:
            outcome.add_raised("node", exc)
    for error, signature in errors:
        outcome.add("node", error, signature)
    outcome.violations.sort(key=lambda violation: violation.at_s)
    return outcome


def _limit(trial: Trial, outcome: Outcome, scope: trio.CancelScope) -> Rule:
    """Return a rule that ends the trial at a storm of messages."""
    most = trial.limit()

    def judge(message: Message, _: Random) -> Verdict:
        if message.number <= most:
            return PASS
        outcome.add("storm", f"more than {most:,} messages were sent")
        outcome.has_stormed = True
        scope.cancel()
        return DROP

    return judge


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
            await _wait_settled(sim, sim.now + trial.settle_s, invariants)
            for invariant in invariants:
                outcome.violations += await invariant.check()
            sim.trace.listeners.clear()
            scope.deadline = math.inf  # a handler that shields itself may delay the end
    if scope.cancelled_caught:
        outcome.add("deadlock", "the cluster did not become whole at its start, or an invariant was never checked")


async def _run_program(trial: Trial, sim: Simulation, outcome: Outcome) -> None:
    limit_s = trial.duration_s + trial.settle_s
    try:
        with trio.move_on_after(limit_s) as scope:
            await trial.main()(sim)
        if scope.cancelled_caught:
            outcome.add("deadlock", f"the program had not ended after {limit_s:g} s", "program", at_s=sim.now)
    except BaseException as exc:
        outcome.add_raised("program", exc, at_s=sim.now)


async def _wait_settled(sim: Simulation, until: float, invariants: Sequence[Invariant]) -> None:
    since = sim.now
    while sim.now < until:
        settled = [invariant.is_settled() for invariant in invariants]  # each one, without a short cut
        if not all(settled):
            since = sim.now + _POLL_S
        elif sim.now >= since + _SETTLED_S:
            return
        await trio.sleep(_POLL_S)


@contextmanager
def _logged() -> Generator[list[tuple[str, str]]]:
    """Collect logged errors with their signatures, and hide warnings, of which there are many under faults."""
    errors: list[tuple[str, str]] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                raised = f": {shown(record.exc_info[1])}" if record.exc_info and record.exc_info[1] else ""
                errors.append((f"{record.getMessage()}{raised}", signature_of_record(record)))

    handler = Collector()
    _log.addHandler(handler)
    try:
        yield errors
    finally:
        _log.removeHandler(handler)
