"""Errors over HTTP: a status, and the body ``{"error": {"code", "name", "text", ...}}``.

Invariant: no body is over the limit, except that of an error without texts.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from trionet.codec import JSON
from trionet.errors import (
    Abort,
    AddressInUse,
    CallTimeout,
    CodeRefused,
    ConnectionLost,
    EmptyGroup,
    KeyAlreadyExists,
    KeyDoesNotExist,
    MalformedRequest,
    MessageTooLarge,
    NodeUnreachable,
    NotFound,
    NotPermitted,
    PreconditionFailed,
    RemoteError,
    SIDCollision,
    TemporarilyUnavailable,
    TrionetError,
    TxnConflict,
    error_to_wire,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BodyTooLate", "error_body", "own_failure", "status_of", "too_large"]


class BodyTooLate(MalformedRequest):
    """The body of a request did not arrive in time."""

    def __init__(self) -> None:
        super().__init__("408 Request Timeout")


_STATUS_OF = {
    NotFound: 404,
    KeyDoesNotExist: 404,
    BodyTooLate: 408,
    MalformedRequest: 400,
    NotPermitted: 403,
    CodeRefused: 403,
    EmptyGroup: 409,
    SIDCollision: 409,
    AddressInUse: 409,
    Abort: 409,
    KeyAlreadyExists: 409,
    TxnConflict: 409,
    PreconditionFailed: 412,
    MessageTooLarge: 413,
    NodeUnreachable: 502,
    ConnectionLost: 502,
    TemporarilyUnavailable: 503,
    CallTimeout: 504,
}
_NEVER_CUT = ("code", "name")


def status_of(error: TrionetError) -> int:
    """Return the HTTP status of `error`."""
    return next((code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500)


def error_body(error: TrionetError, limit_bytes: int) -> bytes:
    """Return the body for `error`; over the limit, only the ends of long texts are kept, which are the most useful."""
    wire = error_to_wire(error)
    body = _encoded(wire)
    longest = limit_bytes
    while len(body) > limit_bytes and longest:
        longest //= 4
        wire = {name: value if name in _NEVER_CUT else _cut(value, longest) for name, value in wire.items()}
        body = _encoded(wire)
    if len(body) > limit_bytes:
        body = _encoded({name: wire[name] for name in _NEVER_CUT} | {"text": ""})
    return body


def too_large(limit_bytes: int) -> MessageTooLarge:
    """Return the error for a request whose body is over the limit."""
    return MessageTooLarge(f"the request is over the limit of {limit_bytes:,} bytes: max_message_bytes")


def _cut(value: Any, longest: int) -> Any:
    return value[len(value) - longest :] if isinstance(value, str) and len(value) > longest else value


def _encoded(wire: Mapping[str, Any]) -> bytes:
    return JSON.encode({"error": wire})


def own_failure(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body for a request that does not reach the app."""
    if status != HTTPStatus.INTERNAL_SERVER_ERROR:
        error: TrionetError = MalformedRequest(f"no proper HTTP request: {status} {HTTPStatus(status).phrase}")
    else:
        error = RemoteError("the request could not be served", type_name="", message="", traceback="")
    body = _encoded(error_to_wire(error))
    headers = [
        (b"content-type", JSON.content_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    return headers, body
