"""A node on the network: it receives lines, and its lines are messages.

Invariant: after a line that is no message, or has a sender or receiver that is not on the network, the node's output
is not read any more, while the test goes on, as in Maelstrom. Maelstrom reads one JSON value from the beginning of a
line and ignores the rest, replaces bytes that are no UTF-8, and reads null, an empty list or an empty text for a body
as an empty object; so does the workbench, with a warning. Source: Maelstrom,
``src/maelstrom/process.clj``.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from .errors import BadMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from .messages import NetworkMessage
    from .network import Network

__all__ = ["Crash", "RunningNode"]

_KEPT_LINES: Final = 32
_SHOWN_BYTES: Final = 300


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    src: str
    dest: str
    body: msgspec.Raw
    id: int = -1


_decode = msgspec.json.Decoder(_Envelope).decode
_EMPTY_BODIES: Final = (b"null", b"[]", b'""')
_EMPTY_BYTES: Final = 16  # more would be blanks


class Crash(msgspec.Struct):
    """A node that ended by itself.

    Attributes:
        node: its name.
        reason: how it ended.
        stdout, stderr: the last lines of its output.
    """

    node: str
    reason: str
    stdout: list[str]
    stderr: list[str]


class RunningNode(ABC):
    """One run of a node.

    Args:
        name: its name.
        network: carries its messages.
        warn: called with a text about each fault of its output.

    Attributes:
        crash: how it ended, if it did so by itself.
        is_ignored: whether its output is not read any more.
        until_crash: is cancelled when it ends by itself.
    """

    def __init__(self, name: str, network: Network, warn: Callable[[str], None]) -> None:
        self.name = name
        self.crash: Crash | None = None
        self.is_ignored: bool = False
        self.until_crash: trio.CancelScope = trio.CancelScope()
        self.stdout: deque[str] = deque(maxlen=_KEPT_LINES)
        self.stderr: deque[str] = deque(maxlen=_KEPT_LINES)
        self._network = network
        self._warn = warn
        self._oddities: set[str] = set()

    @abstractmethod
    async def start(self, nursery: trio.Nursery) -> None:
        """Start it in `nursery`.

        Raises:
            SetupFailed: it can't be started.
        """

    @abstractmethod
    def deliver(self, message: NetworkMessage) -> None:
        """Deliver a message to it."""

    @abstractmethod
    def kill(self) -> None:
        """End it without warning."""

    @abstractmethod
    def pause(self) -> None:
        """Pause it."""

    @abstractmethod
    def resume(self) -> None:
        """Resume it."""

    def handle_line(self, line: bytes) -> None:
        """Send the message of a line of its output."""
        if self.is_ignored:
            return
        self.stdout.append(line[:_SHOWN_BYTES].decode("utf-8", "replace"))
        shown = self.stdout[-1] + ("…" if len(line) > _SHOWN_BYTES else "")
        try:
            envelope, oddity = _parsed(line)
            self._network.send(envelope.src, envelope.dest, _body(envelope))
        except BadMessage as exc:
            self.is_ignored = True
            self._warn(
                f"{self.name} wrote a line to standard output that is no message: {exc}. "
                f"As in Maelstrom, nothing it writes is read from now on. The line: {shown!r}"
            )
            return
        if _is_empty(envelope.body):
            oddity = f"{bytes(envelope.body).decode()} for its body, which is read as {{}}"
        if oddity and oddity not in self._oddities:  # a node mostly writes thousands of such lines
            self._oddities.add(oddity)
            self._warn(
                f"{self.name} wrote a line to standard output that has {oddity}. "
                f"Maelstrom accepts it, and so does this; other readers may not. The line: {shown!r}"
            )

    def record_crash(self, reason: str) -> None:
        """Record that it has ended by itself."""
        self.crash = Crash(self.name, reason, list(self.stdout), list(self.stderr))
        self.until_crash.cancel()
        self._warn(f"{self.name} has ended by itself: {reason}. This fails the test")


def _parsed(line: bytes) -> tuple[_Envelope, str]:
    """Return the message of a line, and the oddity of the line, or an empty text.

    Raises:
        BadMessage: the line has no message.
    """
    try:
        line.decode()  # only the receiver decodes the body
        return _decode(line), ""
    except msgspec.ValidationError as exc:
        raise BadMessage(f"its envelope is not {{src, dest, body}} ({exc})") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        first, oddity = _first_value(line)
        if not oddity:
            raise BadMessage(f"it is not JSON ({exc}); logs belong on standard error") from exc
    try:
        return _decode(first), oddity
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise BadMessage(f"its envelope is not {{src, dest, body}} ({exc})") from exc


def _first_value(line: bytes) -> tuple[bytes, str]:
    """Return the JSON value at the beginning of a line, and the oddity of the rest; empty without a JSON value."""
    text = line.decode("utf-8", "replace").lstrip(" \t\r")
    try:
        _, end = _strict.raw_decode(text)
    except (ValueError, RecursionError):
        return line, ""
    if text[end:].strip():
        return text[:end].encode(), "text behind its JSON, which is left out"
    return text.encode(), "bytes that are no UTF-8, which are replaced"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_strict = json.JSONDecoder(parse_constant=_refuse_constant)


def _body(envelope: _Envelope) -> bytes:
    """Return the body as an object.

    Raises:
        BadMessage: it is no object.
    """
    if _is_empty(envelope.body):
        return b"{}"
    body = bytes(envelope.body)
    if not body.startswith(b"{"):
        raise BadMessage("its body is no object")
    return body


def _is_empty(body: msgspec.Raw) -> bool:
    return len(memoryview(body)) <= _EMPTY_BYTES and bytes(body).translate(None, b" \t\r") in _EMPTY_BODIES
