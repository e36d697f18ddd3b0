"""What each member reports of its keys.

Invariant: only a member itself makes its reports, and numbers them; the newest holds. So the reports of a cluster are a
join-semilattice, too. A report says of a key that it is written only when it is in the member's key file, so that it
survives a restart.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec

from .key_statements import is_member_name
from .keys import KEY_ID_BYTES
from .rollout import Accept, Rollout, Send

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Holding", "KeyReport", "KeyReports", "Readiness", "is_newer", "is_valid_report"]

_MOST_HELD: Final = 64
_MOST_NUMBER: Final = 1 << 63


class Holding(enum.IntEnum):
    """How a member holds a key.

    Attributes:
        VOLATILE: in memory only: a restart loses it.
        WRITTEN: in its key file.
        CLOSING: retired in its key file; it still opens, and seals no more.
    """

    VOLATILE = 0
    WRITTEN = 1
    CLOSING = 2


class KeyReport(msgspec.Struct, array_like=True, frozen=True):
    """A member's report.

    Attributes:
        name: the member's name.
        life: a number that is greater after each of its starts.
        number: numbers the reports of that life.
        holdings: the keys that it holds, by id: a `Holding` each.
        sealing: the id of the key with which it seals; empty if none.
        accept: the `Accept` of its rollout.
        send: the `Send` of its rollout.
        is_given: whether another node gives it the keys at each of its starts, so that it is never left behind.
    """

    name: str
    life: int
    number: int
    holdings: dict[bytes, int] = msgspec.field(default_factory=dict)
    sealing: bytes = b""
    accept: int = Accept.SEALED
    send: int = Send.SEALED
    is_given: bool = False

    @property
    def rollout(self) -> Rollout:
        """The rollout of the member."""
        return Rollout(Accept(self.accept), Send(self.send))


class Readiness(msgspec.Struct, frozen=True):
    """Whether a step is possible, and who keeps it from being so.

    Attributes:
        why: what is wrong with the step itself, and what to do; empty if nothing is.
        lacking: present members that are not ready.
        volatile: present members that would lose the key with a restart, because it is in no key file of theirs.
        absent: absent members that must be excepted by name.
    """

    why: str = ""
    lacking: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether the step is possible."""
        return not (self.why or self.lacking or self.volatile or self.absent)

    def __str__(self) -> str:
        parts = [self.why] if self.why else []
        if self.lacking:
            parts.append(f"not ready: {_listed(self.lacking)}: wait, or look at their logs")
        if self.volatile:
            parts.append(
                f"without it in a key file: {_listed(self.volatile)}: start them with one, make room, or mend its mode"
            )
        if self.absent:
            parts.append(f"absent: {_listed(self.absent)}: start them, or except them with --without")
        return "; ".join(parts) or "ready"


class KeyReports:
    """The newest report of each member. Its user bounds the number of members."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, KeyReport] = {}

    def __iter__(self) -> Iterator[KeyReport]:
        return iter(self._by_name.values())

    def get(self, name: str) -> KeyReport | None:
        """Return the newest report of a member."""
        return self._by_name.get(name)

    def merge(self, report: KeyReport) -> bool:
        """Keep `report` if it is valid and newer than the one that is kept; return whether it is."""
        known = self._by_name.get(report.name)
        if not is_valid_report(report) or (known is not None and not is_newer(report, known)):
            return False
        self._by_name[report.name] = report
        return True

    def forget(self, name: str) -> None:
        """Forget a member that has left for good."""
        self._by_name.pop(name, None)


def is_newer(one: KeyReport, other: KeyReport) -> bool:
    """Return whether `one` is newer than `other`, both of one member; total, even if two claim one number."""
    return _order(one) > _order(other)


def _order(report: KeyReport) -> tuple[int, int, list[tuple[bytes, int]], bytes, int, int]:
    held = sorted(report.holdings.items())
    return report.life, report.number, held, report.sealing, report.accept, report.send


def is_valid_report(report: KeyReport) -> bool:
    """Return whether a correct member can make this report."""
    return (
        is_member_name(report.name)
        and 0 <= report.life < _MOST_NUMBER
        and 0 <= report.number < _MOST_NUMBER
        and len(report.holdings) <= _MOST_HELD
        and all(len(key_id) == KEY_ID_BYTES for key_id in report.holdings)
        and all(Holding.VOLATILE <= holding <= Holding.CLOSING for holding in report.holdings.values())
        and len(report.sealing) in (0, KEY_ID_BYTES)
        and Accept.PLAIN <= report.accept <= Accept.SEALED
        and Send.PLAIN <= report.send <= Send.SEALED
    )


def _listed(names: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
