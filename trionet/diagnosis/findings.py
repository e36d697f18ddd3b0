"""What a diagnosis finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SEVERITIES", "Finding", "Severity", "confirmed", "listed"]

Severity = Literal["error", "warning", "note"]

SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")
"""From the worst on: it fails now; it will, or does sometimes; it is no fault."""

_MOST_LISTED: Final = 5
_STAGES: Final = dict.fromkeys(("answers", "suspects", "failed", "addresses"), "state")
"""Checks that find one trouble of a member, one after the other."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        check: the name of the check.
        severity: how bad it is.
        nodes: the addresses of the nodes concerned.
        what: what is wrong.
        advice: what to do.
    """

    check: str
    severity: Severity
    nodes: tuple[str, ...]
    what: str
    advice: str

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """What tells whether another look has found the same, even if it has become worse meanwhile."""
        return _STAGES.get(self.check, self.check), self.nodes


def confirmed(first: Iterable[Finding], second: Iterable[Finding]) -> list[Finding]:
    """Return the findings of a second look that the first one had, too: the others were on their way to be right."""
    before = {each.key for each in first}
    return [each for each in second if each.key in before]


def listed(names: Iterable[str], most: int = _MOST_LISTED) -> str:
    """Return names for a sentence, with the number of those beyond `most`."""
    found = sorted(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
