"""The in-memory transport: nodes in one process, no sockets.

Every message is serialised and parsed again, so that nothing passes here that the wire would lose.
"""

from __future__ import annotations

import itertools
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import (
    AddressInUse,
    ConnectionLost,
    DecodeError,
    MalformedRequest,
    NodeUnreachable,
    RemoteError,
    TrionetError,
    error_from_wire,
    error_to_wire,
)
from trionet.identity import NodeAddress
from trionet.nurseries import open_background_nursery

from .base import check_request_size, check_size, time_left_s
from .datagrams import QueuedDatagrams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from trionet.config import NodeConfig

    from .base import Handler, Request

__all__ = ["MemoryEndpoint", "MemoryFabric", "MemoryTransport"]

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class MemoryFabric:
    """What connects the in-memory transports of one process: address to the node that listens there.

    Attributes:
        datagrams: who takes datagrams, by address.
    """

    def __init__(self) -> None:
        self.datagrams: dict[NodeAddress, QueuedDatagrams] = {}
        self._listeners: dict[NodeAddress, _MemoryListener] = {}
        self._free_ports = itertools.count(1)

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
                self.forget(address)

    def forget(self, address: NodeAddress) -> _MemoryListener | None:
        """Nobody is to be reached at `address` any more; return who was."""
        return self._listeners.pop(address, None)

    def endpoint(self, config: NodeConfig, handler: Handler) -> MemoryEndpoint:
        """Return a place for a node, at the configured address; port 0 takes the next free one.

        Raises:
            AddressInUse: another node is there.
        """
        address = NodeAddress(config.ip, config.port or next(self._free_ports))
        if address in self._listeners:
            raise AddressInUse(f"{address} is already in use")
        return MemoryEndpoint(self, address, handler, config)

    def carry(self, to: NodeAddress, data: bytes) -> None:
        """Take a datagram to whoever is there."""
        datagrams = self.datagrams.get(to)
        if datagrams is not None:
            datagrams.put(data)

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
        self._in_progress = 0
        self._ended = trio.lowlevel.ParkingLot()

    async def drained(self) -> None:
        """Wait until no call is in progress."""
        while self._in_progress:
            await self._ended.park()

    @contextmanager
    def _counted(self) -> Generator[None]:
        self._in_progress += 1
        try:
            yield
        finally:
            self._in_progress -= 1
            self._ended.unpark_all()

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
                with scope, self._counted():
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
            check_request_size(request, self._max_message_bytes)
            value = await self._handler.call(request.received(MESSAGEPACK, timeout_s))
        except TrionetError as exc:
            return MESSAGEPACK.encode({"error": error_to_wire(exc)})
        try:
            return check_size(MESSAGEPACK.encode({"value": value}), self._max_message_bytes, "a reply")
        except TrionetError as exc:
            return MESSAGEPACK.encode({"error": error_to_wire(RemoteError.from_exception(exc))})

    async def send_items(
        self, request: Request, timeout_s: float | None, channel: trio.MemorySendChannel[bytes]
    ) -> None:
        """Run `request`, a stream, in the listening node's nursery until it ends, or the channel's reader has gone."""
        done = trio.Event()
        scope = trio.CancelScope()

        async def run() -> None:
            try:
                with scope, channel, self._counted():
                    await self._send_encoded_items(request, timeout_s, channel)
            finally:
                done.set()

        self._nursery.start_soon(run)
        try:
            await done.wait()
        finally:
            scope.cancel()

    async def _send_encoded_items(
        self, request: Request, timeout_s: float | None, channel: trio.MemorySendChannel[bytes]
    ) -> None:
        try:
            check_request_size(request, self._max_message_bytes)
            prepared = self._handler.prepare(request.received(MESSAGEPACK, timeout_s))
            if not prepared.method.is_stream:
                raise MalformedRequest(f"{request.service}/{request.method} is no stream: use comm.send")
            async with prepared.stream(trio.CancelScope()) as items:
                async for item in items:
                    await channel.send(MESSAGEPACK.encode({"item": item}))
            await channel.send(MESSAGEPACK.encode({"end": True}))
        except trio.BrokenResourceError:
            return  # the reader has left
        except TrionetError as exc:
            await channel.send(MESSAGEPACK.encode({"error": error_to_wire(exc)}))


class MemoryEndpoint:
    """Fulfils `trionet.transports.base.Endpoint` on a fabric."""

    def __init__(self, fabric: MemoryFabric, address: NodeAddress, handler: Handler, config: NodeConfig) -> None:
        self.address = address
        self.transport: MemoryTransport = MemoryTransport(fabric, max_message_bytes=config.max_message_bytes)
        self.datagrams: QueuedDatagrams | None = None
        if config.datagrams:
            self.datagrams = fabric.datagrams[address] = QueuedDatagrams(fabric.carry)
        self._fabric = fabric
        self._handler = handler
        self._max_message_bytes = config.max_message_bytes
        self._listener: _MemoryListener | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer calls until cancelled."""
        limit = self._max_message_bytes
        try:
            await self._fabric.listen(self.address, self._handler, max_message_bytes=limit, task_status=task_status)
        finally:
            self._fabric.datagrams.pop(self.address, None)

    def close(self) -> None:
        """Refuse new calls, at once."""
        self._listener = self._fabric.forget(self.address) or self._listener

    async def drain(self) -> None:
        """Refuse new calls, and wait until those it is answering have been answered."""
        self.close()
        if self._listener is not None:
            await self._listener.drained()


class MemoryTransport:
    """Calls to nodes on the same fabric."""

    codec = MESSAGEPACK

    def __init__(self, fabric: MemoryFabric, *, max_message_bytes: int = _MAX_MESSAGE_BYTES) -> None:
        self._fabric = fabric
        self._max_message_bytes = max_message_bytes

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        await trio.lowlevel.checkpoint()
        check_request_size(request, self._max_message_bytes)
        answer = _read(await self._fabric.listener(node).answer(request, time_left_s()))
        if "error" in answer:
            raise error_from_wire(answer["error"])
        return answer["value"]

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`."""
        check_request_size(request, self._max_message_bytes)
        listener = self._fabric.listener(node)
        send, receive = trio.open_memory_channel[bytes](0)
        async with open_background_nursery() as nursery:
            nursery.start_soon(listener.send_items, request, time_left_s(), send)
            async with aclosing(_items(receive)) as items:
                yield items


def _read(data: bytes) -> Any:
    """Decode an answer; what can't be read is no `DefiniteError`, because the handler has run."""
    try:
        return MESSAGEPACK.decode(data)
    except DecodeError as exc:
        raise ConnectionLost(f"the answer can't be read here: {exc}") from exc


async def _items(receive: trio.MemoryReceiveChannel[bytes]) -> AsyncGenerator[Any]:
    with receive:
        async for line in receive:
            answer = _read(line)
            if "item" in answer:
                yield answer["item"]
            elif "error" in answer:
                raise error_from_wire(answer["error"])
            else:
                return
    raise ConnectionLost("the node stopped before the stream had ended")
