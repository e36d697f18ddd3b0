"""W3C trace contexts, as they travel with calls: in bytes, and in HTTP's headers.

A trace context is bytes: trace id 16, span id 8, flags 1, and then the text of ``tracestate``, only if there is one.
Links carry these bytes; over HTTP they are the headers ``traceparent`` and ``tracestate``. Without a tracer a node
hands the trace context of a call on to the calls of its handler, as it is.

Invariants: what is no trace context counts as none, and is never an error, because strangers write it; the headers made
of one are visible ASCII, whatever its bytes are.

Source: W3C Trace Context, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_STATE_BYTES", "NO_TRACE", "TRACE_BYTES", "trace_from_headers", "trace_to_headers", "valid_trace"]

TRACE_BYTES: Final = 25
"""The size of a trace context without ``tracestate``."""

MAX_STATE_BYTES: Final = 512
"""The most bytes of ``tracestate``: what all must propagate (section 3.3.1.5)."""

NO_TRACE: Final = b""
"""No trace context."""

_SIZES: Final = range(TRACE_BYTES, TRACE_BYTES + MAX_STATE_BYTES + 1)
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_END: Final = 24
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_STATE: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OLDEST: Final = "00"
_INVALID_VERSION: Final = "ff"


def valid_trace(trace: bytes) -> bytes:
    """Return a trace context of a peer; `NO_TRACE` for bytes of another size than those of one."""
    return trace if len(trace) in _SIZES else NO_TRACE


def trace_from_headers(parent: str | None, state: str | None = None) -> bytes:
    """Return the trace context in the headers of a request; `NO_TRACE` if there is none, or it is invalid.

    Args:
        parent: the header ``traceparent``.
        state: the header ``tracestate``, whose lines are joined by commas. It is ignored if it is too long.
    """
    found = None if parent is None else _PARENT.fullmatch(parent.strip(" \t"))
    if found is None:
        return NO_TRACE
    version, trace_id, span_id, flags, more = found.groups()
    is_null = not trace_id.strip("0") or not span_id.strip("0")
    if is_null or version == _INVALID_VERSION or (more is not None and version == _OLDEST):
        return NO_TRACE
    trace = bytes.fromhex(trace_id + span_id + flags)
    encoded = b"" if state is None else state.strip(" \t").replace("\t", " ").encode("latin-1", "replace")
    return trace + encoded if len(encoded) <= MAX_STATE_BYTES and _STATE.fullmatch(encoded) else trace


def trace_to_headers(trace: bytes) -> dict[str, str]:
    """Return the headers that stand for a trace context; none for `NO_TRACE`, and none for a strange state."""
    if not valid_trace(trace):
        return {}
    trace_id, span_id = trace[:_TRACE_ID_BYTES], trace[_TRACE_ID_BYTES:_SPAN_ID_END]
    headers = {"traceparent": f"{_OLDEST}-{trace_id.hex()}-{span_id.hex()}-{trace[_SPAN_ID_END]:02x}"}
    state = trace[TRACE_BYTES:]
    if _STATE.fullmatch(state):
        headers["tracestate"] = state.decode("ascii")
    return headers
