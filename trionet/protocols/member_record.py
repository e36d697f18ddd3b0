"""A member at one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .digest import hash_of_name
from .statements import State
from .swim_events import MemberInfo

if TYPE_CHECKING:
    from .statements import Statement

__all__ = ["MemberRecord"]


class MemberRecord:
    """A member at one node.

    Attributes:
        name: its name.
        statement: the greatest statement received.
        since: when its state last changed.
        circle: its position on a circle of 64 bits, a hash of its name.
        place: its position in its ring.
    """

    __slots__ = ("circle", "name", "place", "since", "statement")

    def __init__(self, statement: Statement, now: float) -> None:
        self.name: str = statement.name
        self.statement: Statement = statement
        self.since: float = now
        self.circle: int = hash_of_name(statement.name)
        self.place: int = -1

    @property
    def is_present(self) -> bool:
        """Whether it is ALIVE or SUSPECT."""
        return self.statement.state <= State.SUSPECT

    def info(self) -> MemberInfo:
        """Return its present state."""
        held = self.statement
        state, by = State(held.state), held.suspected_by
        return MemberInfo(held.name, held.incarnation, state, held.boot_id, held.tags, self.since, by)
