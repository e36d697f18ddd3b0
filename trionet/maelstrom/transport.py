"""A transport over Maelstrom's messages: a trionet node inside a Maelstrom node.

Invariants: `trionet.transports.base` defines a transport. A call is one message and its reply another; arguments and
values in them are JSON, as on HTTP. A cancelled call is followed by a message that cancels it. Maelstrom has no
connections: a call to a node that is cut off waits for its deadline.

A node's address is its name with port 1. Each item of a stream is acknowledged, which is its flow control.
"""

from __future__ import annotations

import base64
import itertools
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import JSON
from trionet.errors import (
    ConnectionLost,
    DecodeError,
    MalformedRequest,
    NodeUnreachable,
    RemoteError,
    TrionetError,
    error_to_wire,
)
from trionet.identity import NodeAddress
from trionet.message import Call, valid_parent
from trionet.nurseries import open_background_nursery
from trionet.security.live_keys import LiveKeys
from trionet.trace_headers import trace_from_headers, trace_to_headers
from trionet.transports.base import Sending, answered_error, check_request_size, check_size, time_left_s
from trionet.transports.clock import TrioClock
from trionet.transports.datagrams import QueuedDatagrams

from .call_bodies import call_body, decoded_as

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.transports.base import Handler, Lives, Request
    from trionet.transports.shown import Pages

    from .call_bodies import CallBody
    from .envelope import Envelope
    from .node import MaelstromNode

__all__ = ["MaelstromEndpoint", "MaelstromTransport", "address_of"]

_PORT: Final = 1


def address_of(name: str) -> NodeAddress:
    """Return the address of the trionet node inside the Maelstrom node `name`."""
    return NodeAddress(name, _PORT)


class MaelstromEndpoint:
    """Fulfils `trionet.transports.base.Endpoint` on a Maelstrom node."""

    app = None
    keys: LiveKeys = LiveKeys()
    links = None
    certificates = None
    requests_refused = 0
    has_real_address = False
    connections_refused = 0
    pages: Pages | None = None

    def __init__(self, node: MaelstromNode, handler: Handler, config: NodeConfig) -> None:
        self.address: NodeAddress = address_of(node.id)
        self.clock: TrioClock = TrioClock()
        self.transport: MaelstromTransport = MaelstromTransport(node, config)
        self.datagrams: QueuedDatagrams | None = QueuedDatagrams(self._carry) if config.datagrams else None
        self._node = node
        self._handler = handler
        self._limit = config.max_message_bytes
        self._nursery: trio.Nursery | None = None
        self._scopes: dict[tuple[str, Any], trio.CancelScope] = {}
        self._ended = trio.lowlevel.ParkingLot()
        self._is_closed = False

    def set_members(self, _: Callable[[NodeAddress], bool]) -> None:
        """Do nothing; see `Endpoint.set_members`."""

    def set_lives(self, _: Lives) -> None:
        """Do nothing; see `Endpoint.set_lives`."""

    @property
    def reloads(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """None; see `Endpoint.reloads`."""
        return {}

    async def can_connect(self, node: NodeAddress) -> bool:
        """Return True; see `Endpoint.can_connect`."""
        await trio.lowlevel.checkpoint()
        return True

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle calls until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self.clock.run)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def close(self) -> None:
        """Refuse new calls, at once."""
        self._is_closed = True

    async def drain(self) -> None:
        """Refuse new calls, and wait for the replies to all others."""
        self.close()
        while self._scopes:
            await self._ended.park()

    def receive_call(self, message: Envelope) -> None:
        """Start to handle a call."""
        self._start(self._answer, message, call_body(message))

    def receive_client_call(self, message: Envelope) -> None:
        """Start to handle a call of a client."""
        service, slash, method = message.type.partition("/")
        if not slash:
            raise MalformedRequest(f"{self._node.id} knows no messages of type {message.type!r:.100}")
        args = message.body.get("args", [])
        if not isinstance(args, list):
            raise MalformedRequest(f"args is a list, not {args!r:.100}")
        number = f"{message.src}-{message.msg_id}"
        call = Call(gid="local", service=service, method=method, args=args, id=number, is_json=True)
        self._start(self._answer_client, message, call)

    def _start(self, answer: Callable[..., Awaitable[object]], *args: Any) -> None:
        if self._nursery is None or self._is_closed:
            raise NodeUnreachable(f"the trionet node in {self._node.id} accepts no calls")
        self._nursery.start_soon(answer, *args)

    async def _answer_client(self, message: Envelope, call: Call) -> None:
        try:
            value = await self._handler.call(call)
            self._node.reply(message, {"value": msgspec.Raw(JSON.encode(value))})
        except TrionetError as exc:
            self._node.refuse(message, exc)

    def cancel(self, src: str, number: Any) -> None:
        """Cancel a call in progress."""
        scope = self._scopes.get((src, number))
        if scope is not None:
            scope.cancel()

    async def _answer(self, message: Envelope, body: CallBody) -> None:
        key = message.src, body.call
        scope = self._scopes[key] = trio.CancelScope()
        try:
            with scope:
                answer = await (self._items if message.type == "trionet_stream" else self._value)(message.src, body)
                self._node.reply(message, answer)
        except trio.Cancelled:
            stopped = ConnectionLost("the node stopped before it had answered")
            self._node.reply(message, {"error": error_to_wire(stopped)})
            raise
        finally:
            del self._scopes[key]
            if not self._scopes:
                self._ended.unpark_all()

    async def _value(self, src: str, body: CallBody) -> Mapping[str, Any]:
        try:
            value = await self._handler.call(self._call_of(src, body))
        except TrionetError as exc:
            return {"error": error_to_wire(exc)}
        try:
            return {"value": msgspec.Raw(check_size(JSON.encode(value), self._limit, "a reply"))}
        except TrionetError as exc:
            return {"error": error_to_wire(RemoteError.from_exception(exc))}

    async def _items(self, src: str, body: CallBody) -> Mapping[str, Any]:
        try:
            prepared = self._handler.prepare(self._call_of(src, body))
            if not prepared.method.is_stream:
                raise MalformedRequest(f"{body.service}/{body.method} is no stream: use comm.send")
            async with prepared.stream(trio.CancelScope()) as items:
                async for item in items:
                    data = msgspec.Raw(JSON.encode(item))
                    await self._node.rpc(src, {"type": "trionet_item", "call": body.call, "item": data})
        except TrionetError as exc:
            return {"error": error_to_wire(exc)}
        return {}

    def _call_of(self, src: str, body: CallBody) -> Call:
        args, kwargs = bytes(body.args), bytes(body.kwargs)
        check_size(args + kwargs, self._limit, "a request")
        return Call(
            gid=body.gid,
            service=body.service,
            method=body.method,
            args=decoded_as(list, "args", args),
            kwargs=decoded_as(dict, "kwargs", kwargs),
            id=body.id,
            caller=address_of(src),
            timeout_s=body.timeout_s,
            parent=valid_parent(body.parent),
            trace=trace_from_headers(body.traceparent, body.tracestate),
        )

    def _carry(self, to: NodeAddress, data: bytes) -> None:
        if to.ip in self._node.node_ids:
            self._node.send(to.ip, {"type": "trionet_datagram", "data": base64.b64encode(data).decode()})


class MaelstromTransport:
    """Calls to the trionet nodes inside of other Maelstrom nodes."""

    def __init__(self, node: MaelstromNode, config: NodeConfig) -> None:
        self.codec: Codec = JSON.limited(config.max_message_containers)
        self._node = node
        self._limit = config.max_message_bytes
        self._numbers = itertools.count(1)
        self._streams: dict[tuple[str, int], trio.MemorySendChannel[Any]] = {}
        self._in_progress: dict[int, Sending] = {}

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        await trio.lowlevel.checkpoint_if_cancelled()
        number = next(self._numbers)
        answer = await self._ask(node, "trionet_call", number, request)
        return _decoded(answer.get("value"))

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`."""
        number = next(self._numbers)
        send, receive = trio.open_memory_channel[Any](0)
        self._streams[node.ip, number] = send
        failures: list[TrionetError] = []

        async def run() -> None:
            with send:
                try:
                    await self._ask(node, "trionet_stream", number, request)
                except TrionetError as exc:
                    failures.append(exc)

        async def items() -> AsyncGenerator[Any]:
            with receive:
                async for item in receive:
                    yield _decoded(item)
            if failures:
                raise failures[0]

        try:
            async with open_background_nursery() as nursery:
                nursery.start_soon(run)
                async with aclosing(items()) as each:
                    yield each
        finally:
            del self._streams[node.ip, number]

    async def receive_item(self, message: Envelope) -> dict[str, object]:
        """Handle an item of a stream; return once the reader has it."""
        try:
            await self._streams[message.src, message["call"]].send(message["item"])
        except (KeyError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise NodeUnreachable("that stream has no reader any more") from exc
        return {}

    def in_progress(self) -> list[Sending]:
        """Return the calls and streams that have not ended."""
        return list(self._in_progress.values())

    async def _ask(self, node: NodeAddress, kind: str, number: int, request: Request) -> dict[str, Any]:
        if node.ip not in self._node.node_ids or node.port != _PORT:
            raise NodeUnreachable(f"there is no node {node}")
        check_request_size(request, self._limit)
        body: dict[str, Any] = {
            "type": kind,
            "call": number,
            "gid": request.gid,
            "service": request.service,
            "method": request.method,
            "args": msgspec.Raw(request.args),
            "id": request.id,
        }
        if request.parent:
            body["parent"] = request.parent
        body |= trace_to_headers(request.trace)
        if request.kwargs is not None:
            body["kwargs"] = msgspec.Raw(request.kwargs)
        time_s = time_left_s()
        if time_s is not None:
            body["timeout_s"] = time_s
        self._in_progress[number] = Sending(node, request, "sent", trio.lowlevel.current_task())
        try:
            answer = await self._node.rpc(node.ip, body)
        except trio.Cancelled:
            self._node.send(node.ip, {"type": "trionet_cancel", "call": number})
            raise
        finally:
            del self._in_progress[number]
        if "error" in answer:
            raise answered_error(answer["error"])
        return answer


def _decoded(value: Any) -> Any:
    """Decode a value; a failure is no `DefiniteError`, because the handler has run."""
    try:
        return JSON.decode(msgspec.json.encode(value))
    except DecodeError as exc:
        raise ConnectionLost(f"the answer can't be read here: {exc}") from exc
