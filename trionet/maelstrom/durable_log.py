"""Operations in one order on all nodes, kept in a linearizable store, so that they survive any number of kills.

The log is a row of slots in the store, each with a batch of operations. A node claims the first free slot by a
compare-and-set that fails if the slot is claimed; so a slot never changes, and all nodes apply the same operations in
the same order. During a claim, further operations gather for the next one (group commit).

Invariants: each run of a node applies an operation once, in the order of the slots; a node applies its own operations
only after their slot is claimed; a node is initialised only after it has applied every slot that was claimed before it
started.

Source: Schneider 1990, section 2 (state machine replication); the store determines the order.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import outcome
import trio

from trionet.errors import ConnectionLost, PreconditionFailed

from .kv import KV

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .node import MaelstromNode

__all__ = ["DurableLog"]

T = TypeVar("T")

_TRY_S: Final = 1.0
_MAX_WINDOW: Final = 64
_ID_BITS: Final = 64


class _Append(Generic[T]):
    """An operation that has not been applied, and the event that ends the wait for it."""

    def __init__(self, operation: Any) -> None:
        self.operation = operation
        self.result: outcome.Outcome[T] | None = None
        self.done = trio.Event()

    def finish(self, result: outcome.Outcome[T]) -> None:
        self.result = result
        self.done.set()


class DurableLog(Generic[T]):
    """A log that all nodes of a Maelstrom network append to, and apply.

    Args:
        node: the node of this log; create the log before the node runs.
        apply: called with each operation, in the one order, on every node; a restarted node applies all of them again.
            It must depend on nothing but its earlier calls.
        period_s: the interval at which a node that appends nothing reads the slots of others.
        service: the store, which must be linearizable.
        name: the prefix of the slots' keys.
    """

    def __init__(
        self,
        node: MaelstromNode,
        apply: Callable[[Any], T],
        *,
        period_s: float = 0.1,
        service: str = "lin-kv",
        name: str = "log",
    ) -> None:
        self._node = node
        self._apply = apply
        self._period_s = period_s
        self._kv = KV(node, service)  # type: ignore[arg-type]  # another one that is linearizable will do
        self._name = name
        self._slots = 0  # how many have been applied
        self._appends: list[_Append[T]] = []
        self._filled = trio.lowlevel.ParkingLot()
        node.on_init(self._catch_up)
        node.background(self._keep_up)

    async def append(self, operation: Any) -> T:
        """Append `operation`, which is any JSON; return the result of `apply` for it on this node.

        After a cancellation, the operation may still be appended.
        """
        append = _Append[T](operation)
        self._appends.append(append)
        self._filled.unpark_all()
        await append.done.wait()
        assert append.result is not None
        return append.result.unwrap()

    async def _keep_up(self) -> None:
        while True:
            if not self._appends:
                with trio.move_on_after(self._period_s):
                    await self._filled.park()
            await (self._commit() if self._appends else self._catch_up())

    async def _commit(self) -> None:
        """Claim a slot for the gathered operations, and apply all slots up to it."""
        appends, self._appends = self._appends, []
        batch = {
            "id": f"{self._node.id}-{self._node.random.getrandbits(_ID_BITS):x}",
            "operations": [append.operation for append in appends],
        }
        while True:
            slot = await self._claimed(batch)
            results = self._applied(slot["operations"])
            if slot["id"] == batch["id"]:
                break
        for append, result in zip(appends, results, strict=True):
            append.finish(result)

    async def _claimed(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Put `batch` into the next slot if it is free; return the batch of that slot."""
        key = self._key(self._slots)
        try:
            # No slot has the batch's id alone as its value, so this can only create it.
            await _retried(lambda: self._kv.cas(key, batch["id"], batch, create_if_not_exists=True))
        except PreconditionFailed:  # claimed by another node; or by this one, and the reply was lost
            found: dict[str, Any] = await _retried(lambda: self._kv.read(key))
            return found
        return batch

    async def _catch_up(self) -> None:
        """Apply the slots that others have claimed; the window doubles as long as it is full."""
        window, is_full = 1, True
        with suppress(ConnectionLost):  # the node is closing
            while is_full:
                slots = await self._read(window)
                for slot in slots:
                    self._applied(slot["operations"])
                is_full, window = len(slots) == window, min(2 * window, _MAX_WINDOW)

    async def _read(self, count: int) -> list[dict[str, Any]]:
        """Return the next slots, as far as they are claimed, `count` at most."""
        found: dict[int, dict[str, Any]] = {}

        async def read(number: int) -> None:
            found[number] = await _retried(lambda: self._kv.read_or(self._key(self._slots + number), {}))

        if count == 1:
            await read(0)
        else:
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(read, number)
        free = next((number for number in range(count) if not found[number]), count)
        return [found[number] for number in range(free)]

    def _applied(self, operations: Sequence[Any]) -> list[outcome.Outcome[T]]:
        """Apply a slot; an operation that fails here fails on every node, and raises in its `append`."""
        self._slots += 1
        return [outcome.capture(self._apply, operation) for operation in operations]

    def _key(self, slot: int) -> str:
        return f"{self._name}/{slot}"


async def _retried(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until its reply arrives: messages may be lost."""
    while True:
        with trio.move_on_after(_TRY_S):
            return await call()
