"""The connections of the HTTP client: plain ones, or TLS to peers whose certificates name nodes of this cluster.

Invariant: no request is sent on a connection of TLS before the peer's certificate has been verified, names a node of
this cluster, and is for the address that was dialed.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Self

import httpx
import trio

from trionet.forks import keep_from_forks
from trionet.security.peer_certificate import CertificateFault

from .http_streams import PlainStream, TLSStream, tls_object
from .link.sockets import connect

if TYPE_CHECKING:
    import httpcore

    from trionet.identity import NodeAddress
    from trionet.security.certificates import Certificates

__all__ = ["HTTPConnections"]


class HTTPConnections:
    """How one node connects to others over HTTP.

    Attributes:
        scheme: of all URLs.
        context: TLS's settings.
        headers: of all requests.
    """

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self.headers: dict[str, str] = {}
        self.scheme: str = "http" if certificates is None else "https"
        self.context: ssl.SSLContext = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if certificates is None else _CurrentContext.of(certificates)
        )

    async def connect(self, node: NodeAddress) -> httpcore.AsyncNetworkStream:
        """Return a new connection to `node`.

        Raises:
            httpx.ConnectError: none could be made, or its peer is not that node.
        """
        try:
            sock = await connect(node)
        except OSError as exc:
            raise httpx.ConnectError(str(exc)) from exc
        if self.scheme == "http":
            return PlainStream(sock)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        keep_from_forks(stream.socket)
        return TLSStream(await self._secured(node, stream))

    async def _secured(self, node: NodeAddress, stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
        tls = trio.SSLStream(stream, self.context, server_hostname=node.ip, https_compatible=True)
        try:
            await tls.do_handshake()
        except BaseException as exc:
            await trio.aclose_forcefully(stream)
            if isinstance(exc, trio.BrokenResourceError):
                raise httpx.ConnectError(str(exc.__cause__ or exc)) from exc
            raise
        fault = "" if self._certificates is None else _fault(self._certificates, tls_object(tls), node)
        if fault:
            await trio.aclose_forcefully(stream)
            raise httpx.ConnectError(fault)
        return tls


def _fault(certificates: Certificates, tls: ssl.SSLObject, node: NodeAddress) -> str:
    """Return why the peer of a new connection is not the node; nothing if it may be."""
    try:
        peer = certificates.identified(tls)
    except CertificateFault as exc:
        return str(exc)
    return "" if peer.may_claim(node.ip) else f"the certificate of {peer.name} is not for the address {node.ip}"


class _CurrentContext(ssl.SSLContext):
    """Settings that are always those of the last reading of the certificate's files."""

    _certificates: Certificates

    @classmethod
    def of(cls, certificates: Certificates) -> Self:
        """Return the settings of requests with these certificates."""
        self = cls(ssl.PROTOCOL_TLS_CLIENT)
        self._certificates = certificates
        return self

    def wrap_bio(self, *args: object, **kwargs: object) -> ssl.SSLObject:
        """Return one side of a connection; see `ssl.SSLContext.wrap_bio`."""
        return self._certificates.requests.wrap_bio(*args, **kwargs)  # type: ignore[arg-type]  # theirs
