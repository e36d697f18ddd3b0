"""Finds every process that a test has started, at whatever remove, by a mark in their environment."""

from __future__ import annotations

import os
import secrets
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.waiting import DEADLINE_S, is_running, wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Family", "marked_family"]

_VARIABLE = "TRIONET_TEST_FAMILY"


class Family:
    """The processes that were started with a mark in their environment, also those whose parents are gone."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{_VARIABLE}={mark}".encode()

    def pids(self) -> set[int]:
        """Return those that are running.

        A process that starts a program has a child with its own memory, and so with its mark, for a moment: between
        vfork(2) and execve(2). Every Python that imports Trio does so (``ctypes.util.find_library``). So count members
        exactly only once they have imported what they need.
        """
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended since
                if self._mark in _variables(folder) and is_running(int(folder.name)):
                    found.add(int(folder.name))
        return found

    def command_lines(self) -> dict[int, str]:
        """Return the command line of each, by pid."""
        found = {}
        for pid in sorted(self.pids()):
            with suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return found

    def left(self) -> dict[int, str]:
        """Return the command lines of those that don't end: a process that has been killed is there a moment longer."""
        until = time.monotonic() + DEADLINE_S
        while (left := self.command_lines()) and time.monotonic() < until:
            time.sleep(0.02)
        return left

    def threads(self) -> dict[int, int]:
        """Return how many threads each has, by pid."""
        return {pid: len(os.listdir(f"/proc/{pid}/task")) for pid in self.pids()}

    async def wait_gone(self) -> float:
        """Wait until none is running; return how many seconds that took."""
        begun = time.monotonic()
        await wait_until(lambda: not self.pids())
        return time.monotonic() - begun

    async def wait_for(self, count: int) -> set[int]:
        """Wait until exactly `count` are running; return them."""
        found: set[int] = set()

        def are_there() -> bool:
            nonlocal found
            found = self.pids()
            return len(found) == count

        await wait_until(are_there)
        return found


@contextmanager
def marked_family() -> Generator[Family]:
    """Mark what is started in the block; afterwards fail if any of it is left, and kill it."""
    with pytest.MonkeyPatch.context() as patch:
        mark = secrets.token_hex(16)
        patch.setenv(_VARIABLE, mark)
        family = Family(mark)
        try:
            yield family
        finally:
            left = family.left()
            kill_all(family)
    assert not left, left


def _variables(process: Path) -> list[bytes]:
    """Return the environment of a process; once its first thread has ended, only the others have it."""
    with suppress(ProcessLookupError):
        if found := (process / "environ").read_bytes():
            return found.split(b"\0")
    for thread in (process / "task").iterdir():
        with suppress(OSError):
            if found := (thread / "environ").read_bytes():
                return found.split(b"\0")
    return []


def kill_all(family: Family) -> None:
    """Kill them, and those that they have started meanwhile."""
    until = time.monotonic() + DEADLINE_S
    while (pids := family.pids()) and time.monotonic() < until:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
