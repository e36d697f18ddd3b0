"""The connections of the HTTP client: plain ones, or TLS to peers whose certificates name nodes of this cluster.

Invariant: no request is sent on a connection of TLS before the peer's certificate has been verified, names a node of
this cluster, and is for the address that was dialed.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from trionet.forks import keep_from_forks
from trionet.security.peer_certificate import CertificateFault

if TYPE_CHECKING:
    from trionet.identity import NodeAddress
    from trionet.security.certificates import Certificates

__all__ = ["HTTPConnections"]

_CONNECTED: Final = "connection.connect_tcp.complete"
_SECURED: Final = "connection.start_tls.complete"
"""The events of httpcore with a new connection, and once it is within TLS."""


class HTTPConnections:
    """How one node connects to others over HTTP.

    Attributes:
        scheme: of all URLs.
        context: TLS's settings, for httpx.
        headers: of all requests.
    """

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self.headers: dict[str, str] = {}
        self.scheme: str = "http" if certificates is None else "https"
        # Shared: httpx would load certificates for each client.
        self.context: ssl.SSLContext = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if certificates is None else _CurrentContext.of(certificates)
        )

    def extensions(self, node: NodeAddress) -> dict[str, Any]:
        """Return the extensions of a request to `node`, for httpx."""
        return {"trace": partial(self._handle_event, node)}

    async def _handle_event(self, node: NodeAddress, name: str, details: dict[str, Any]) -> None:
        if name == _CONNECTED:
            keep_from_forks(details["return_value"].get_extra_info("socket"))
        elif name == _SECURED and self._certificates is not None:
            stream = details["return_value"]
            fault = _fault(self._certificates, stream.get_extra_info("ssl_object"), node)
            if fault:
                await stream.aclose()
                raise httpx.ConnectError(fault)


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

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Return one side of a connection; see `ssl.SSLContext.wrap_bio`."""
        return self._certificates.requests.wrap_bio(*args, **kwargs)
