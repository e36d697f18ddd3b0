"""The treatment of orphans: cancelled calls whose handlers did not confirm their end in time."""

from __future__ import annotations

from typing import Any, Literal

from trionet.errors import MalformedRequest
from trionet.user_code import shown

__all__ = ["Orphans", "check_orphans"]

Orphans = Literal["report", "raise"]
"""Whether they are only reported, by an event and the log, or raised as `OrphanedCalls`, too."""


def check_orphans(orphans: Any) -> Orphans:
    """Return `orphans`; raise `MalformedRequest` unless it is ``"report"`` or ``"raise"``."""
    if orphans not in ("report", "raise"):
        raise MalformedRequest(f"orphans is 'report' or 'raise', not {shown(orphans)}")
    checked: Orphans = orphans
    return checked
