"""The load of every peer of ``map``: a number of sleeps of one length, and the time until all have come back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Clock", "lines_of"]


class Clock:
    """The time of the command ``map``: ``count`` items of ``seconds``.

    Attributes:
        items: how long to sleep, each.
    """

    def __init__(self, command: dict[str, Any]) -> None:
        self.items: list[float] = [command["seconds"]] * command["count"]
        self._noted = 0
        self._begun = time.perf_counter()

    def note(self, slept: float) -> None:
        """Count a result."""
        if slept != self.items[0]:
            raise ValueError("a result is wrong")
        self._noted += 1

    def result(self) -> dict[str, Any]:
        """Return the measurement, after the last result."""
        if self._noted != len(self.items):
            raise ValueError(f"{self._noted} results for {len(self.items)} items")
        return {"seconds": time.perf_counter() - self._begun}


def lines_of(path: Path) -> int:
    """Return the number of lines from ``begin`` to ``end``, which a user writes, without docstrings."""
    count, is_inside = 0, False
    for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
        if line in ("# begin", "# end"):
            is_inside = line == "# begin"
        elif is_inside and line and not line.startswith(("#", '"""', "clock.note")):
            count += 1
    return count
