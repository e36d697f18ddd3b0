"""Links over TCP: reading with busy polling, writing in batches, and one timer for all links of a node."""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import JSON
from trionet.errors import NodeUnreachable
from trionet.histograms import count_s
from trionet.log_limits import about, limited_log, peer_ip
from trionet.protocols.link.handshake import (
    CertificateRefused,
    Greeted,
    HandshakeCut,
    HandshakeError,
    PeerSpeaksHTTP,
)
from trionet.protocols.link.liveness import AT_ONCE
from trionet.security.live_keys import LiveKeys
from trionet.transports.allowance import within
from trionet.transports.base import STOPPED
from trionet.transports.lazy_http import LazyHTTPTransport
from trionet.transports.readiness import wait_writable

from .link import Link
from .polling import BusyPoll
from .reading import Reading
from .sockets import bound_queue, connect, linger, receive, send_all
from .transport import LinkTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress
    from trionet.protocols.link.events import Closed
    from trionet.security.certificates import Certificates
    from trionet.transports.base import Handler, Request, Sending

__all__ = ["TCPLink", "TCPTransport"]

_log = limited_log(__name__)

_GREETING_BYTES: Final = 4096
_LINGER_S: Final = 2.0
_HTTP_ONLY_S: Final = 60.0
_TIMER_SLACK_S: Final = 0.1
"""Close deadlines of many links share one wake-up."""


class TCPLink(Link):
    """One connection, after the handshake."""

    __slots__ = (
        "_is_writer_free",
        "_liveness",
        "_now",
        "_nursery",
        "_outbox",
        "_reading",
        "_sock",
        "_transport",
        "_unsent",
        "_writer",
    )

    def __init__(
        self, transport: TCPTransport, sock: socket.socket, greeted: Greeted, name: str, nursery: trio.Nursery
    ) -> None:
        self._transport = transport
        self._sock = sock
        self._nursery = nursery
        poll = BusyPoll(None if transport.context.config.busy_poll else 0)
        self._reading = Reading(sock, poll)
        self._writer: trio.lowlevel.Task | None = None
        self._is_writer_free = True
        self._unsent: list[memoryview] = []
        super().__init__(transport.context, greeted, trio.current_time(), name, nursery.start_soon)
        self._now = trio.lowlevel.current_clock().current_time  # two calls of functions less than Trio's own
        self._liveness = self.core.liveness
        self._outbox = self.core.outbox

    async def run(self) -> None:
        """Carry calls until either side is done, or the connection breaks."""
        self.receive(b"", trio.current_time())
        await self._closing(self._read)

    async def _closing(self, work: Callable[[], Awaitable[None]]) -> None:
        """Read, or write; close the link at once on failure, before its handlers end."""
        try:
            await work()
        except (OSError, trio.ClosedResourceError) as exc:
            self.abort(f"it broke: {exc}")
        except trio.Cancelled:
            self.abort()
            raise

    @property
    def peer_host(self) -> object:
        """The peer's key in the limits of log lines."""
        return peer_ip(self._sock)

    def disconnect(self, event: Closed) -> None:
        """Close the connection at once."""
        self._is_writer_free = False
        self._nursery.cancel_scope.cancel()
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    # ---- writing

    def push(self) -> None:
        """Write the due frames now; leave the rest to the writer."""
        core, outbox = self.core, self._outbox
        if self._liveness.deadline < self._transport.wakes_at:
            if self._liveness.deadline == AT_ONCE:
                core.advance(trio.current_time())
            self._transport.wake_at(self._liveness.deadline)
        if outbox.is_due:
            if outbox.is_stuck:
                core.close_if_stuck()
            elif not self._unsent:  # else the writer is at work
                self._write_now()
        elif self._is_writer_free and not outbox.is_corked and (outbox.is_pending or not core.outgoing.is_open):
            self._wake_writer()
        if core.events:
            self.handle_events()

    def _write_now(self) -> None:
        """Write without waking the writer, as far as the socket accepts."""
        core = self.core
        data = core.data_to_send()
        try:
            sent = self._sock.send(data)
        except OSError:  # it would block, or is broken: the writer handles both
            sent = 0
        core.sent(sent)
        if sent < len(data):
            self._unsent = [memoryview(data)[sent:]]
            self._wake_writer()
        elif self._outbox.is_pending or not core.outgoing.is_open:
            self._wake_writer()

    def _wake_writer(self) -> None:
        """Have the writer write, unless it is at work. Its task begins when frames don't go out at once."""
        writer, self._writer = self._writer, None
        if writer is not None:
            trio.lowlevel.reschedule(writer)
        elif self._is_writer_free:
            self._nursery.start_soon(self._closing, self._write)
        self._is_writer_free = False

    def _forget_writer(self, _: object) -> trio.lowlevel.Abort:
        self._writer, self._is_writer_free = None, False
        return trio.lowlevel.Abort.SUCCEEDED

    async def _write(self) -> None:
        core, outbox = self.core, self.core.outbox
        while not (core.is_finished and not self._unsent):
            if not (outbox.is_pending or self._unsent):
                self._writer, self._is_writer_free = trio.lowlevel.current_task(), True
                await trio.lowlevel.wait_task_rescheduled(self._forget_writer)
                continue
            if not self._unsent:
                beside: list[memoryview] = []
                self._unsent = [memoryview(core.data_to_send(beside)), *beside]
            await self._write_unsent()
            self.handle_events()
            if outbox.is_pending:
                await trio.lowlevel.checkpoint()
        # All is sent, but perhaps not read by the peer: closing now could lose data.
        self._sock.shutdown(socket.SHUT_WR)
        await trio.sleep(_LINGER_S)
        self.abort("both sides have sent bye")

    async def _write_unsent(self) -> None:
        while self._unsent:
            try:
                sent = self._sock.sendmsg(self._unsent)
            except BlockingIOError:
                await wait_writable(self._sock)
                continue
            self.core.sent(sent)
            unsent = self._unsent
            while unsent and sent >= len(unsent[0]):
                sent -= len(unsent.pop(0))
            if sent:
                unsent[0] = unsent[0][sent:]

    # ---- reading

    async def _read(self) -> None:
        await self._reading.run(self._handle_input)
        if not self.core.is_closed:
            self.core.receive_end()
            self.handle_events()

    @trio.lowlevel.disable_ki_protection  # it runs handlers
    def _handle_input(self, data: bytes) -> bool:
        self.receive(data, self._now())
        return not self.core.is_closed


class TCPTransport(LinkTransport):
    """Calls over TCP, with HTTP for peers without links.

    Attributes:
        wakes_at: the next time of its timer.
    """

    def __init__(
        self,
        own: NodeAddress | None,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__(own, config, handler, on_orphan, LiveKeys() if keys is None else keys, certificates)
        self.wakes_at: float = math.inf
        self._timer = trio.CancelScope()
        self._http_only_until: dict[NodeAddress, float] = {}
        self._http = LazyHTTPTransport(config)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make and keep links until cancelled; then close them."""
        try:
            await super().run(task_status=task_status)
        finally:
            self.abort()
            with trio.CancelScope(shield=True):
                await self._http.aclose()

    async def keep_time(self) -> None:
        """Call each link's `advance` at its deadline, until cancelled."""
        while True:
            self.wakes_at = min((link.core.liveness.deadline for link in self._open), default=math.inf)
            earliest = trio.current_time() + _TIMER_SLACK_S
            with trio.CancelScope(deadline=max(self.wakes_at, earliest)) as self._timer:
                await trio.sleep_forever()
            now = trio.current_time()
            count_s(self.traffic.lag, now - self._timer.deadline)
            for link in list(self._open):
                if link.core.liveness.deadline <= now:
                    link.advance(now)

    def wake_at(self, when: float) -> None:
        """Set the timer to `when`, if that is earlier than `wakes_at`."""
        if when < self.wakes_at:
            self.wakes_at = self._timer.deadline = when

    # ---- nodes without links

    def knows_links(self, node: NodeAddress) -> bool:
        """Whether `node` supports links: it has not answered in HTTP within the last minute."""
        return self._http_only_until.get(node, -math.inf) <= trio.current_time()

    async def call_without_link(self, node: NodeAddress, request: Request) -> Any:
        """Make a call by HTTP."""
        return await self._http.call(node, self._in_json(request))

    def stream_without_link(
        self, node: NodeAddress, request: Request
    ) -> AbstractAsyncContextManager[AsyncGenerator[Any]]:
        """Start a stream by HTTP."""
        return self._http.stream(node, self._in_json(request))

    def _in_json(self, request: Request) -> Request:
        """Return `request` as the HTTP transport encodes it."""
        blobs = iter(request.blobs) if request.blobs else None
        args = JSON.encode(self.codec.decode(request.args, blobs))
        kwargs = None if request.kwargs is None else JSON.encode(self.codec.decode(request.kwargs, blobs))
        return msgspec.structs.replace(request, args=args, kwargs=kwargs, blobs=())

    def in_progress(self) -> list[Sending]:
        """Return the calls and streams that have not ended."""
        return [*super().in_progress(), *self._http.in_progress()]

    # ---- connections

    def dial(self, node: NodeAddress) -> None:
        """Start a connection attempt."""
        self.start_soon(self._dial, node)

    async def _dial(self, node: NodeAddress) -> None:
        seconds = self.context.config.connect_timeout_s
        try:
            sock, greeted, took_s = await within(seconds, partial(self._connected, node))
        except PeerSpeaksHTTP:
            self._http_only_until[node] = trio.current_time() + _HTTP_ONLY_S
            self.dialed(node)
        except (OSError, trio.BrokenResourceError, HandshakeError) as exc:
            self.not_dialed(node, exc)
        except trio.TooSlowError:
            self.dialed(node, NodeUnreachable(f"no connection to {node} within {seconds:g} s"))
        except trio.Cancelled:
            self.dialed(node, NodeUnreachable(STOPPED))
            raise
        else:
            await self.keep(sock, greeted, node, lambda link: link.core.round_trip.add(took_s))

    async def _connected(self, node: NodeAddress) -> tuple[socket.socket, Greeted, float]:
        sock = await connect(node)
        begun = trio.current_time()
        handshake = self.new_handshake(node)
        try:
            greeted = None
            while greeted is None:
                await send_all(sock, handshake.data_to_send())
                greeted = handshake.receive(await receive(sock, _GREETING_BYTES))
            await send_all(sock, handshake.data_to_send())
        except OSError as exc:
            sock.close()
            raise HandshakeCut from exc
        except HandshakeError:
            with suppress(OSError):
                await send_all(sock, handshake.data_to_send())
            sock.close()
            raise
        except BaseException:
            sock.close()
            raise
        return sock, greeted, trio.current_time() - begun

    async def accept(self, sock: socket.socket, first: bytes) -> Greeted:
        """Accept a link, whose bytes `first` have been read; return the outcome of the handshake.

        Without a checkpoint, and a time limit, if these are the peer's hello.

        Raises:
            HandshakeError: the peer is no compatible node; it has received the reason.
        """
        if not self.is_accepting:
            raise HandshakeError("this node is stopping")
        handshake = self.new_handshake()

        async def go_on(data: bytes) -> Greeted | None:
            found = handshake.receive(data)
            if due := handshake.data_to_send():
                await send_all(sock, due)
            return found

        async def greeted() -> Greeted:
            while (found := await go_on(await receive(sock, _GREETING_BYTES))) is None:
                pass
            return found

        seconds = self.context.config.connect_timeout_s
        try:
            found = await go_on(first)
            return await within(seconds, greeted) if found is None else found
        except OSError as exc:
            raise HandshakeCut from exc
        except trio.TooSlowError as exc:
            raise HandshakeError(f"it took longer than {seconds:g} s to send its hello") from exc
        except HandshakeError as exc:
            # The peer may have closed, or this node: the reason is the same.
            with suppress(OSError, trio.ClosedResourceError):
                await send_all(sock, handshake.data_to_send())
                if isinstance(exc, CertificateRefused):
                    await linger(sock)
            raise

    async def keep(
        self,
        sock: socket.socket,
        greeted: Greeted,
        node: NodeAddress | None,
        on_open: Callable[[TCPLink], object],
    ) -> None:
        """Run a link with `node` to its end; ``on_open(link)`` is called when it can carry calls."""
        name = str(node) if node is not None else "a node without address"
        link: TCPLink | None = None
        try:
            bound_queue(sock)
            async with trio.open_nursery() as nursery:
                link = TCPLink(self, sock, greeted, name, nursery)
                on_open(link)
                self.add(link, node)
                await link.run()
        except* Exception as group:
            extra = about(greeted.peer.address)
            _log.exception("a link was closed because of an error in this program", exc_info=group, extra=extra)
        finally:
            if link is not None:
                link.abort()
                self.remove(link)
