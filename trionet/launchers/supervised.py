"""What a supervised node and its launcher say to each other: two lines of JSON, over a pipe or a socket.

The launcher writes a `Boot` as one line and keeps its end open; a further line, `STOP_LINE`, tells the node to stop.
Its closing, for whatever reason, means that the launcher is gone, and the node stops within `ORPHANED_S`, unless it is
a detached one. The node writes a `Report` as one line, when it has booted or failed to.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from trionet.codec import JSON, register_type
from trionet.config import NodeConfig
from trionet.errors import DecodeError, SpawnError, TrionetError
from trionet.identity import NodeAddress
from trionet.nesting import current_depth

from .base import explain_status
from .lineage import lineage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = [
    "MAX_LINE_BYTES",
    "STOP_LINE",
    "Boot",
    "Report",
    "address_from",
    "boot_for",
    "decode_line",
    "encode_line",
    "import_path",
]

T = TypeVar("T")

MAX_LINE_BYTES = 1024 * 1024
STOP_LINE = b"stop\n"


@register_type
class Boot(msgspec.Struct, frozen=True):
    """What a child is told.

    Attributes:
        config: its configuration.
        sys_path: where it is to import from; empty on another machine, where it knows better.
        ancestors: the processes on its machine that it must not outlive; see `trionet.launchers.lineage`.
        depth: the depth of the calls that it makes while it boots: whoever spawns it waits for them.
    """

    config: NodeConfig
    sys_path: list[str] = []
    ancestors: list[int] = []
    depth: int = msgspec.field(default_factory=current_depth)


@register_type
class Report(msgspec.Struct, frozen=True):
    """What a child says.

    Attributes:
        address: where it listens, now that it has booted; or None
        error: why it has not booted.
    """

    address: NodeAddress | None = None
    error: TrionetError | None = None


def boot_for(config: NodeConfig) -> Boot:
    """Return what a child on this machine is told: to import from where this process does."""
    return Boot(config, import_path(), [] if config.detach else lineage())


def import_path() -> list[str]:
    """Return where this process imports from, as absolute paths."""
    return [str(Path(place).absolute()) for place in sys.path]  # '' means the working directory


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


async def address_from(
    receive: Callable[[], Awaitable[bytes | bytearray]], ended: Callable[[], Awaitable[int]]
) -> NodeAddress:
    """Return the address that a child reports; lines before the report are somebody else's, a login shell's say.

    Args:
        receive: gives some bytes of what the child says; none when it has closed its end.
        ended: gives the child's exit status, when it has ended or is made to.

    Raises:
        SpawnError: it did not boot; the text is its own reason.
    """
    report = await _report_from(receive)
    if report is None:
        raise SpawnError(f"the node ended before it had booted: {explain_status(await ended())}")
    if report.address is None:
        raise SpawnError(f"the node did not boot: {report.error}") from report.error
    return report.address


async def _report_from(receive: Callable[[], Awaitable[bytes | bytearray]]) -> Report | None:
    line = b""
    while len(line) < MAX_LINE_BYTES and (chunk := await receive()):
        *lines, line = (line + chunk).split(b"\n")
        for whole in lines:
            with contextlib.suppress(DecodeError):
                return decode_line(whole, Report)
    return None
