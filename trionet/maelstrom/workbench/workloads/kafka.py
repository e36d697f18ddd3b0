"""Logs to which clients send, and which they poll: kafka.

Source: Maelstrom, ``workload/kafka.clj``, and Jepsen, ``jepsen.tests.kafka``. A client never starts from a committed
offset: Maelstrom's client reads it from the wrong place of the reply, and begins at 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.maelstrom.workbench.checkers.kafka import check_kafka
from trionet.maelstrom.workbench.checkers.kafka_logs import polls_of, sends_of
from trionet.maelstrom.workbench.client import is_integer, is_offsets, is_polled

from .base import ClientCrashed, Request, Worker, Workload
from .transactions import KeyPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trionet.maelstrom.workbench.checkers.base import Results
    from trionet.maelstrom.workbench.history import History, Op
    from trionet.maelstrom.workbench.options import Options

    from .base import Perform

__all__ = ["Kafka"]

_KEYS: Final = 10
_ASSIGN: Final = 1 / 64
_CATCH_UP: Final = 1 / 3
_CRASH_INTERVAL_S: Final = 30.0
_FINAL_S: Final = 10.0
_FINAL_POLL_S: Final = 0.2
_ASSIGNED: Final = "offsets"


class Kafka(Workload):
    """Logs with offsets."""

    idempotent: ClassVar[frozenset[str]] = frozenset(("assign",))
    has_final = True

    def __init__(self, options: Options, random: Random) -> None:
        super().__init__(options, random)
        self._pool = KeyPool(options.key_count or _KEYS, options.max_writes_per_key, random)
        self._next_crash_s = 0.0
        self._sent: dict[str, int] = {}  # the highest offsets of sends to keys that are polled less far
        self._polled: dict[str, int] = {}
        self._highest: dict[str, int] = {}  # the highest known offsets, by key
        self._targets: dict[int, dict[str, int]] = {}  # by worker, the offsets that it must still poll at the end

    def next(self, _worker: Worker, now_s: float) -> Request:
        """Return a send or a poll, now and then an assignment or a crash."""
        if now_s >= self._next_crash_s:
            mean_s = _CRASH_INTERVAL_S / self.options.concurrency
            self._next_crash_s = now_s + self.random.uniform(0, 2 * mean_s)
            return Request("crash")
        is_send = self.random.random() < 1 / 2
        if self.random.random() < _ASSIGN:
            keys = [str(self._pool.key())]
            if self._sent and self.random.random() < _CATCH_UP:
                keys = list(dict.fromkeys([*self._sent, *keys]))
            return Request("assign", keys)
        if not is_send:
            return Request("poll", [["poll"]])
        key, message = self._pool.write()
        return Request("send", [["send", str(key), message]])

    async def perform(self, worker: Worker, request: Request) -> Any:
        """Run an operation; return the value with offsets and messages."""
        if request.f == "crash":
            raise ClientCrashed
        offsets: dict[str, int] = worker.memory.setdefault(_ASSIGNED, {})
        if request.is_rewind:
            worker.memory[_ASSIGNED] = dict.fromkeys(request.value, 0)
            return request.value
        if request.f == "assign":
            body = {"type": "list_committed_offsets", "keys": request.value}
            reply = await worker.client.call(worker.node, body, {"offsets": is_offsets})
            _blame_unasked(worker, "list_committed_offsets", reply["offsets"].keys() - request.value)
            worker.memory[_ASSIGNED] = {key: offsets.get(key, 0) for key in request.value}
            return request.value
        if request.f == "send":
            (_, key, message), *_ = request.value
            body = {"type": "send", "key": key, "msg": message}
            reply = await worker.client.call(worker.node, body, {"offset": is_integer})
            return [["send", key, [reply["offset"], message]]]
        return await self._poll(worker, offsets)

    async def _poll(self, worker: Worker, offsets: dict[str, int]) -> Any:
        body: dict[str, Any] = {"type": "poll", "offsets": dict(offsets)}
        polled = (await worker.client.call(worker.node, body, {"msgs": is_polled}))["msgs"]
        _blame_unasked(worker, "poll", polled.keys() - offsets.keys())
        highest = {key: max((pair[0] for pair in pairs), default=-1) for key, pairs in polled.items()}
        for key, offset in highest.items():
            offsets[key] = max(offsets.get(key, 0), offset + 1)
        commits = {key: max(0, offset) for key, offset in highest.items() if polled[key]}
        if commits:
            await worker.client.call(worker.node, {"type": "commit_offsets", "offsets": commits}, {})
        return [["poll", polled]]

    def observe(self, worker: Worker, completion: Op) -> None:
        """Record the highest offsets that are known and polled."""
        if completion.type != "ok" or completion.f not in {"send", "poll"}:
            return
        for key, offset, _ in sends_of(completion):
            if offset is not None:
                self._sent[key] = max(self._sent.get(key, -1), offset)
                self._note(key, offset)
        targets = self._targets.get(worker.index, {})
        for key, pairs in polls_of(completion).items():
            offset = max((each for each, _ in pairs), default=-1)
            self._polled[key] = max(self._polled.get(key, -1), offset)
            if pairs:
                self._note(key, offset)
            if targets.get(key, offset + 1) <= offset:
                del targets[key]
        for key in [
            key for key in {*self._sent, *self._polled} if self._polled.get(key, -1) >= self._sent.get(key, -1)
        ]:
            self._sent.pop(key, None)
            self._polled.pop(key, None)

    def _note(self, key: str, offset: int) -> None:
        self._highest[key] = max(self._highest.get(key, -1), offset)

    async def finish(self, worker: Worker, perform: Perform) -> None:
        """Start anew, and poll all logs from their beginning to their highest known offset."""
        self._targets[worker.index] = targets = dict(self._highest)
        end = trio.current_time() + _FINAL_S
        await perform(Request("crash"))
        if targets:
            await perform(Request("assign", list(targets), is_rewind=True))
        while targets and trio.current_time() < end:
            await perform(Request("poll", [["poll"]]))
            await trio.sleep(self.random.uniform(0, 2 * _FINAL_POLL_S))

    def check(self, history: History, is_late: Callable[[], bool]) -> Results:
        """See `check_kafka`."""
        return check_kafka(history, is_late)


def _blame_unasked(worker: Worker, kind: str, keys: set[str]) -> None:
    if keys:
        worker.client.flaw = (
            f"{worker.node} answers {kind} with keys that were not requested: {', '.join(sorted(keys))}"
        )
