"""Errors for which a program that does not catch them says one line instead of a traceback.

A port in use is no fault of the program, and the frames between `trionet.run` and the socket help nobody. The error
stays what it is, to be caught like any other.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["tell_in_one_line"]

_told_in_one_line: Final[WeakSet[BaseException]] = WeakSet()


def tell_in_one_line(exc: BaseException) -> None:
    """Have Python say `exc` in one line, if nobody catches it; its exit status is 1 all the same."""
    if not _told_in_one_line:
        _add_hook()
    _told_in_one_line.add(exc)


def _add_hook() -> None:
    previous = sys.excepthook
    if getattr(previous, "is_ours", False):
        return

    def hook(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value not in _told_in_one_line:
            previous(kind, value, traceback)
        elif sys.stderr is not None:
            sys.stderr.write(f"trionet: {value}\n")

    hook.is_ours = True  # type: ignore[attr-defined]
    sys.excepthook = hook
