"""What membership tells its user.

Invariant: one event for each change of a member as this node sees it, in the order of the changes. For one member they
go joined, then any of suspected, recovered, updated, then failed or left, and then joined again or nothing.
"""

from __future__ import annotations

import enum

import msgspec

from .statements import State

__all__ = ["JoinCompleted", "LeaveCompleted", "MemberChange", "MemberChanged", "MemberInfo", "changes"]


class MemberInfo(msgspec.Struct, frozen=True):
    """A member, as one node sees it at one moment.

    Attributes:
        name: of the node.
        incarnation: which only itself raises.
        state: ALIVE, SUSPECT, DEAD or LEFT.
        boot_id: 64 bits drawn when it started; another life under the same name is a restart.
        tags: what it says about itself.
        since: when this node learned of the state, on the clock of its `now`.
    """

    name: str
    incarnation: int
    state: State
    boot_id: int
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


def changes(before: MemberInfo | None, after: MemberInfo) -> list[MemberChanged]:
    """Return what has happened to a member that was as `before`, or unknown, and is as `after`, in order."""
    was_there = before is not None and before.state <= State.SUSPECT
    is_there = after.state <= State.SUSPECT
    found: list[MemberChanged] = []
    if before is not None and was_there and is_there and before.boot_id != after.boot_id:
        failed = msgspec.structs.replace(before, state=State.DEAD, since=after.since)
        found.append(MemberChanged(MemberChange.FAILED, failed))
        was_there = False
    if before is None or not was_there:
        kinds = [MemberChange.JOINED] if is_there else []
        if after.state is State.SUSPECT:
            kinds.append(MemberChange.SUSPECTED)
    elif not is_there:
        kinds = [MemberChange.FAILED if after.state is State.DEAD else MemberChange.LEFT]
    else:
        kinds = []
        if before.state is not after.state:
            kinds.append(MemberChange.SUSPECTED if after.state is State.SUSPECT else MemberChange.RECOVERED)
        if before.tags != after.tags:
            kinds.append(MemberChange.UPDATED)
    return [*found, *(MemberChanged(kind, after) for kind in kinds)]
