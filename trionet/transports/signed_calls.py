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
from trionet.security.http_signatures import sign_request, verify_response
from trionet.security.nonces import NONCE_RANDOM_BYTES
from trionet.security.refusals import RequestRefused
from trionet.security.signature_base import HttpRequest, HttpResponse, normalized_authority

from .clock import time_us

if TYPE_CHECKING:
    import httpx

    from trionet.identity import NodeAddress
    from trionet.security.keys import DerivedKeys

__all__ = ["CallSigner", "no_signed_stream"]


def no_signed_stream(service: str, method: str) -> str:
    """Return the text of the refusal of a stream."""
    return (
        f"{service}/{method} is a stream, and with a key streams between nodes go over links only: "
        f"use NodeConfig(transport='link')"
    )


class CallSigner:
    """Signs the calls of one node, and verifies the answers.

    Args:
        keys: those of the key that seals.
    """

    def __init__(self, keys: DerivedKeys) -> None:
        self._keys = keys

    def sign(
        self, node: NodeAddress, method: str, url: httpx.URL, headers: dict[str, str], body: bytes
    ) -> tuple[dict[str, str], bytes]:
        """Return the headers of a signed call, and its nonce.

        Args:
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
        signed = sign_request(head, body, self._keys, time_us(), os.urandom(NONCE_RANDOM_BYTES))
        return {**headers, **dict(signed.headers)}, signed.nonce

    def verify(self, node: NodeAddress, response: httpx.Response, body: bytes, nonce: bytes) -> None:
        """Check the answer to a call.

        Raises:
            ConnectionLost: it is not what a holder of the key answered to this call.
        """
        head = HttpResponse(response.headers.multi_items(), response.status_code)
        try:
            verify_response(head, body, self._keys, nonce)
        except RequestRefused as exc:
            raise ConnectionLost(
                f"{node} answered with HTTP status {response.status_code}, and without a valid signature "
                f"({exc.reason}): do both nodes have the same key and cluster name? The log of {node} says more"
            ) from exc
