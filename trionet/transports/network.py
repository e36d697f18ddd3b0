"""The endpoints of nodes on a real network: links, HTTP and datagrams on one port number.

The first byte of a connection distinguishes a link from HTTP.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from trionet.errors import ConfigError
from trionet.log_limits import about, limited_log
from trionet.open_files import is_full
from trionet.protocols.link.frames import MARK
from trionet.protocols.link.handshake import HandshakeError
from trionet.security.live_keys import LiveKeys

from .allowance import within
from .clock import TrioClock, time_us
from .lazy_http import LazyHTTPTransport
from .link import TCPTransport
from .link.sockets import close_now, connect, receive
from .own_certificate import check_claim, own_certificates
from .port import open_port
from .strangers import Strangers

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress
    from trionet.security.certificates import Certificates

    from .base import Handler, Lives
    from .datagrams import UDPDatagrams
    from .link.tcp import TCPLink
    from .listener import Listener, RequestSession, Session
    from .shown import Pages
    from .web import WebServer
    from .web_access import WebAccess
    from .web_app import QuartTrio
    from .web_tls import SecuredStream

__all__ = ["NetworkEndpoint", "TCPNetwork"]

_log = limited_log(__name__)

_FIRST_BYTES = 4096
_TLS_FIRST = b"\x16"  # of a ClientHello
_WEB = "trionet.transports.web"  # its import takes a tenth of a second; nodes without HTTP never do it


class NetworkEndpoint:
    """Fulfils `trionet.transports.base.Endpoint` with TCP.

    Attributes:
        has_real_address: True.
        clock: Trio's.
        keys: the keys that seal its traffic, if there are any.
        certificates: its certificate, and what its peers' must fulfil; None without any.
        links: its links.
        transport: sends the node's calls: by links, or by HTTP if so configured.
        datagrams: UDP on the same port number; None without any.
        pages: what it shows over HTTP; set before `serve`.
    """

    has_real_address = True

    def __init__(
        self,
        listener: Listener,
        datagrams: UDPDatagrams | None,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys,
        certificates: Certificates | None = None,
    ) -> None:
        self.clock: TrioClock = TrioClock()
        self.keys = keys
        self.certificates = certificates
        self._strangers = Strangers()
        self._listener = listener
        self.datagrams = datagrams
        self._config = config
        self._handler = handler
        self._web: WebServer | None = None
        self.pages: Pages | None = None
        self._is_closing = False
        self.links: TCPTransport = TCPTransport(listener.address, config, handler, on_orphan, keys, certificates)
        self._http = LazyHTTPTransport(config, keys, certificates)
        self._started_us = time_us()
        self.transport: TCPTransport | LazyHTTPTransport = self.links if config.transport == "link" else self._http

    @property
    def address(self) -> NodeAddress:
        """The address of the node, with the real port."""
        return self._listener.address

    @property
    def strangers(self) -> Strangers | None:
        """The connections of peers without a proof that they hold the key; None where none is needed."""
        return self._strangers if self.keys.is_protected else None

    @property
    def connections_refused(self) -> int:
        """See `Endpoint.connections_refused`."""
        return self.links.refused + self._strangers.refused

    @property
    def app(self) -> QuartTrio:
        """The app of its HTTP face; made on first use."""
        return self._web_server().app

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer calls until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.clock.run)
                await nursery.start(self.links.run)
                task_status.started()
                await self._listener.serve(lambda sock, ip: _Incoming(sock, ip, self, nursery, self._config))
        finally:
            self.close()
            with trio.CancelScope(shield=True):
                await self._http.aclose()

    @property
    def reloads(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """See `Endpoint.reloads`."""
        if self.certificates is None:
            return {}
        return {"certificate": partial(trio.to_thread.run_sync, self.certificates.reload)}

    def set_members(self, is_member: Callable[[NodeAddress], bool]) -> None:
        """See `Endpoint.set_members`."""
        self.links.is_member = is_member

    def set_lives(self, lives: Lives) -> None:
        """See `Endpoint.set_lives`."""
        self.links.handshakes.lives = lives

    async def can_connect(self, node: NodeAddress) -> bool:
        """Return whether a connection to `node` can be made, or has been; see `Endpoint.can_connect`."""
        if self.links.has_dialed(node):
            await trio.lowlevel.checkpoint()
            return True
        try:
            with trio.fail_after(self._config.connect_timeout_s):
                (await connect(node)).close()
        except (OSError, trio.TooSlowError) as exc:
            return is_full(exc)  # which says nothing about that node
        return True

    def close(self) -> None:
        """Refuse new connections and calls, at once."""
        self._is_closing = True
        self._listener.close()
        self.links.part("this node is stopping")  # now: peers must send no more calls
        for shown in (self._web, self.pages):
            if shown is not None:
                shown.close()

    def _web_server(self) -> WebServer:
        if self._web is None:
            from .web import WebServer

            self._web = WebServer(self._handler, self._config, self._web_access(), self.pages)
            self._web.closing = self._is_closing
        return self._web

    def _web_access(self) -> WebAccess | None:
        if not (self.keys or self.keys.is_rolling) and self.certificates is None:
            return None
        from .own_authorities import own_authorities
        from .web_access import WebAccess

        own = own_authorities(self.address, self._listener.port, {*self._listener.ips, self._config.ip})
        return WebAccess(self.keys, own, self._started_us)

    @property
    def requests_refused(self) -> int:
        """See `Endpoint.requests_refused`."""
        return 0 if self._web is None else self._web.refused.count

    async def accept_http(
        self,
        stream: socket.socket | SecuredStream,
        first: bytes,
        nursery: trio.Nursery,
        on_proven: Callable[[], object],
    ) -> RequestSession:
        """Return the session of an HTTP connection whose first bytes have been read; run the app in `nursery`.

        ``on_proven()`` is called with each request that has a valid token or signature.
        """
        if _WEB not in sys.modules:
            await trio.to_thread.run_sync(importlib.import_module, _WEB)
        web = self._web_server()
        await web.started(nursery)
        return web.connect(stream, first, on_proven)

    async def drain(self) -> None:
        """Refuse new connections, and wait until the calls in progress have been answered."""
        self.close()
        if self._web is not None:
            await self._web.finish()
        self.links.retire("this node is stopping")
        await self._listener.drain()
        await self.links.drained()


class TCPNetwork:
    """Fulfils `trionet.transports.base.Network` with TCP, UDP and HTTP.

    Attributes:
        default_launcher: processes, from the fork server.
    """

    default_launcher = "forkserver"

    def __init__(self, passed: Sequence[socket.socket] = ()) -> None:
        """Open ports; that of the first node on the sockets `passed`, of one port number, if there are any."""
        self._passed = list(passed)

    async def open_endpoint(
        self,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys | None = None,
    ) -> NetworkEndpoint:
        """Listen on the configured address; see `Network.open_endpoint`."""
        keys = LiveKeys() if keys is None else keys
        config.check_bind(has_key=bool(keys), is_rolling=bool(keys) and not keys.is_protected)
        if keys or keys.is_rolling:
            from trionet.security.http_signatures import check_installed

            check_installed()  # the first request would be too late
        certificates = own_certificates(config)
        passed, self._passed = self._passed, []
        has_datagrams = config.datagrams and (certificates is None or bool(keys))
        listener, datagrams = await open_port(config, passed, has_datagrams=has_datagrams)
        try:
            if certificates is not None:
                check_claim(certificates, listener.address)
        except ConfigError:
            listener.close()
            if datagrams is not None:
                datagrams.close()
            raise
        return NetworkEndpoint(listener, datagrams, config, handler, on_orphan, keys, certificates)

    def on_open(self, node: object) -> None:
        """Handle a new node."""


class _Incoming:
    """An accepted connection; its first bytes decide its protocol."""

    def __init__(
        self, sock: socket.socket, ip: str, endpoint: NetworkEndpoint, nursery: trio.Nursery, config: NodeConfig
    ) -> None:
        self._sock = sock
        self._endpoint = endpoint
        self._nursery = nursery
        self._config = config
        self._peer = ip
        self._accepted_at = trio.current_time()
        self._is_aborted = False
        self._session: Session | None = None
        self._requests: RequestSession | None = None
        self._strangers = endpoint.strangers
        if self._strangers is not None:
            self._admit(self._strangers)

    @property
    def idle_since(self) -> float | None:
        return self._session.idle_since if self._session else self._accepted_at

    @property
    def unfinished_since(self) -> float | None:
        if self._requests is not None:
            return self._requests.unfinished_since
        return self._accepted_at if self._session is None else None  # a link has a handshake, and no request

    @property
    def is_waiting(self) -> bool:
        return self.unfinished_since is not None or self.idle_since is not None

    async def run(self) -> None:
        if self._strangers is None:
            await self._run(self._config.idle_timeout_s)
            return
        try:
            await self._run(min(self._config.idle_timeout_s, self._config.connect_timeout_s))
        finally:
            self._strangers.remove(self)

    def _admit(self, strangers: Strangers) -> None:
        leaving = strangers.add(self, self._peer)
        if leaving is not None:
            assert isinstance(leaving, _Incoming)
            _log.warning(
                "a connection from %s was closed for a newer one: too many have not proven that they are members",
                leaving._peer,  # noqa: SLF001  of the same class
                extra=about(leaving._peer),  # noqa: SLF001
            )
            leaving.abort()

    async def _run(self, seconds: float) -> None:
        try:
            first = await self._first(seconds)
        except (OSError, trio.ClosedResourceError):
            return
        if self._is_aborted or not first:
            return
        if first.startswith(MARK):
            await self._run_link(first)
        else:
            await self._run_http(first)

    async def _first(self, seconds: float) -> bytes:
        """Return the first bytes; none at the end, or after a time without any."""
        with suppress(BlockingIOError):  # mostly they have come with the connection
            return self._sock.recv(_FIRST_BYTES)
        with trio.move_on_after(seconds):
            return await receive(self._sock, _FIRST_BYTES)
        if self._endpoint.strangers is not None:
            self._endpoint.strangers.refused += 1
            text = "a connection from %s was closed: it has sent nothing for %g s"
            _log.warning(text, self._peer, seconds, extra=about(self._peer))
        return b""

    async def _run_http(self, first: bytes) -> None:
        stream: socket.socket | SecuredStream = self._sock
        certificates = self._endpoint.certificates
        if certificates is not None and first[:1] == _TLS_FIRST:
            from .web_tls import open_tls

            raw = trio.SocketStream(trio.socket.from_stdlib_socket(self._sock))
            try:
                stream = await within(self._config.connect_timeout_s, partial(open_tls, raw, first, certificates))
                first = b""
            except (HandshakeError, trio.TooSlowError, trio.ClosedResourceError) as exc:
                peer, reason = self._peer, str(exc) or "TLS took too long"
                self._endpoint.links.context.refused.count += 1
                _log.warning("an HTTPS connection of %s was closed: %s", peer, reason, extra=about(peer, reason))
                return
        strangers = self._endpoint.strangers
        on_proven = (lambda: None) if strangers is None else strangers.remover(self)
        self._session = self._requests = connection = await self._endpoint.accept_http(
            stream, first, self._nursery, on_proven
        )
        await connection.run()

    async def _run_link(self, first: bytes) -> None:
        links = self._endpoint.links
        try:
            greeted = await links.accept(self._sock, first)
        except (HandshakeError, OSError) as exc:
            links.note_refused(self._peer, str(exc) or type(exc).__name__)
            return
        except trio.ClosedResourceError:  # this node has closed it, and has logged why
            return
        await links.keep(self._sock, greeted, greeted.peer.address, self._opened)

    def _opened(self, link: TCPLink) -> None:
        self._session = link
        self._proven()
        if self._is_aborted:
            link.abort()

    def _proven(self) -> None:
        """Handle that the peer holds the key, or a token made with it."""
        if self._endpoint.strangers is not None:
            self._endpoint.strangers.remove(self)

    def finish(self) -> None:
        if self._session is None:
            self.abort()

    def abort(self) -> None:
        self._is_aborted = True
        if self._session is not None:
            self._session.abort()
        else:
            close_now(self._sock)
