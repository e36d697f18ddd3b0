"""HTTPS at a node's port: TLS below an accepted connection of HTTP.

Invariants: nothing is decoded as HTTP before TLS's handshake has ended; it ends in time, or the connection does. A
client without a certificate is a client all the same; one with a certificate that does not pass is refused.

Source: RFC 8446 (TLS 1.3), RFC 9110, 4.3.3 (authority of https).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.protocols.link.handshake import HandshakeError
from trionet.security.peer_certificate import CertificateFault, PeerCertificate
from trionet.security.tls_faults import fault_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.security.certificates import Certificates

__all__ = ["TLS_CLIENT", "SecuredStream", "TLSClient", "open_tls"]

TLS_CLIENT: Final = "trionet.tls_client"
"""The name of a connection's `TLSClient` in the state of its requests."""


class TLSClient(msgspec.Struct, frozen=True):
    """What TLS tells of the client of a connection.

    Attributes:
        certificate: what its verified certificate says; None if there is none, or it is not for a node of the cluster.
        fault: why there is none.
    """

    certificate: PeerCertificate | None
    fault: str


class SecuredStream:
    """A stream within TLS, with its socket.

    Attributes:
        client: what TLS tells of the client.
        socket: that of the connection.
    """

    def __init__(self, tls: trio.SSLStream[_Replaying], client: TLSClient) -> None:
        self.client = client
        self.socket: trio.socket.SocketType = tls.transport_stream.stream.socket
        self.aclose: Callable[[], Awaitable[None]] = tls.aclose
        self.receive_some: Callable[[int | None], Awaitable[bytes | bytearray]] = tls.receive_some
        self.send_all: Callable[[bytes | bytearray | memoryview], Awaitable[None]] = tls.send_all


async def open_tls(stream: trio.SocketStream, first: bytes, certificates: Certificates) -> SecuredStream:
    """Return the stream within TLS of an accepted connection whose bytes `first` have been read.

    Raises:
        HandshakeError: the client does not speak TLS 1.3, or its certificate does not pass.
    """
    tls = trio.SSLStream(_Replaying(stream, first), certificates.serves, server_side=True, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__
        text = fault_of(cause) if isinstance(cause, ssl.SSLError) else "the connection was closed during the handshake"
        raise HandshakeError(text) from exc
    try:
        client = TLSClient(certificates.identified(tls._ssl_object), "")  # noqa: SLF001  it has no public name
    except CertificateFault as exc:
        client = TLSClient(None, str(exc))
    return SecuredStream(tls, client)


class _Replaying(trio.abc.Stream):
    """A socket stream with some bytes pushed back."""

    def __init__(self, stream: trio.SocketStream, first: bytes) -> None:
        self.stream = stream
        self._first = first

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self._first:
            return await self.stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        most = len(self._first) if max_bytes is None else max_bytes
        first, self._first = self._first[:most], self._first[most:]
        return first

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()
