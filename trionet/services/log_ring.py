"""The latest log records of this process, in memory.

Invariants: at most 1,000 are kept, each as a text of at most 4,000 characters, so that no object of a record lives
on. A process that logs nothing pays nothing. The ring changes nothing else about logging: it is added only where there
are handlers already.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.surrogates import without_surrogates

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["LogRing"]

_KEPT: Final = 1_000
_MOST_CHARS: Final = 4_000
_LOOK_S: Final = 0.2


class LogRing(logging.Handler):
    """Keeps the latest records."""

    _made: ClassVar[LogRing | None] = None

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_KEPT)
        self._count = 0

    @classmethod
    def of_process(cls) -> LogRing | None:
        """Return the ring of this process, which is made with the first call; None where logging is not set up."""
        root = logging.getLogger()
        if cls._made is not None and cls._made in root.handlers:
            return cls._made
        if not root.handlers:
            return None
        cls._made = cls()
        root.addHandler(cls._made)
        return cls._made

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[0] is not None:
                text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        except Exception:
            self.handleError(record)
            return
        names = {"level": str(record.levelname), "logger": str(record.name)}
        shown = {"time": record.created, **without_surrogates({**names, "text": text[:_MOST_CHARS]})}
        self._count += 1
        self._kept.append((self._count, shown))

    def latest(self, last: int) -> list[dict[str, Any]]:
        """Return the latest records, the oldest first."""
        return [shown for _, shown in self._snapshot()[-last:]] if last else []

    def numbered(self, last: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the latest records, each with its number, the oldest first."""
        return self._snapshot()[-last:] if last else []

    async def watch(self, last: int) -> AsyncGenerator[dict[str, Any]]:
        """Yield the latest records, and then each as it comes, some tenths of a second later."""
        kept = self._snapshot()
        seen = kept[-1][0] if kept else 0
        for _, shown in kept[-last:] if last else ():
            yield shown
        while True:  # records come from any thread: it looks now and then, as long as somebody watches
            await trio.sleep(_LOOK_S)
            if self._count == seen:
                continue
            news = [(number, shown) for number, shown in self._snapshot() if number > seen]
            if news and (lost := news[0][0] - seen - 1):
                yield _omission(lost, news[0][1]["time"])
            for number, shown in news:
                seen = number
                yield shown

    def _snapshot(self) -> list[tuple[int, dict[str, Any]]]:
        with self.lock:  # type: ignore[union-attr]  # a handler has one
            return list(self._kept)


def _omission(count: int, at: float) -> dict[str, Any]:
    """Return a record that stands for those that were gone before the watcher has seen them."""
    text = f"{count:,} records are not shown: they came faster than they are watched"
    return {"time": at, "level": "WARNING", "logger": __name__, "text": text}
