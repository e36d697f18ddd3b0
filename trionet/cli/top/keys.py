"""Keys from the bytes of a terminal.

Source: xterm's control sequences, "PC-Style Function Keys" and "VT220-Style Function Keys".
"""

from __future__ import annotations

from typing import Final

__all__ = ["decoded_keys"]

_SEQUENCES: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1bOH": "home",
    b"\x1bOF": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\r": "enter",
    b"\n": "enter",
    b"\x1b": "escape",
}
_FIRST_FINAL, _LAST_FINAL = 0x40, 0x7E
_PRINTED: Final = range(0x20, 0x7F)


def decoded_keys(data: bytes) -> list[str]:
    """Return the keys in what a terminal has sent at once; unknown sequences are none."""
    keys = []
    rest = data
    while rest:
        size = _sequence_size(rest)
        part, rest = rest[:size], rest[size:]
        if part in _SEQUENCES:
            keys.append(_SEQUENCES[part])
        elif len(part) == 1 and part[0] in _PRINTED:
            keys.append(part.decode("ascii"))
    return keys


def _sequence_size(data: bytes) -> int:
    """Return the size of the first key's bytes."""
    if data[0] != 0x1B or len(data) == 1:  # noqa: PLR2004  ESC
        return 1
    if data[1:2] == b"O":
        return min(3, len(data))
    if data[1:2] != b"[":
        return 1
    for place in range(2, len(data)):
        if _FIRST_FINAL <= data[place] <= _LAST_FINAL:
            return place + 1
    return len(data)
