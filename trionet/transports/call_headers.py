"""The headers of a call over HTTP: the parts of its envelope besides path and body.

Invariant: each value is one line of visible ASCII, whatever peers have sent: a header must not end its request.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from trionet.errors import MalformedRequest
from trionet.message import MAX_ID_CHARS
from trionet.nesting import DEEPEST, depth_inside
from trionet.trace_headers import NO_TRACE, trace_from_headers, trace_to_headers

from .base import time_left_s

if TYPE_CHECKING:
    from .base import Request

__all__ = [
    "CALLER_HEADER",
    "CALL_ID_HEADER",
    "DEPTH_HEADER",
    "PARENT_HEADER",
    "PRINCIPAL_HEADER",
    "STREAM_TYPE",
    "TIMEOUT_HEADER",
    "TRACE_HEADER",
    "VALUE_TYPE",
    "headers_of",
    "inner_depth_from",
    "parent_from",
    "signed_trace_from",
    "timeout_s_from",
]

CALL_ID_HEADER = "Trionet-Call-Id"
CALLER_HEADER = "Trionet-Caller"
TIMEOUT_HEADER = "Trionet-Timeout"
"""The caller's remaining time in seconds; a duration, which needs no common clock."""

DEPTH_HEADER = "Trionet-Depth"
"""The call's depth of nesting, 0 to 8; omitted for 0."""

PRINCIPAL_HEADER = "Trionet-Principal"
"""The principal for whom a node forwards the call; omitted for its own."""

PARENT_HEADER = "Trionet-Parent"
"""The id of the caller's running call in whose handler the call is made; omitted outside of any."""

TRACE_HEADER = "Trionet-Trace"
"""The headers ``traceparent`` and ``tracestate`` in one, with a space between. Signatures cover this one; those may be
added and changed on the way."""

STREAM_TYPE = "application/x-ndjson"
"""The media type of a stream: lines of JSON, ``{"item": …}``, then ``{"end": true}`` or ``{"error": …}``."""

VALUE_TYPE = "application/json"
"""The media type of a value. A request that accepts only one of the two types is refused for the other."""

_ID: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_ID_CHARS}}}")


def headers_of(request: Request, accept: str, *, is_signed: bool) -> dict[str, str]:
    """Return the headers of `request`, with the time that is left.

    Args:
        request: the call.
        accept: the media type of its answer.
        is_signed: whether a signature will cover them.
    """
    headers = {
        CALL_ID_HEADER: request.id,
        **({} if request.caller is None else {CALLER_HEADER: str(request.caller)}),
        "Content-Type": VALUE_TYPE,
        "Accept": accept,
        "Accept-Encoding": "identity",
    }
    if 0 < request.depth <= DEEPEST:
        headers[DEPTH_HEADER] = str(request.depth)
    if request.principal is not None:
        headers[PRINCIPAL_HEADER] = str(request.principal)
    if _ID.fullmatch(request.parent):
        headers[PARENT_HEADER] = request.parent
    if request.trace:
        trace = trace_to_headers(request.trace)
        headers |= trace
        if is_signed and trace:
            headers[TRACE_HEADER] = " ".join(trace.values())
    if (left_s := time_left_s()) is not None:
        headers[TIMEOUT_HEADER] = f"{left_s:.6f}"
    return headers


def inner_depth_from(header: str | None) -> int:
    """Return the depth of the calls made by the handler of a request; without the header, the request has depth 0.

    Raises:
        MalformedRequest: the header is not a depth.
    """
    if header is None:
        return depth_inside(0)
    if len(header) != 1 or not "0" <= header <= str(DEEPEST):
        raise MalformedRequest(f"{DEPTH_HEADER} is a number from 0 to {DEEPEST}, not {header!r:.40}")
    return depth_inside(int(header))


def parent_from(header: str | None) -> str:
    """Return the parent of a call; empty without one, and for what is no id."""
    return header if header is not None and _ID.fullmatch(header) else ""


def timeout_s_from(header: str | None) -> float | None:
    """Return the caller's remaining time; None without a deadline.

    Raises:
        MalformedRequest: the header is not a number of seconds.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise MalformedRequest(f"{TIMEOUT_HEADER} is a number of seconds, not {header!r:.40}")
    return seconds


def signed_trace_from(header: str | None) -> bytes:
    """Return the trace context that the signature of a request covers."""
    if header is None:
        return NO_TRACE
    parent, _, state = header.partition(" ")
    return trace_from_headers(parent, state)
