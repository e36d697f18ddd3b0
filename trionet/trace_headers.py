"""The trace context of a call in its two forms: bytes, as links carry it, and HTTP's headers.

Links carry the bytes of `trionet.trace_context`; over HTTP they are the headers ``traceparent`` and ``tracestate``.
Without a tracer a node hands the trace context of a call on to the calls of its handler, as it is.

Invariants: what is no trace context counts as none, and is never an error, because strangers write it; the headers made
of one are visible ASCII, whatever its bytes are.
"""

from __future__ import annotations

from typing import Final

from .trace_context import MAX_BYTES, MAX_STATE_CHARS, TraceContext

__all__ = ["MAX_STATE_BYTES", "NO_TRACE", "TRACE_BYTES", "trace_from_headers", "trace_to_headers", "valid_trace"]

TRACE_BYTES: Final = MAX_BYTES - MAX_STATE_CHARS
"""The size of a trace context without ``tracestate``."""

MAX_STATE_BYTES: Final = MAX_STATE_CHARS
"""The most bytes of ``tracestate``."""

NO_TRACE: Final = b""
"""No trace context."""

_SIZES: Final = range(TRACE_BYTES, MAX_BYTES + 1)


def valid_trace(trace: bytes) -> bytes:
    """Return a peer's trace context in a frame; `NO_TRACE` for bytes of another size than those of one."""
    return trace if len(trace) in _SIZES else NO_TRACE


def trace_from_headers(parent: str | None, state: str | None = None) -> bytes:
    """Return the trace context in the headers of a request, as in a frame; `NO_TRACE` without a valid one.

    Args:
        parent: the header ``traceparent``; several ones, joined by commas, are none.
        state: the header ``tracestate``; several ones are joined by commas.
    """
    found = None if parent is None else TraceContext.from_headers([parent], [] if state is None else [state])
    return NO_TRACE if found is None else found.encoded


def trace_to_headers(trace: bytes) -> dict[str, str]:
    """Return the headers for a trace context of a frame; none without a valid one."""
    found = TraceContext.decoded(trace)
    if found is None:
        return {}
    headers = {"traceparent": found.traceparent}
    if found.state:
        headers["tracestate"] = found.state
    return headers
