"""All links of one node: made on first use, shared by all calls, closed when idle."""

from __future__ import annotations

import contextlib
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.codec import JSON, MESSAGEPACK
from trionet.errors import NodeUnreachable
from trionet.log_limits import about, limited_log
from trionet.transports.allowance import within
from trionet.transports.base import Request, check_request_size
from trionet.transports.lazy_http import LazyHTTPTransport

from .connection import Link
from .frames import Hello
from .handshake import Handshake, HandshakeError, PeerSpeaksHTTP, accept, initiate
from .holdings import Account
from .liveness import Stalls
from .outgoing import LinkRetired
from .sockets import connect, plain_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress
    from trionet.transports.base import Handler

__all__ = ["LinkTransport"]

_log = limited_log(__name__)

_TICK_S: Final = 1.0
_FRESH_S: Final = 5.0
_HTTP_ONLY_S: Final = 60.0
_ATTEMPTS: Final = 3
_WINDOW_MESSAGES: Final = 2


class _Dialing:
    """An attempt to make a link, for all who wait for it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.failure: str | None = None


class LinkTransport:
    """Calls over links, with HTTP for the peers that don't know links."""

    def __init__(self, config: NodeConfig, handler: Handler, on_orphan: Callable[[OrphanedCall], None]) -> None:
        self.codec: Codec = MESSAGEPACK.limited(config.max_message_containers)
        self._config = config
        self._max_message_bytes = config.max_message_bytes
        self._account = Account(config.held_bytes_limit)
        self._handler = handler
        self._on_orphan = on_orphan
        self._links: dict[NodeAddress, Link] = {}
        self._open: dict[Link, None] = {}
        self._dialing: dict[NodeAddress, _Dialing] = {}
        self._http_only_until: dict[NodeAddress, float] = {}
        self._http = LazyHTTPTransport(config)
        self._nursery: trio.Nursery | None = None
        self._own: Hello | None = None
        self._is_closing = False
        self._link_ended = trio.lowlevel.ParkingLot()

    async def run(self, own: NodeAddress, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the links until cancelled; then close them.

        Args:
            own: the node's own address, which peers may call back on a link.
            task_status: started when calls can be made.
        """
        config = self._config
        self._own = Hello(
            address=own,
            max_calls=config.max_calls_per_peer,
            window_bytes=min(_WINDOW_MESSAGES * config.max_message_bytes, self._account.share_bytes),
            max_message_bytes=config.max_message_bytes,
        )
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await self._look_after_links()
        finally:
            self._nursery = None
            for link in list(self._open):
                link.abort()
            with trio.CancelScope(shield=True):
                await self._http.aclose()

    async def _look_after_links(self) -> None:
        stalls = Stalls(trio.current_time(), _TICK_S)
        while True:
            await trio.sleep(_TICK_S)
            now = trio.current_time()
            if lag_s := stalls.lag_s(now):
                for link in self._open:
                    link.postpone(now, lag_s)
                now -= _TICK_S  # what has come meanwhile is not read yet: the verdict is that of the last time
            for link in list(self._open):
                link.tick(now)

    def retire(self, reason: str) -> None:
        """Make no more calls; links close when those in progress have been answered."""
        self._is_closing = True
        self.part(reason)

    def part(self, reason: str) -> None:
        """Have the peers make no more calls on the links that there are."""
        for link in list(self._open):
            link.retire(reason)

    async def drained(self) -> None:
        """Wait until the last link has closed."""
        while self._open:
            await self._link_ended.park()

    # ---- calls

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value; see `Transport.call`."""
        if request.kwargs is not None or len(request.args) > self._max_message_bytes:
            check_request_size(request, self._max_message_bytes)
        for _ in range(_ATTEMPTS):
            link = self._links.get(node)
            if link is None or not link.calls.takes_calls:
                link = await self._link_with(node)
                if link is None:
                    return await self._http.call(node, _in_json(request, self.codec))
            try:
                return await link.calls.call(request)
            except LinkRetired:  # nothing was sent
                continue
        raise NodeUnreachable(f"{node} closes every link at once")

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`; see `Transport.stream`."""
        check_request_size(request, self._max_message_bytes)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(_ATTEMPTS):
                link = await self._link_with(node)
                with contextlib.suppress(LinkRetired):
                    if link is None:
                        items = await stack.enter_async_context(self._http.stream(node, _in_json(request, self.codec)))
                    else:
                        items = await stack.enter_async_context(link.calls.stream(request))
                    break
            else:
                raise NodeUnreachable(f"{node} closes every link at once")
            yield items

    # ---- making links

    async def _link_with(self, node: NodeAddress) -> Link | None:
        """Return a link with `node`; None when the node only speaks HTTP.

        Raises:
            NodeUnreachable: none can be made.
        """
        for _ in range(_ATTEMPTS):
            link = self._links.get(node)
            if link is not None and link.is_usable:
                return link
            if self._http_only_until.get(node, -math.inf) > trio.current_time():
                return None
            await self._dialed(node)
        raise NodeUnreachable(f"{node} closes every link at once")

    async def _dialed(self, node: NodeAddress) -> None:
        """Have a link with `node` made, by this caller's attempt or another's that is under way.

        Raises:
            NodeUnreachable: none can be made.
        """
        dialing = self._dialing.get(node)
        if dialing is None:
            if self._nursery is None or self._is_closing:
                raise NodeUnreachable("this node has stopped")
            dialing = self._dialing[node] = _Dialing()
            # In the transport's own nursery: the caller may be cancelled, and others wait for it, too.
            self._nursery.start_soon(self._dial, node, dialing)
        await dialing.done.wait()
        if dialing.failure is not None:
            raise NodeUnreachable(dialing.failure)

    async def _dial(self, node: NodeAddress, dialing: _Dialing) -> None:
        link = None
        try:
            link = await within(self._config.connect_timeout_s, lambda: self._connect(node))
        except PeerSpeaksHTTP:
            self._http_only_until[node] = trio.current_time() + _HTTP_ONLY_S
        except (OSError, trio.BrokenResourceError, HandshakeError) as exc:
            dialing.failure = f"no connection to {node}: {exc}"
        except trio.TooSlowError:
            dialing.failure = f"no connection to {node} within {self._config.connect_timeout_s:g} s"
        finally:
            del self._dialing[node]
            dialing.done.set()
        if link is not None:
            await self.keep(link)

    async def _connect(self, node: NodeAddress) -> Link:
        assert self._own is not None
        sock = await connect(node)
        begun = trio.current_time()
        try:
            handshake = await initiate(sock, self._own)
        except BaseException:
            sock.close()
            raise
        link = self._make(sock, handshake, node)
        link.round_trip.add(trio.current_time() - begun)
        return link

    async def accept(self, stream: trio.SocketStream, first: bytes) -> Link:
        """Answer the begin of a link, of which `first` has been read; returns the link, which `keep` is to run.

        Raises:
            HandshakeError: the peer isn't a node that can be talked with.
        """
        if self._own is None or self._is_closing:
            raise HandshakeError("this node is stopping")
        try:
            handshake = await accept(stream, first, self._config.connect_timeout_s)
        except trio.TooSlowError as exc:
            raise HandshakeError(f"it took longer than {self._config.connect_timeout_s:g} s to say hello") from exc
        return self._make(plain_socket(stream), handshake, handshake.peer.address)

    def _make(self, sock: socket.socket, handshake: Handshake, node: NodeAddress | None) -> Link:
        assert self._own is not None
        name = str(node) if node is not None else "a node without address"
        link = Link(
            sock,
            self._own,
            handshake,
            self._handler,
            self._on_orphan,
            name=name,
            config=self._config,
            account=self._account,
        )
        self._open[link] = None
        if node is not None:
            self._prefer(node, link)
        return link

    def _prefer(self, node: NodeAddress, link: Link) -> None:
        """Use `link` for calls to `node` from now on.

        When both sides connect at the same time there are two links. Both keep the one that the smaller address has
        made, and the other one becomes idle. An older link may be of the peer's previous life: the new one replaces it.
        """
        assert self._own is not None
        other = self._links.get(node)
        if other is not None and other.is_usable and link.opened_at - other.opened_at < _FRESH_S:
            smaller_is_own = self._own.address is not None and self._own.address < node
            if other.is_initiator == smaller_is_own and link.is_initiator != other.is_initiator:
                return
        self._links[node] = link

    async def keep(self, link: Link) -> None:
        """Run `link` to its end."""
        try:
            await link.run()
        except* Exception as group:
            _log.exception(
                "a link was closed because of an error in this program", exc_info=group, extra=about(link.peer.address)
            )
        finally:
            link.abort()
            del self._open[link]
            self._link_ended.unpark_all()
            for node in [node for node, kept in self._links.items() if kept is link]:
                del self._links[node]


def _in_json(request: Request, codec: Codec) -> Request:
    """Return `request`, which `codec` has encoded, as the HTTP transport encodes it."""
    args = JSON.encode(codec.decode(request.args))
    kwargs = None if request.kwargs is None else JSON.encode(codec.decode(request.kwargs))
    return Request(
        gid=request.gid,
        service=request.service,
        method=request.method,
        args=args,
        kwargs=kwargs,
        id=request.id,
        caller=request.caller,
        depth=request.depth,
    )
