"""The bodies of Maelstrom's messages that make calls: the arguments are JSON, as on HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from trionet.codec import JSON
from trionet.errors import MalformedRequest

if TYPE_CHECKING:
    from .envelope import Envelope

__all__ = ["CallBody", "call_body", "decoded_as"]

T = TypeVar("T")


class CallBody(msgspec.Struct, frozen=True):
    """The body of a message that makes a call.

    Attributes:
        call: its number.
        gid, service, method: the names of the method.
        id: chosen by the caller.
        args, kwargs: the arguments, as JSON.
        timeout_s: the time left, in seconds; None for no limit.
        parent: the id of the sender's running call in whose handler it is made; empty outside of any.
        traceparent, tracestate: its trace context, as HTTP's headers of these names.
    """

    call: int
    gid: str
    service: str
    method: str
    id: str
    args: msgspec.Raw
    kwargs: msgspec.Raw = msgspec.Raw(b"{}")
    timeout_s: float | None = None
    parent: str = ""
    traceparent: str | None = None
    tracestate: str | None = None


def call_body(message: Envelope) -> CallBody:
    """Return the body of a message that makes a call.

    Raises:
        MalformedRequest: the message makes none.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode(message.body), type=CallBody)
    except msgspec.ValidationError as exc:
        raise MalformedRequest(f"this is no call: {exc}") from exc


def decoded_as(kind: type[T], name: str, data: bytes) -> T:
    """Return the value of the JSON text `data`.

    Raises:
        DecodeError: it is no JSON text.
        MalformedRequest: it is not of this type.
    """
    value = JSON.decode(data)
    if not isinstance(value, kind):
        raise MalformedRequest(f"{name} is a {kind.__name__}, not a {type(value).__name__}")
    return value
