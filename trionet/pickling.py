"""Code by value: functions, classes and objects as bytes, by cloudpickle.

Reading such bytes runs what their maker wants. So whoever reads them must know who made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import CodeRefused
from .user_code import described, pass_endings, shown

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["pickled", "unpickled"]


def pickled(value: Any) -> bytes:
    """Return `value` as bytes.

    Raises:
        CodeRefused: it can't be pickled, or the package cloudpickle is missing.
    """
    try:
        data: bytes = _cloudpickle().dumps(value)
    except CodeRefused:
        raise
    except BaseException as exc:  # from the reduction of any object in it
        pass_endings(exc)
        reason = f"{type(exc).__name__}: {described(exc).rstrip('.'):.200}"
        raise CodeRefused(
            f"{shown(value)} can't travel as code: {reason}. What it refers to travels with it: locks, files, sockets "
            f"and running tasks can't"
        ) from exc
    return data


def unpickled(data: bytes, what: str) -> Any:
    """Return the value of bytes whose maker is trusted.

    Raises:
        CodeRefused: they can't be read here, as where a module is missing; or the package cloudpickle is.
    """
    pickle = _cloudpickle()
    try:
        return pickle.loads(data)
    except BaseException as exc:  # it runs code of the user's
        pass_endings(exc)
        raise CodeRefused(f"{what:.100} can't be read here: {type(exc).__name__}: {described(exc):.200}") from exc


def _cloudpickle() -> ModuleType:
    try:
        import cloudpickle  # type: ignore[import-untyped, unused-ignore]  # only where it is needed
    except ImportError as exc:
        raise CodeRefused(
            "to send code, or read it, needs the package cloudpickle, an extra of trionet: pip install 'trionet[code]'"
        ) from exc
    return cloudpickle  # type: ignore[no-any-return, unused-ignore]
