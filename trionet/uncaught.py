"""Errors that Python reports in one line instead of a traceback if a program does not catch them.

A port in use is no fault of the program, and the frames between `trionet.run` and the socket don't help. The error can
be caught like any other.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["report_in_one_line"]

_in_one_line: Final[WeakSet[BaseException]] = WeakSet()


def report_in_one_line(exc: BaseException) -> None:
    """Make Python report `exc` in one line, if it is not caught; the exit status is still 1."""
    if not _in_one_line:
        _add_hook()
    _in_one_line.add(exc)


def _add_hook() -> None:
    previous = sys.excepthook
    if getattr(previous, "is_ours", False):
        return

    def hook(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value not in _in_one_line:
            previous(kind, value, traceback)
        elif sys.stderr is not None:
            sys.stderr.write(f"trionet: {value}\n")

    hook.is_ours = True  # type: ignore[attr-defined]
    sys.excepthook = hook
