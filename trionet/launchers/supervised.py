"""The messages of a launcher and its supervised node: two lines of JSON, over a pipe or a socket.

The launcher writes a `Boot` as one line and keeps its end open; a further line, `STOP_LINE`, stops the node. When that
end closes, for any reason, the launcher is gone, and the node stops within `ORPHANED_S`, unless it is detached.
The node writes a `Report` as one line, when it has booted or failed to.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import trio

from trionet.codec import JSON, register_type
from trionet.config import NodeConfig
from trionet.errors import DecodeError, EncodeError, SpawnError, TrionetError
from trionet.identity import NodeAddress
from trionet.nesting import current_depth

from .base import explain_status
from .interpreter import import_path
from .lineage import lineage
from .output import is_output_named
from .passed_code import passed_code
from .passed_keys import PassedKeys, passed_keys
from .run_secret import RunSecret, run_secret

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
    "encode_report",
]

T = TypeVar("T")

MAX_LINE_BYTES = 16 * 1024 * 1024
"""The limit of a message, and of other output before a child's report, by a login shell perhaps."""

STOP_LINE = b"stop\n"


@register_type
class Boot(msgspec.Struct, frozen=True):
    """The message to a child.

    Attributes:
        config: its configuration.
        sys_path: its import path, encoded as file names; empty if it has that already.
        ancestors: the processes of its machine that it must not outlive; see `trionet.launchers.lineage`.
        depth: the depth of its calls during its boot, for which its spawner waits.
        is_output_named: whether its output is prefixed with its name; see `trionet.launchers.output`.
        keys: the keys of its spawner; None without any, and if its configuration has a `key_file`.
        run: the secret of its run; see `trionet.launchers.run_secret`.
        code: the code of its `on_start`; empty if that has an import path.
    """

    config: NodeConfig
    sys_path: list[bytes] = []
    ancestors: list[int] = []
    depth: int = msgspec.field(default_factory=current_depth)
    is_output_named: bool = False
    keys: PassedKeys | None = msgspec.field(default_factory=passed_keys)
    run: RunSecret | None = msgspec.field(default_factory=run_secret)
    code: bytes = msgspec.field(default_factory=passed_code)


@register_type
class Report(msgspec.Struct, frozen=True):
    """The message from a child.

    Attributes:
        address: its address, if it has booted; else None.
        error: the reason why it has not booted.
    """

    address: NodeAddress | None = None
    error: TrionetError | None = None


_MARK: Final = JSON.encode(Report()).partition(b",")[0]
"""The first bytes of every report."""


def boot_for(config: NodeConfig, *, knows_path: bool = False) -> Boot:
    """Return the boot message for a child on this machine, with the import path unless it `knows_path`."""
    return Boot(
        config,
        sys_path=[] if knows_path else [os.fsencode(place) for place in import_path()],
        ancestors=[] if config.detach else lineage(),
        is_output_named=is_output_named(),
    )


def encode_line(message: Boot | Report) -> bytes:
    """Return `message` as one line.

    Raises:
        SpawnError: it would be longer than its receiver reads.
    """
    line = JSON.encode(message) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        code = (
            f"; the code of its on_start has {len(message.code):,}"
            if isinstance(message, Boot) and message.code
            else ""
        )
        raise SpawnError(f"the message for the node's start is over the limit of {MAX_LINE_BYTES:,} bytes{code}")
    return line


def encode_report(report: Report) -> bytes:
    """Return `report` as one line; of an error that can't travel, the text."""
    try:
        return encode_line(report)
    except (EncodeError, SpawnError):
        text = f"{report.error!s:.10000}".encode(errors="backslashreplace").decode()
        return encode_line(Report(error=SpawnError(text)))


def decode_line(line: bytes, expected: type[T]) -> T:
    """Return the message in `line`.

    Raises:
        DecodeError: it is no message of the expected type.
    """
    message = JSON.decode(line)
    if not isinstance(message, expected):
        raise DecodeError(f"expected a {expected.__name__}")
    return message


async def address_from(
    receive: Callable[[], Awaitable[bytes | bytearray]], ended: Callable[[], Awaitable[int]]
) -> NodeAddress:
    """Return the address in a child's report. Output before the report, as of a login shell, is skipped.

    Args:
        receive: returns some bytes of the child's output; none after its end.
        ended: ends the child if necessary, and returns its exit status.

    Raises:
        SpawnError: it did not boot; the text is its reason.
    """
    report = await _report_from(receive)
    if report is None:
        raise SpawnError(f"the node ended before it had booted: {explain_status(await ended())}")
    if report.address is None:
        raise SpawnError(f"the node did not boot: {report.error}") from report.error
    return report.address


async def _report_from(receive: Callable[[], Awaitable[bytes | bytearray]]) -> Report | None:
    """Find a report by its mark, which may follow other text on its line, as a prompt."""
    data, received = b"", 0
    with contextlib.suppress(trio.BrokenResourceError):
        while received < MAX_LINE_BYTES and (chunk := await receive()):
            received += len(chunk)
            data += chunk
            while (begin := data.find(_MARK)) >= 0:
                line, newline, rest = data[begin:].partition(b"\n")
                if not newline:
                    data = line
                    break
                if (report := _report_in(line) or _report_in(line[line.rfind(_MARK) :])) is not None:
                    return report
                data = rest
            else:
                data = data[1 - len(_MARK) :]  # it may be the first part of the mark
    return None


def _report_in(line: bytes) -> Report | None:
    """Return the report at the beginning of `line`, which may continue; None without one."""
    text = line.decode(errors="replace")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
        return decode_line(text[:end].encode(), Report)
    except (DecodeError, ValueError, RecursionError):
        return None
