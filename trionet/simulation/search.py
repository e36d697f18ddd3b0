"""Runs a trial with one seed after the other, in several processes, until one fails.

Invariants: of the seeds that are tried, the smallest that fails is found, however many processes there are; a process
that dies, or doesn't come to an end, is a failure of the seed that it ran; whatever ends the search ends its processes.
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

__all__ = ["MOST_REAL_S", "Failure", "Worker", "search", "serve_trials"]

MOST_REAL_S: Final = 300.0
"""How long a trial may take in real time: one that computes without end would hold up a search for good."""

_LONGEST_WAIT_S: Final = 1e6
"""More is too much for some selectors."""

_PROGRAM: Final = "from trionet.simulation.search import serve_trials; serve_trials()"
_violations: Final = msgspec.json.Decoder(list[Violation])


class Failure(msgspec.Struct, frozen=True):
    """A trial that has failed.

    Attributes:
        trial: which.
        violations: what was violated, in order; at least one.
    """

    trial: Trial
    violations: list[Violation]


class Worker:
    """A process that runs trials, one at a time.

    Attributes:
        trial: what it runs at the moment.
        until: when that must have ended, on the clock ``time.monotonic``.
    """

    def __init__(self, most_real_s: float = MOST_REAL_S) -> None:
        self.trial: Trial | None = None
        self.until: float = math.inf
        self._most_real_s = most_real_s
        self._process = _start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def output(self) -> IO[bytes]:
        """What becomes readable when the trial is over."""
        assert self._process.stdout is not None
        return self._process.stdout

    def begin(self, trial: Trial) -> None:
        """Have it run a trial; `result` gives what came of it."""
        assert self._process.stdin is not None
        self.trial = trial
        self.until = time.monotonic() + self._most_real_s
        with suppress(BrokenPipeError):  # it has died: that shows in `result`
            self._process.stdin.write(trial.to_json().encode() + b"\n")
            self._process.stdin.flush()

    def result(self) -> list[Violation]:
        """Wait for what was violated; where the process has died, or doesn't end in time, that is it."""
        assert self.trial is not None
        if self._wait():
            line = self.output.readline()
            if line.endswith(b"\n"):
                self.trial = None
                return _violations.decode(line)
            status = self._process.wait()
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"has ended with status {status}"
        else:
            self._process.kill()
            self._process.wait()
            how = f"did not end within {self._most_real_s:g} s"
        text = f"the process that ran seed {self.trial.seed} {how}"
        return [Violation(invariant="process", at_s=0.0, text=text, signature=how)]

    def _wait(self) -> bool:
        """Wait until the trial is over, or the process; return False if it is neither in time."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.output, selectors.EVENT_READ)
            return bool(waiting.select(_left_s(self.until)))

    def run(self, trial: Trial) -> list[Violation]:
        """Run a trial, and return what was violated; after the process has died, another one runs the next."""
        if self._process.poll() is not None:
            self.close()
            self._process = _start()
        self.begin(trial)
        return self.result()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()


def _left_s(until: float) -> float:
    return min(max(0.0, until - time.monotonic()), _LONGEST_WAIT_S)


def _start() -> subprocess.Popen[bytes]:
    command, path = python_command(_PROGRAM, 0)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=python_environment(),
        stderr=missing_streams().get("stderr"),
        process_group=0,  # Ctrl-C is for the process that searches, which ends this one
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died: that shows in `Worker.result`
        process.stdin.write(path)
    return process


def search(
    trial: Trial,
    seeds: Iterable[int],
    *,
    processes: int | None = None,
    most_real_s: float = MOST_REAL_S,
    on_progress: Callable[[int], Any] | None = None,
) -> Failure | None:
    """Run a trial with each of `seeds`, in that order; stop at the first that fails, and return it. None if none does.

    Args:
        trial: what to run; its own seed doesn't count.
        seeds: in ascending order.
        processes: how many at a time; default: as many as there are processors.
        most_real_s: how long one may take in real time; then its process is killed, and it has failed (``process``).
        on_progress: told how many seeds are done.

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
            worker.begin(msgspec.structs.replace(trial, seed=seed))
            waiting.register(worker.output, selectors.EVENT_READ, worker)

        for seed in islice(upcoming, max(1, processes or os.cpu_count() or 1)):
            begin(stack.enter_context(Worker(most_real_s)), seed)
        while any(failure is None or _runs_earlier(key.data, failure) for key in waiting.get_map().values()):
            for worker in _wait_any(waiting):
                waiting.unregister(worker.output)
                tried = worker.trial
                assert tried is not None
                violations = worker.result()
                done += 1
                if violations and (failure is None or tried.seed < failure.trial.seed):
                    failure = Failure(tried, violations)
                if on_progress is not None:
                    on_progress(done)
                if failure is None and (following := next(upcoming, None)) is not None:
                    begin(worker, following)
    return failure


def _wait_any(waiting: selectors.BaseSelector) -> list[Worker]:
    """Wait until a trial has ended, or should have; return the workers of those."""
    workers: list[Worker] = [key.data for key in waiting.get_map().values()]
    first = min(worker.until for worker in workers)
    ready = [key.data for key, _ in waiting.select(_left_s(first))]
    return ready or [worker for worker in workers if worker.until <= time.monotonic()]


def _runs_earlier(worker: Worker, failure: Failure) -> bool:
    return worker.trial is not None and worker.trial.seed < failure.trial.seed


def serve_trials() -> NoReturn:
    """Be the process of a `Worker`: each line of standard input is a trial, and each of standard output its result.

    When standard input ends, so does the process, whatever it is doing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the program prints is none
    trials: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_take, args=(os.fdopen(os.dup(0), "rb"), trials), daemon=True).start()
    while True:
        results.write(msgspec.json.encode(run_trial(Trial.from_json(trials.get())).violations) + b"\n")
        results.flush()


def _take(lines: IO[bytes], trials: SimpleQueue[bytes]) -> None:
    """Take trials, and notice meanwhile that the one who searches is gone, however that came."""
    for line in lines:
        trials.put(line)
    os._exit(1)
