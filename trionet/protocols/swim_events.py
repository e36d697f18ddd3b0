"""What membership tells its user.

Invariant: one event for each change of a member as this node sees it, in the order of the changes. For one member they
go joined, then any of suspected, recovered, updated, then failed or left, and then joined again or nothing.
"""

from __future__ import annotations

import enum

import msgspec

from .statements import State

__all__ = ["JoinCompleted", "LeaveCompleted", "MemberChange", "MemberChanged", "MemberInfo"]


class MemberInfo(msgspec.Struct, frozen=True):
    """A member, as one node sees it at one moment.

    Attributes:
        name: of the node.
        incarnation: which only itself raises.
        state: ALIVE, SUSPECT, DEAD or LEFT.
        life: 64 bits drawn when it started; another life under the same name is a restart.
        tags: what it says about itself.
        since: when this node learned of the state, on the clock of its `now`.
    """

    name: str
    incarnation: int
    state: State
    life: int
    tags: dict[str, str]
    since: float


class MemberChange(enum.Enum):
    """What may happen to a member."""

    JOINED = "joined"
    SUSPECTED = "suspected"
    RECOVERED = "recovered"  # a suspect that turned out to be alive
    FAILED = "failed"
    LEFT = "left"
    UPDATED = "updated"  # its tags


class MemberChanged(msgspec.Struct, frozen=True):
    """Something has happened to a member: `change` made it what `member` shows."""

    change: MemberChange
    member: MemberInfo


class JoinCompleted(msgspec.Struct, frozen=True):
    """A seed has told what it knows."""

    seed: str


class LeaveCompleted(msgspec.Struct, frozen=True):
    """The others have been told that this node leaves; it may stop now."""
