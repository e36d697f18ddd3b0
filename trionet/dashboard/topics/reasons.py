"""Why a member has not answered, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trionet.errors import CallTimeout

if TYPE_CHECKING:
    from trionet.errors import TrionetError

__all__ = ["why"]

_MOST_CHARS: Final = 200


def why(error: TrionetError, within_s: float) -> str:
    """Return why a member has not answered within some seconds, in a short text."""
    if isinstance(error, CallTimeout):
        return f"no answer within {within_s:g} s"
    return f"{type(error).__name__}: {error}"[:_MOST_CHARS]
