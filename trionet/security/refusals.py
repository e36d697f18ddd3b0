"""Why a request without a valid proof is refused: the reason is for the log, the answer for the client.

Invariant: the answer to a client that has proven nothing is always the same, so that it tells nothing of the keys.
"""

from __future__ import annotations

from typing import Final

from trionet.errors import NotPermitted

__all__ = ["FORBIDDEN", "UNAUTHORIZED", "RequestRefused", "unproven"]

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403

_HINT: Final = (
    "this needs the header 'Authorization: Bearer TOKEN' with a valid token of this cluster: make one with "
    "trionet keys token --key-file FILE --scope read|call|admin"
)


class RequestRefused(NotPermitted):
    """A request has no valid token or signature.

    Attributes:
        reason: a sentence for the log of the receiver. It never goes to the client, and quotes no token.
        status: the HTTP status of the answer: 401, or 403 where the client has proven too few rights.
    """

    def __init__(self, text: str, *, reason: str, status: int = UNAUTHORIZED) -> None:
        super().__init__(text)
        self.reason = reason
        self.status = status


def unproven(reason: str) -> RequestRefused:
    """Return the refusal of a client that has proven nothing: the same answer whatever the reason is."""
    return RequestRefused(_HINT, reason=reason)
