"""What was raised, in a sentence; and which kind of failure it is, by which two runs are compared.

Invariant: the signature says nothing that may differ between runs that fail in the same way: no text, and no numbers
but that of the line.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

__all__ = ["innermost", "shown", "signature_of", "signature_of_record"]


def innermost(exc: BaseException) -> BaseException:
    """Return the first exception in groups of groups; the exception itself where it is no group."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def shown(exc: BaseException) -> str:
    """Say in a sentence what was raised, and where."""
    exc = innermost(exc)
    place = _place(exc)
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}{': ' * bool(text)}{text}{f' ({place})' * bool(place)}"


def signature_of(exc: BaseException) -> str:
    """Return the exception's type, and the file and line where it was raised."""
    exc = innermost(exc)
    return f"{type(exc).__name__} {_place(exc)}".rstrip()


def signature_of_record(record: logging.LogRecord) -> str:
    """Return what was logged with it, or else where."""
    raised = record.exc_info[1] if record.exc_info else None
    return signature_of(raised) if raised is not None else f"logged {record.filename}:{record.lineno}"


def _place(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
