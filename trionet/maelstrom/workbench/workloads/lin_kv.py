"""A linearizable key-value store: lin-kv.

Groups of 2n workers use one key at a time: n of them read it, n write it and compare-and-set it. A new key replaces it
after 20 processes. Source: Jepsen, ``jepsen.tests.linearizable-register``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Final

from trionet.errors import ConfigError
from trionet.maelstrom.workbench.checkers.linearizable import check_linearizable
from trionet.maelstrom.workbench.client import is_anything

from .base import Request, Worker, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trionet.maelstrom.workbench.checkers.base import Results
    from trionet.maelstrom.workbench.history import History
    from trionet.maelstrom.workbench.options import Options

__all__ = ["LinKv"]

_PROCESSES_PER_KEY: Final = 20
_VALUES: Final = 5


class _Group:
    def __init__(self, workers: list[Worker], key: int) -> None:
        self.workers = workers
        self.key = key
        self.processes: set[int] = set()


class LinKv(Workload):
    """Registers with read, write and compare-and-set."""

    idempotent: ClassVar[frozenset[str]] = frozenset(("read",))
    is_reusable = True

    def __init__(self, options: Options, random: Random) -> None:
        super().__init__(options, random)
        self._keys = itertools.count()
        self._groups: list[_Group] = []
        self._size = 2 * len(options.nodes)
        self._timeout_s = max(10 * options.latency_ms, 1000) / 1000

    def begin(self, workers: list[Worker]) -> None:
        """Put workers into groups."""
        if len(workers) < self._size or len(workers) % self._size:
            needed = f"{self._size}, or a multiple of it (--concurrency 2n)"
            raise ConfigError(f"lin-kv with {len(self.options.nodes)} nodes needs a concurrency of {needed}")
        starts = range(0, len(workers), self._size)
        self._groups = [_Group(workers[start : start + self._size], next(self._keys)) for start in starts]

    def next(self, worker: Worker, _now_s: float) -> Request:
        """Return an operation on the key of the worker's group."""
        group = self._groups[worker.index // self._size]
        now = {each.process for each in group.workers}
        group.processes |= now
        if len(group.processes) > _PROCESSES_PER_KEY:
            group.key, group.processes = next(self._keys), now
        if worker.index % self._size < self._size // 2:
            return Request("read", [group.key, None])
        value = self.random.randrange(_VALUES)
        if self.random.randrange(3) == 0:
            return Request("write", [group.key, value])
        return Request("cas", [group.key, [value, self.random.randrange(_VALUES)]])

    async def perform(self, worker: Worker, request: Request) -> Any:
        """Run an operation; return the key, and the value that was read or written."""
        key, value = request.value
        body: dict[str, Any] = {"type": request.f, "key": key}
        if request.f == "read":
            reply = await worker.client.call(worker.node, body, {"value": is_anything}, self._timeout_s)
            return [key, reply["value"]]
        body |= {"value": value} if request.f == "write" else {"from": value[0], "to": value[1]}
        await worker.client.call(worker.node, body, {}, self._timeout_s)
        return request.value

    def check(self, history: History, is_late: Callable[[], bool]) -> Results:
        """See `check_linearizable`."""
        return check_linearizable(history, is_late)
