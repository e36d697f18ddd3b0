"""The in-memory transport: nodes in one process, no sockets.

Every message is serialised and parsed again, so that nothing passes here that the wire would lose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import ConnectionLost, NodeUnreachable, RemoteError, TrionetError, error_from_wire, error_to_wire

from .base import check_size, time_left_s

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

    from .base import Handler, Request

__all__ = ["MemoryFabric", "MemoryTransport"]

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class MemoryFabric:
    """What connects the in-memory transports of one process: address to the node that listens there."""

    def __init__(self) -> None:
        self._listeners: dict[NodeAddress, _MemoryListener] = {}

    async def listen(
        self,
        address: NodeAddress,
        handler: Handler,
        *,
        max_message_bytes: int = _MAX_MESSAGE_BYTES,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve calls to `address` with `handler` until cancelled; the calls it is answering break off then."""
        async with trio.open_nursery() as nursery:
            self._listeners[address] = _MemoryListener(handler, nursery, max_message_bytes)
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                del self._listeners[address]

    def listener(self, address: NodeAddress) -> _MemoryListener:
        """Return who listens on `address`; raise `NodeUnreachable` if nobody does."""
        try:
            return self._listeners[address]
        except KeyError:
            raise NodeUnreachable(f"nobody listens on {address}") from None


class _MemoryListener:
    def __init__(self, handler: Handler, nursery: trio.Nursery, max_message_bytes: int) -> None:
        self._handler = handler
        self._nursery = nursery
        self._max_message_bytes = max_message_bytes

    async def answer(self, request: Request, timeout_s: float | None) -> bytes:
        """Run `request` in the listening node's nursery; return the encoded answer.

        Raises:
            ConnectionLost: the node stopped before it had answered.
        """
        answers: list[bytes] = []
        done = trio.Event()
        scope = trio.CancelScope()

        async def run() -> None:
            try:
                with scope:
                    answers.append(await self._encoded_answer(request, timeout_s))
            finally:
                done.set()

        self._nursery.start_soon(run)
        try:
            await done.wait()
        finally:
            scope.cancel()
        if not answers:
            raise ConnectionLost("the node stopped before it had answered")
        return answers[0]

    async def _encoded_answer(self, request: Request, timeout_s: float | None) -> bytes:
        try:
            value = await self._handler(request.received(MESSAGEPACK, timeout_s))
        except TrionetError as exc:
            return MESSAGEPACK.encode({"error": error_to_wire(exc)})
        try:
            return check_size(MESSAGEPACK.encode({"value": value}), self._max_message_bytes, "a reply")
        except TrionetError as exc:
            return MESSAGEPACK.encode({"error": error_to_wire(RemoteError.from_exception(exc))})


class MemoryTransport:
    """Calls to nodes on the same fabric."""

    codec = MESSAGEPACK

    def __init__(self, fabric: MemoryFabric, *, max_message_bytes: int = _MAX_MESSAGE_BYTES) -> None:
        self._fabric = fabric
        self._max_message_bytes = max_message_bytes

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        await trio.lowlevel.checkpoint()
        check_size(request.args, self._max_message_bytes, "a request")
        answer = MESSAGEPACK.decode(await self._fabric.listener(node).answer(request, time_left_s()))
        if "error" in answer:
            raise error_from_wire(answer["error"])
        return answer["value"]

    async def aclose(self) -> None:
        """Nothing is open."""
