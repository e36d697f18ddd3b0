"""What a supervised node and its parent say to each other: two lines of JSON.

The parent writes a `Boot` as one line to the child's standard input and keeps it open; its end, for whatever reason,
means that the parent is gone. The child writes a `Report` as one line to its standard output and closes it. What user
code prints in the child goes to standard error.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from trionet.codec import JSON, register_type
from trionet.config import NodeConfig
from trionet.errors import DecodeError, TrionetError
from trionet.identity import NodeAddress

T = TypeVar("T")

__all__ = ["MAX_LINE_BYTES", "Boot", "Report", "decode_line", "encode_line"]

MAX_LINE_BYTES = 1024 * 1024


@register_type
class Boot(msgspec.Struct, frozen=True):
    """What a child is told.

    Attributes:
        config: its configuration.
        sys_path: where it is to import from: what its parent imports from.
    """

    config: NodeConfig
    sys_path: list[str]


@register_type
class Report(msgspec.Struct, frozen=True):
    """What a child says.

    Attributes:
        address: where it listens, now that it has booted; or None
        error: why it has not booted.
    """

    address: NodeAddress | None = None
    error: TrionetError | None = None


def encode_line(message: Boot | Report) -> bytes:
    """Return `message` as one line."""
    return JSON.encode(message) + b"\n"


def decode_line(line: bytes, expected: type[T]) -> T:
    """Return the message in `line`.

    Raises:
        DecodeError: it is no such message.
    """
    message = JSON.decode(line)
    if not isinstance(message, expected):
        raise DecodeError(f"expected a {expected.__name__}")
    return message
