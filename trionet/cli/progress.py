"""A progress bar on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Progress"]

_WIDTH: Final = 30
_EVERY_S: Final = 0.1


class Progress:
    """A bar on standard error within a block; nothing if that is no terminal."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what = what
        self._total = total
        self._is_shown = sys.stderr.isatty()
        self._shown_at = 0.0
        self._begun_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, done: int, *_: Any) -> None:
        """Show the number of those that are done: the last one always, others ten times a second at most."""
        now = time.monotonic()
        if not self._is_shown or (done != self._total and now - self._shown_at < _EVERY_S):
            return
        self._shown_at = now
        bar = ""
        if self._total:
            filled = _WIDTH * done // self._total
            bar = f"{'#' * filled}{'.' * (_WIDTH - filled)} "
        of = f" of {self._total:,}" if self._total else ""
        rate = done / max(now - self._begun_at, 0.001)
        print(f"\r{bar}{done:,}{of} {self._what}, {rate:.1f} per second\x1b[K", end="", file=sys.stderr, flush=True)
