"""The framing of HTTP/1.1 requests: ambiguous ones are refused, and their connection is closed.

A proxy in front of a node, and the node itself, must see the same requests; otherwise a request can be hidden in the
body of another (request smuggling). h11 is lenient in some places where implementations differ.

Invariant: an accepted request has one body length by every reading of RFC 9112, sections 2.2, 5.2, 6.1 to 6.3 and 7.1.
h11 itself refuses a wrong ``Content-Length``, and blanks before a colon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

# h11 has no public place for this: all its lenience about line ends is in the buffer.
from h11._receivebuffer import ReceiveBuffer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["StrictReceiveBuffer", "check_head", "check_line_ends"]

_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_CHUNKED = b"chunked"
_BAD_REQUEST = 400
_NOT_IMPLEMENTED = 501


class StrictReceiveBuffer(ReceiveBuffer):
    """h11's buffer, which refuses ambiguous framing."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Remove and return the lines up to an empty one: a request's head, or the trailer of a chunked body."""
        before = bytes(self)
        lines = super().maybe_extract_lines()
        if lines is not None:
            check_line_ends(before[: len(before) - len(self)])
            check_head(lines)
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """Remove and return one line: the head of a chunk."""
        line = super().maybe_extract_next_line()
        if line is not None:
            check_line_ends(line)
        return line


def check_line_ends(data: bytes | bytearray) -> None:
    """Raise `h11.LocalProtocolError` unless each CR and LF of `data` is part of a CRLF.

    RFC 9112, 2.2: a recipient MAY recognize a lone LF as a line end, so implementations differ.
    """
    rest = data.replace(b"\r\n", b"")
    if b"\n" in rest or b"\r" in rest:
        raise h11.LocalProtocolError("a line ends in CR LF")


def check_head(lines: Sequence[bytes | bytearray]) -> None:
    """Raise `h11.LocalProtocolError` if the length of the body after this head is ambiguous.

    Args:
        lines: a request line and header lines; or the lines of a trailer, which must not set the length either.
    """
    codings, has_length = [], False
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            # RFC 9112, 5.2: a server MUST reject a folded line, or join it, which makes another header.
            raise h11.LocalProtocolError("a header is one line")
        name, _, value = bytes(line).partition(b":")
        if name.lower() == _CODING:
            codings.append(value)
        has_length = has_length or name.lower() == _LENGTH
    if codings:
        is_old = lines[0].endswith(b" HTTP/1.0")
        _check_coding([coding.strip(b" \t").lower() for coding in b",".join(codings).split(b",")], has_length, is_old)


def _check_coding(codings: list[bytes], has_length: bool, is_old: bool) -> None:
    # RFC 9112, 6.1: "a server MAY reject a request that contains both Content-Length and Transfer-Encoding", and one
    # with Transfer-Encoding in HTTP/1.0 is to be treated "as if the framing is faulty".
    if has_length:
        raise h11.LocalProtocolError("either Content-Length or Transfer-Encoding")
    if is_old:
        raise h11.LocalProtocolError("HTTP/1.0 has no Transfer-Encoding")
    # RFC 9112, 6.3: where chunked is not the last one, "the server MUST respond with the 400 status code and then close
    # the connection"; 6.1: an unknown coding is 501.
    if codings[-1] != _CHUNKED or codings.count(_CHUNKED) > 1:
        raise h11.LocalProtocolError("the last Transfer-Encoding is chunked, once", _BAD_REQUEST)
    if len(codings) > 1:
        raise h11.LocalProtocolError("no Transfer-Encoding but chunked is known", _NOT_IMPLEMENTED)
