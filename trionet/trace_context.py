"""The trace context of a call: which trace it belongs to, which span made it, and whether the trace is sampled.

It travels as bytes in a frame: the trace id in 16, the span's id in 8, the flags in 1, then ``tracestate``, up to 512
bytes of ASCII, only if there is one. Over HTTP it is the two headers of W3C Trace Context. A node without a tracer
hands the bytes of a call on to the calls of its handler, as they are.

Invariant: a `TraceContext` is always valid. What is malformed gives None, never an error: strangers write it, and a
call must not fail for its trace.

Source: W3C Trace Context Level 2, sections 3.2 (``traceparent``), 3.3 (``tracestate``) and 4.3 (mutating tracestate).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_BYTES",
    "MAX_STATE_CHARS",
    "SAMPLED",
    "TraceContext",
    "parsed_state",
]

SAMPLED: Final = 1
"""The flag of a trace that its caller may have recorded."""

MAX_STATE_CHARS: Final = 512
"""The longest ``tracestate`` that is passed on."""

_TRACE_ID_BYTES: Final = 16
_IDS_BYTES: Final = 24
_FIXED_BYTES: Final = 25
MAX_BYTES: Final = _FIXED_BYTES + MAX_STATE_CHARS
"""The longest context in a frame."""

_KNOWN_FLAGS: Final = 0b11  # sampled, and random trace id; the others must be sent as 0 (3.2.2.5)
_NO_TRACE_ID: Final = bytes(_TRACE_ID_BYTES)
_NO_SPAN_ID: Final = bytes(_IDS_BYTES - _TRACE_ID_BYTES)

_MOST_MEMBERS: Final = 32
_LONG_MEMBER_CHARS: Final = 128
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_INVALID_VERSION: Final = "ff"
_VERSION: Final = "00"


class TraceContext(msgspec.Struct, frozen=True):
    """A valid trace context.

    Attributes:
        trace_id: 16 bytes, not all zero.
        span_id: the 8 bytes of the caller's span, not all zero.
        flags: 0 to 3; see `SAMPLED`.
        state: ``tracestate``: what tracing systems have added, at most 512 characters; empty for none.
    """

    trace_id: bytes
    span_id: bytes
    flags: int = 0
    state: str = ""

    @classmethod
    def decoded(cls, data: bytes) -> TraceContext | None:
        """Return the context in a frame; None when it is empty or malformed."""
        if not _FIXED_BYTES <= len(data) <= MAX_BYTES:
            return None
        trace_id, span_id = data[:_TRACE_ID_BYTES], data[_TRACE_ID_BYTES:_IDS_BYTES]
        if trace_id == _NO_TRACE_ID or span_id == _NO_SPAN_ID:
            return None
        state = data[_FIXED_BYTES:]
        text = parsed_state([state.decode("ascii")]) if state.isascii() else ""
        return cls(trace_id, span_id, data[_IDS_BYTES] & _KNOWN_FLAGS, text)

    @classmethod
    def from_headers(cls, parents: Iterable[str], states: Iterable[str] = ()) -> TraceContext | None:
        """Return the context in the headers of a request; None without a valid one.

        Args:
            parents: the values of all headers ``traceparent``; more than one are none.
            states: the values of all headers ``tracestate``, in their order.
        """
        parents = list(parents)
        found = _PARENT.fullmatch(parents[0].strip(" \t")) if len(parents) == 1 else None
        if found is None:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        if version == _INVALID_VERSION or (version == _VERSION and rest is not None):
            return None
        ids = bytes.fromhex(trace_id), bytes.fromhex(span_id)
        if ids[0] == _NO_TRACE_ID or ids[1] == _NO_SPAN_ID:
            return None
        return cls(*ids, int(flags, 16) & _KNOWN_FLAGS, parsed_state(states))

    @property
    def encoded(self) -> bytes:
        """Its form in a frame."""
        return self.trace_id + self.span_id + bytes([self.flags]) + self.state.encode("ascii")

    @property
    def traceparent(self) -> str:
        """Its header ``traceparent``, of version 00."""
        return f"{_VERSION}-{self.trace_id.hex()}-{self.span_id.hex()}-{self.flags:02x}"

    @property
    def is_sampled(self) -> bool:
        """Whether the caller may have recorded it."""
        return bool(self.flags & SAMPLED)


def parsed_state(headers: Iterable[str]) -> str:
    """Return ``tracestate`` within its limits; empty when any of it is malformed.

    Args:
        headers: the values of all headers ``tracestate``, in their order: one list of members together.

    Whole members are left out until the rest has at most 512 characters: first those of more than 128, then any, from
    the end, where the oldest are.
    """
    texts = (text.strip(" \t") for header in headers for text in header.split(","))
    members = [text for text in texts if text]
    keys = set()
    for member in members:
        found = _MEMBER.fullmatch(member)
        if found is None or found[1] in keys:
            return ""
        keys.add(found[1])
    if len(members) > _MOST_MEMBERS:
        return ""
    return ",".join(_within_limit(members))


def _within_limit(members: list[str]) -> list[str]:
    size = sum(map(len, members)) + len(members) - 1
    for least_chars in (_LONG_MEMBER_CHARS, 0):
        for index in range(len(members) - 1, -1, -1):
            if size <= MAX_STATE_CHARS:
                return members
            if len(members[index]) > least_chars:
                size -= len(members.pop(index)) + 1
    return members
