"""The processes that a worker has started, directly or not, found by a mark in their environment.

The reference detaches what it spawns, so that neither parents nor process groups tell.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path

import trio

__all__ = ["Marked"]

_VARIABLE = "TRIONET_BENCHMARK"  # reference/spawn.js knows it, too
_END_S = 10.0
_SURE_AFTER = 3
_CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h


class Marked:
    """Finds processes.

    Attributes:
        environment: what marks a process and all that it starts.
    """

    def __init__(self) -> None:
        self.environment = {_VARIABLE: secrets.token_hex(16)}
        self._mark = f"{_VARIABLE}={self.environment[_VARIABLE]}".encode()

    def pids(self, *, but: int | None = None) -> list[int]:
        """Return the running ones, except for one."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended since
                if int(folder.name) != but and self._mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def pss(self, *, but: int) -> int:
        """Return the sum of their proportional memory in bytes: a page that several share counts once."""
        total = 0
        for pid in self.pids(but=but):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def cpu_s(self) -> float:
        """Return their processor time so far, with that of their ended children."""
        seconds, ticks = 0.0, 0
        for pid in self.pids():
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
                # Its own time there is in ticks, rounded down, which is half of what a forked node uses to boot.
                seconds += time.clock_gettime(_clock_of(pid))
                ticks += sum(map(int, fields[13:15]))
        return seconds + ticks / os.sysconf("SC_CLK_TCK")

    async def kill(self) -> None:
        """Kill them all, until none is found several times: a process that is starting a program has no environment."""
        times_none = 0
        with trio.move_on_after(_END_S, shield=True):
            while times_none < _SURE_AFTER:
                pids = self.pids(but=os.getpid())
                times_none = 0 if pids else times_none + 1
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await trio.sleep(0.05)


def _clock_of(pid: int) -> int:
    """Return the clock of a process's time, as ``clock_getcpuclockid`` (3), which Python lacks."""
    return ~pid << 3 | _CPUCLOCK_SCHED
