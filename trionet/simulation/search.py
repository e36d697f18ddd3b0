"""Runs a trial with one seed after the other, in several processes, until one fails.

Invariants: of the seeds that are tried, the smallest that fails is found, however many processes there are; a process
that dies is a failure of the seed that it ran; whatever ends the search ends its processes.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from .invariants import Violation
from .trials import Trial, run_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

__all__ = ["Failure", "Worker", "search", "serve_trials"]

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
    """

    def __init__(self) -> None:
        self.trial: Trial | None = None
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
        with suppress(BrokenPipeError):  # it has died: that shows in `result`
            self._process.stdin.write(trial.to_json().encode() + b"\n")
            self._process.stdin.flush()

    def result(self) -> list[Violation]:
        """Wait for what was violated; where the process has died, that is it."""
        assert self.trial is not None
        line = self.output.readline()
        if line.endswith(b"\n"):
            self.trial = None
            return _violations.decode(line)
        status = self._process.wait()
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"has ended with status {status}"
        text = f"the process that ran seed {self.trial.seed} {how}"
        return [Violation(invariant="process", at_s=0.0, text=text, signature=how)]

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


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        process_group=0,  # Ctrl-C is for the process that searches, which ends this one
    )


def search(
    trial: Trial,
    seeds: Iterable[int],
    *,
    processes: int | None = None,
    on_progress: Callable[[int], Any] | None = None,
) -> Failure | None:
    """Run a trial with each of `seeds`, in that order; stop at the first that fails, and return it. None if none does.

    Args:
        trial: what to run; its own seed doesn't count.
        seeds: in ascending order.
        processes: how many at a time; default: as many as there are processors.
        on_progress: told how many seeds are done.

    Raises:
        ConfigError: the trial names what there isn't.
    """
    trial.check()
    upcoming = iter(seeds)
    failure: Failure | None = None
    done = 0
    with ExitStack() as stack, selectors.DefaultSelector() as waiting:

        def go_on(worker: Worker) -> None:
            if failure is None and (seed := next(upcoming, None)) is not None:
                worker.begin(msgspec.structs.replace(trial, seed=seed))
                waiting.register(worker.output, selectors.EVENT_READ, worker)

        for _ in range(processes or os.cpu_count() or 1):
            go_on(stack.enter_context(Worker()))
        while any(failure is None or _runs_earlier(key.data, failure) for key in waiting.get_map().values()):
            for key, _ in waiting.select():
                worker: Worker = key.data
                waiting.unregister(worker.output)
                tried = worker.trial
                assert tried is not None
                violations = worker.result()
                done += 1
                if violations and (failure is None or tried.seed < failure.trial.seed):
                    failure = Failure(tried, violations)
                if on_progress is not None:
                    on_progress(done)
                go_on(worker)
    return failure


def _runs_earlier(worker: Worker, failure: Failure) -> bool:
    return worker.trial is not None and worker.trial.seed < failure.trial.seed


def serve_trials() -> None:
    """Be the process of a `Worker`: each line of standard input is a trial, and each of standard output its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the program prints is none
    for line in sys.stdin.buffer:
        results.write(msgspec.json.encode(run_trial(Trial.from_json(line)).violations) + b"\n")
        results.flush()
