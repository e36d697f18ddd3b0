"""Exceptions as sentences, and as signatures, by which the failures of two runs are compared.

Invariant: a signature is equal in runs that fail in the same way: it has no text, and no number except the line.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from trionet.user_code import leaves

if TYPE_CHECKING:
    import logging

__all__ = ["shown", "signature_of", "signature_of_record"]


def shown(exc: BaseException) -> str:
    """Return the type, text and place of an exception in a sentence."""
    exc = leaves(exc)[0]
    place = _place(exc)
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}{': ' * bool(text)}{text}{f' ({place})' * bool(place)}"


def signature_of(exc: BaseException) -> str:
    """Return the type of an exception, and the file and line that raised it."""
    exc = leaves(exc)[0]
    return f"{type(exc).__name__} {_place(exc)}".rstrip()


def signature_of_record(record: logging.LogRecord) -> str:
    """Return the signature of the logged exception, or else the place of the log call."""
    raised = record.exc_info[1] if record.exc_info else None
    return signature_of(raised) if raised is not None else f"logged {record.filename}:{record.lineno}"


def _place(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
