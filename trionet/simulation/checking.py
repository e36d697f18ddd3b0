"""Checks that a program is deterministic: runs it twice, and compares the traces.

Calls of nondeterministic functions of the standard library are recorded meanwhile: wall clocks, the operating system's
random numbers, and the module ``random``, which is seeded, but shared by all nodes. Invariant: recording doesn't change
the program.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import sysconfig
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import SpawnError
from trionet.import_paths import import_reference
from trionet.launchers.interpreter import python_command, python_environment

from .arguments import require
from .running import run
from .trace import Trace, TraceEvent, first_difference

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

__all__ = ["Finding", "Leak", "check", "check_processes", "print_trace"]

_WATCHED: Final[dict[Any, tuple[str, ...]]] = {
    time: ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"),
    random: ("random", "randint", "randrange", "choice", "choices", "sample", "shuffle", "uniform", "getrandbits"),
    os: ("urandom",),
    uuid: ("uuid1", "uuid4"),
    secrets: ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "choice"),
}
_PROGRAM: Final = "import sys; from trionet.simulation.checking import print_trace; print_trace(*sys.argv[1:])"
_OWN: Final = str(Path(__file__).parent.parent)
_LIBRARIES: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Leak(msgspec.Struct, frozen=True, order=True):
    """A call of a nondeterministic function.

    Attributes:
        where: the file and the line.
        what: the function.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where} calls {self.what}"


class Finding(msgspec.Struct, frozen=True):
    """The result of a check.

    Attributes:
        index: the number of the first event that differs between the runs; None if they are equal.
        first, second: that event in each run; None if that run had ended.
        leaks: suspicious calls of the program.
    """

    index: int | None
    first: TraceEvent | None
    second: TraceEvent | None
    leaks: list[Leak]

    @property
    def is_deterministic(self) -> bool:
        """Whether the two runs were equal."""
        return self.index is None

    def __str__(self) -> str:
        shown = [f"suspicious: {leak}" for leak in self.leaks]
        if self.index is None:
            return "\n".join(["both runs are equal", *shown])
        events = [f"  {name}: {_shown(event)}" for name, event in (("first", self.first), ("second", self.second))]
        return "\n".join([f"the runs differ from event {self.index} on:", *events, *shown])


def _shown(event: TraceEvent | None) -> str:
    return "(the run had ended)" if event is None else msgspec.json.encode(event).decode()


def check(main: Callable[..., Awaitable[Trace]], *args: Any, seed: int = 0) -> Finding:
    """Run ``await main(*args)`` twice in virtual time, and compare the traces that it returns.

    Equal runs in one process can still differ between processes, if they depend on the order of a set; see
    `check_processes`.
    """
    with _watching() as leaks:
        one, other = (run(main, *args, seed=seed) for _ in range(2))
    return _finding(one, other, leaks)


def check_processes(reference: str, *args: str, seed: int = 0) -> Finding:
    """Check a program as `check` does, in two processes in which strings hash differently.

    Args:
        reference: the function as ``"package.module:name"``.
        args: its arguments, texts.
        seed: the seed of both runs.

    Raises:
        ConfigError: there is no such function, or an argument is no text.
        SpawnError: one of the processes failed; the text is its standard error.
    """
    for argument in (reference, *args):
        require(argument, str, "the function and its arguments are texts")
    import_reference(reference)
    traces = []
    for hash_seed in ("1", "2"):
        command, path = python_command(_PROGRAM, 0)
        environment = {**python_environment(), "PYTHONHASHSEED": hash_seed}
        command += [reference, str(seed), *args]
        done = subprocess.run(command, env=environment, input=path, capture_output=True, check=False)  # noqa: S603  it runs this program again
        if done.returncode:
            raise SpawnError(done.stderr.decode())
        trace = Trace()
        trace.extend(done.stdout.splitlines())
        traces.append(trace)
    return _finding(traces[0], traces[1], ())


def _finding(one: Trace, other: Trace, leaks: Iterable[Leak]) -> Finding:
    index, first, second = first_difference(one, other) or (None, None, None)
    return Finding(index, first, second, sorted(leaks))


@contextmanager
def _watching() -> Generator[dict[Leak, None]]:
    """Record calls of nondeterministic functions."""
    leaks: dict[Leak, None] = {}
    before = [(module, name, getattr(module, name)) for module, names in _WATCHED.items() for name in names]
    for module, name, function in before:
        setattr(module, name, _watched(f"{module.__name__}.{name}", function, leaks))
    try:
        yield leaks
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def _watched(what: str, function: Callable[..., Any], leaks: dict[Leak, None]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1)  # noqa: SLF001  the public way takes a thousand times as long
        file = caller.f_code.co_filename
        if not file.startswith(("<frozen", _OWN, *_LIBRARIES)):
            leaks[Leak(f"{file}:{caller.f_lineno}", what)] = None
        return function(*args, **kwargs)

    return call


def print_trace(reference: str, seed: str, *args: str) -> None:
    """Run a function in virtual time, and write its trace to standard output."""
    trace = run(import_reference(reference), *args, seed=int(seed))
    for line in trace.lines():
        sys.stdout.buffer.write(line + b"\n")
