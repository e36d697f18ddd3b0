"""Calls over HTTP between nodes with keys, as the caller signs them: head, arguments and answer.

Invariants: no call is sent unsigned, nor to another machine without TLS, where others could read it; no answer is
believed without a signature over the nonce of its request. A stream is refused before it is sent, because its items
would be unsigned.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trionet.errors import ConnectionLost, NodeUnreachable
from trionet.identity import is_loopback
from trionet.log_limits import about, limited_log
from trionet.security.http_signatures import sign_request, verify_response
from trionet.security.nonces import NONCE_RANDOM_BYTES
from trionet.security.refusals import RequestRefused
from trionet.security.signature_base import HttpRequest, HttpResponse, normalized_authority

from .clock import time_us

if TYPE_CHECKING:
    import httpx

    from trionet.identity import NodeAddress
    from trionet.security.keys import DerivedKeys

__all__ = ["SignedCall", "no_signed_stream"]

_log = limited_log(__name__)


def no_signed_stream(service: str, method: str) -> str:
    """Return the text of the refusal of a stream."""
    return (
        f"{service}/{method} is a stream, and with a key streams between nodes go over links only: "
        f"use NodeConfig(transport='link')"
    )


class SignedCall:
    """A call that is signed; its answer must be signed with the same key, also after that of the node has changed.

    Attributes:
        headers: all of its headers.
    """

    def __init__(
        self,
        keys: DerivedKeys,
        node: NodeAddress,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        """Sign a call.

        Args:
            keys: those of the key that seals now.
            node: the peer.
            method: the method of the request.
            url: its URL.
            headers: all of its headers that a signature covers.
            body: its body.

        Raises:
            NodeUnreachable: the peer is on another machine.
        """
        if url.scheme != "https" and not is_loopback(node.ip):
            raise NodeUnreachable(
                f"{node} is on another machine, and with a key plain HTTP is for this machine only: use "
                f"NodeConfig(transport='link'), or give both nodes certificates"
            )
        head = HttpRequest(
            list(headers.items()),
            method,
            normalized_authority(url.netloc.decode("ascii")),
            url.raw_path.decode("ascii"),
        )
        signed = sign_request(head, body, keys, time_us(), os.urandom(NONCE_RANDOM_BYTES))
        self.headers: dict[str, str] = {**headers, **dict(signed.headers)}
        self._keys = keys
        self._node = node
        self._nonce = signed.nonce

    def verify(self, response: httpx.Response, body: bytes) -> None:
        """Check the answer.

        Raises:
            ConnectionLost: it is not what a holder of the key answered to this call.
        """
        head = HttpResponse(response.headers.multi_items(), response.status_code)
        try:
            verify_response(head, body, self._keys, self._nonce)
        except RequestRefused as exc:
            reason = f"it has no valid signature: {exc.reason}"
            extra = about(self._node, reason)
            _log.warning("an answer of %s over HTTP was refused: %s", self._node, reason, extra=extra)
            raise ConnectionLost(
                f"{self._node} answered with HTTP status {response.status_code}, and without a valid signature "
                f"({exc.reason}): do both nodes have the same key and cluster name? The log of {self._node} says more"
            ) from exc
