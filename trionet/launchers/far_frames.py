"""The messages between a spawner and its helper on another machine, over the input and output of one command.

To the helper: the two lines of `trionet.cli.place`, one with a `Hello`, all in JSON, and then the records of
`trionet.launchers.forked`. ``F id 0`` comes without a descriptor: the helper makes the node's line, whose bytes travel
as ``D id size`` and that many bytes, in both directions; ``C id 0`` closes it. ``B 0 0`` shows that the spawner lives,
and ``Q 0 0`` that it must end, because a process above it has. ``W 0 n`` grants n bytes more of the nodes' output.

From the helper: the same, each after the token of the `Hello`, so that what others print in between is passed over: the
start-up files of a login shell, and what they have left behind. The first is ``G 0 size`` with a `Greeting`; a ``D`` of
no bytes is the end of a node's line. ``O 0 size`` has what nodes have printed, as much as has been granted.

Invariant: a frame is at most `MAX_FRAME_BYTES` long and is written at once. So in a pipe it is whole or absent: whoever
is cancelled has sent all of it or nothing, and nothing is printed amid it.

Source: pipe(7), PIPE_BUF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .forked import RECORD
from .needs import Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "BEAT_S",
    "MAX_FRAME_BYTES",
    "SILENCE_S",
    "TOKEN_BYTES",
    "FrameReader",
    "Greeting",
    "Hello",
    "are_compatible",
    "frames",
    "skew",
]

MAX_FRAME_BYTES: Final = 4096
TOKEN_BYTES: Final = 16
BEAT_S: Final = 10.0
"""The interval in which a spawner shows that it lives."""

SILENCE_S: Final = 60.0
"""The time after which a helper that hears nothing takes its spawner for dead."""

_WITH_BYTES: Final = b"DGO"


class Hello(msgspec.Struct, frozen=True):
    """What a spawner says first.

    Attributes:
        version: that of its trionet.
        token: 16 random bytes that begin each frame of the helper.
        needs: what the nodes need.
        log_level: the level of the helper's own log.
        granted_bytes: of the nodes' output; see `trionet.launchers.far_output`. 0: it goes to standard error there.
    """

    version: str
    token: bytes
    needs: Needs = Needs()
    log_level: str = "info"
    granted_bytes: int = 0


class Greeting(msgspec.Struct, frozen=True):
    """What a helper says first.

    Attributes:
        version: that of its trionet.
        python: that of its Python, major and minor.
        error: why it can't start nodes; empty if it can.
        processors: how many its machine has for it.
    """

    version: str
    python: list[int]
    error: str = ""
    processors: int = 0


def are_compatible(one: str, other: str) -> bool:
    """Whether a spawner and a helper of these versions understand each other: the first two numbers are equal."""
    return one.split(".")[:2] == other.split(".")[:2]


def skew(here: str, there: str, host: str) -> str:
    """Return the text for versions that are not compatible."""
    return (
        f"trionet is {there} on {host} and {here} here, and the first two numbers must be equal: install "
        f"trionet=={here} there, or trionet=={there} here"
    )


def frames(kind: bytes, number: int, data: bytes | memoryview, token: bytes = b"") -> Iterator[bytes]:
    """Split `data` into frames of one node's line."""
    size = MAX_FRAME_BYTES - RECORD.size - len(token)
    for begin in range(0, len(data), size):
        part = data[begin : begin + size]
        yield token + RECORD.pack(kind, number, len(part)) + part


class FrameReader:
    """Finds frames in what has been received.

    Args:
        handle: called with the letter, the two numbers and the bytes of each.
        token: that of the sender; with one, all between frames is passed over.
    """

    def __init__(self, handle: Callable[[bytes, int, int, bytes], None], token: bytes = b"") -> None:
        self._handle = handle
        self._token = token
        self._data = bytearray()

    def feed(self, data: bytes | bytearray) -> None:
        """Handle the frames that `data` completes."""
        self._data += data
        token, held, place = self._token, self._data, 0
        while True:
            if token and not held.startswith(token, place):
                found = held.find(token, place)
                if found < 0:
                    place = max(place, len(held) - len(token) + 1)  # it may be the first part of a token
                    break
                place = found
            begin = place + len(token)
            if len(held) < begin + RECORD.size:
                break
            kind, number, value = RECORD.unpack_from(held, begin)
            begin += RECORD.size
            end = begin + (value if kind in _WITH_BYTES else 0)
            if len(held) < end:
                break
            place = end
            self._handle(kind, number, value, bytes(held[begin:end]))
        del held[:place]
