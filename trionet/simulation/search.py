"""Runs a trial with one seed after the other, in several processes, until one fails.

Invariants: the failure found is that of the smallest failing seed, whatever the number of processes; a process that
dies, or doesn't end, is a failure of the seed that it ran; at the end of a search all its processes end.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import islice
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from trionet.launchers.children import missing_streams
from trionet.launchers.interpreter import python_command, python_environment

from .arguments import require
from .invariants import Violation
from .outcomes import check_trial, run_trial
from .trials import Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["MOST_REAL_S", "PROCESS", "Failure", "Worker", "search", "serve_trials"]

MOST_REAL_S: Final = 300.0
"""The most real time for a trial: an endless computation would block a search."""

PROCESS: Final = "process"
"""The invariant that the process which runs a trial ends it, and lives."""

_LONGEST_WAIT_S: Final = 1e6
"""Some selectors fail with a longer timeout."""

_PROGRAM: Final = "from trionet.simulation.search import serve_trials; serve_trials()"
_violations: Final = msgspec.json.Decoder(list[Violation])


class Failure(msgspec.Struct, frozen=True):
    """A trial that has failed.

    Attributes:
        trial: the trial.
        violations: its violations, in order; at least one.
    """

    trial: Trial
    violations: list[Violation]


class Worker:
    """A process that runs trials, one at a time.

    Attributes:
        output: readable at the end of a trial.
        until: the deadline of the trial, on the clock ``time.monotonic``.
    """

    def __init__(self, most_real_s: float = MOST_REAL_S) -> None:
        self.until: float = math.inf
        self._most_real_s = most_real_s
        self._start()

    def _start(self) -> None:
        command, path = python_command(_PROGRAM, 0)
        self._process = subprocess.Popen(  # noqa: S603  it runs this program again
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=python_environment(),
            stderr=missing_streams().get("stderr"),
            process_group=0,  # Ctrl-C is for the searching process, which ends this one
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input: IO[bytes] = self._process.stdin
        self.output: IO[bytes] = self._process.stdout
        self._write(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def _write(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # the process has died: `result` reports it
            self._input.write(data)
            self._input.flush()

    def begin(self, trial: Trial) -> None:
        """Begin a trial; `result` returns its violations."""
        self.until = time.monotonic() + self._most_real_s
        self._write(trial.to_json().encode() + b"\n")

    def result(self, trial: Trial) -> list[Violation]:
        """Wait for the violations of the trial in progress; a process that dies or exceeds its time is one."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.output, selectors.EVENT_READ)
            is_in_time = bool(waiting.select(_left_s(self.until)))
        if is_in_time:
            line = self.output.readline()
            if line.endswith(b"\n"):
                return _violations.decode(line)
            status = self._process.wait()
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"has ended with status {status}"
        else:
            self._process.kill()
            self._process.wait()
            how = f"did not end within {self._most_real_s:g} s"
        text = f"the process that ran seed {trial.seed} {how}"
        return [Violation(invariant=PROCESS, at_s=0.0, text=text, signature=how)]

    def run(self, trial: Trial) -> list[Violation]:
        """Run a trial, and return its violations; after the process has died, a new one runs the next trial."""
        if self._process.poll() is not None:
            self.close()
            self._start()
        self.begin(trial)
        return self.result(trial)

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        for pipe in (self._input, self.output):
            with suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()


def _left_s(until: float) -> float:
    return min(max(0.0, until - time.monotonic()), _LONGEST_WAIT_S)


def search(
    trial: Trial,
    seeds: Iterable[int],
    *,
    processes: int | None = None,
    most_real_s: float = MOST_REAL_S,
    on_progress: Callable[[int], Any] | None = None,
) -> Failure | None:
    """Run a trial with each of `seeds`, in order, until one fails, and return the failure. None if none fails.

    Args:
        trial: the trial; its own seed is ignored.
        seeds: the seeds, in ascending order.
        processes: the number of processes; default: one for each processor.
        most_real_s: the most real time for a trial; then its process is killed, which is a failure (``process``).
        on_progress: called with the number of finished seeds.

    Raises:
        ConfigError: as from `check_trial`; or an argument has a wrong type.
    """
    check_trial(trial)
    require(seeds, Iterable, "seeds are numbers in ascending order")
    require(processes, int | None, "processes is a number")
    require(most_real_s, int | float, "most_real_s is a number of seconds")
    upcoming = iter(seeds)
    failure: Failure | None = None
    done = 0
    with ExitStack() as stack, selectors.DefaultSelector() as waiting:

        def begin(worker: Worker, seed: int) -> None:
            tried = msgspec.structs.replace(trial, seed=seed)
            worker.begin(tried)
            waiting.register(worker.output, selectors.EVENT_READ, (worker, tried))

        for seed in islice(upcoming, max(1, processes or os.cpu_count() or 1)):
            begin(stack.enter_context(Worker(most_real_s)), seed)
        while running := [key.data for key in waiting.get_map().values()]:
            if failure is not None and all(tried.seed >= failure.trial.seed for _, tried in running):
                break
            for worker, tried in _wait_any(waiting, running):
                waiting.unregister(worker.output)
                violations = worker.result(tried)
                done += 1
                if violations and (failure is None or tried.seed < failure.trial.seed):
                    failure = Failure(tried, violations)
                if on_progress is not None:
                    on_progress(done)
                if failure is None and (following := next(upcoming, None)) is not None:
                    begin(worker, following)
    return failure


def _wait_any(waiting: selectors.BaseSelector, running: list[tuple[Worker, Trial]]) -> list[tuple[Worker, Trial]]:
    """Wait for the end of a trial, or its deadline; return the workers and trials to which it applies."""
    first = min(worker.until for worker, _ in running)
    ready = [key.data for key, _ in waiting.select(_left_s(first))]
    return ready or [each for each in running if each[0].until <= time.monotonic()]


def serve_trials() -> NoReturn:
    """Serve as the process of a `Worker`: a line of standard input is a trial, one of standard output its violations.

    The process ends when standard input does, even during a trial.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the program's own output is no result
    trials: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(os.fdopen(os.dup(0), "rb"), trials), daemon=True).start()
    while True:
        results.write(msgspec.json.encode(run_trial(Trial.from_json(trials.get())).violations) + b"\n")
        results.flush()


def _read(lines: IO[bytes], trials: SimpleQueue[bytes]) -> None:
    """Read trials until the searching process ends; then end this one."""
    for line in lines:
        trials.put(line)
    os._exit(1)
