"""The events of membership.

Invariant: one event for each change of a member, as this node sees it, in the order of the changes. The events of one
member are joined, then any of suspected, recovered and updated, then failed or left, and then perhaps joined again.
"""

from __future__ import annotations

import enum

import msgspec

from .statements import State

__all__ = [
    "JoinAnswered",
    "JoinCompleted",
    "LeaveCompleted",
    "MemberChange",
    "MemberChanged",
    "MemberForgotten",
    "MemberInfo",
    "PingAnswered",
    "changes",
]


class MemberInfo(msgspec.Struct, frozen=True):
    """A member, as one node sees it at one moment.

    Attributes:
        name: the name of its node.
        incarnation: a number that only the member itself raises.
        state: ALIVE, SUSPECT, DEAD or LEFT.
        boot_id: 64 bits drawn when it started; another one under the same name is a restart.
        tags: its tags.
        since: when this node received the state, on the clock of its `now`.
        suspected_by: the nodes by whose own probes it is suspected, or was declared dead.
    """

    name: str
    incarnation: int
    state: State
    boot_id: int
    tags: dict[str, str]
    since: float
    suspected_by: tuple[str, ...] = ()


class MemberChange(enum.Enum):
    """The kinds of changes of a member."""

    JOINED = "joined"
    SUSPECTED = "suspected"
    RECOVERED = "recovered"  # a suspect that has refuted
    FAILED = "failed"
    LEFT = "left"
    UPDATED = "updated"  # its tags


class MemberChanged(msgspec.Struct, frozen=True):
    """A member has changed; `member` is its new state."""

    change: MemberChange
    member: MemberInfo


class MemberForgotten(msgspec.Struct, frozen=True):
    """A failed or left member is forgotten; if it returns, it is a new one.

    Attributes:
        name: the name of its node.
    """

    name: str


class JoinAnswered(msgspec.Struct, frozen=True):
    """This node has sent its view to one that joins."""

    name: str


class JoinCompleted(msgspec.Struct, frozen=True):
    """A seed has sent its view."""

    seed: str


class PingAnswered(msgspec.Struct, frozen=True):
    """A node has answered a ping that a person asked for; its number is at least `ASKED_SEQ`."""

    name: str
    seq: int


class LeaveCompleted(msgspec.Struct, frozen=True):
    """The leave of this node has been spread; it may stop now."""


def changes(before: MemberInfo | None, after: MemberInfo) -> list[MemberChanged]:
    """Return the changes from `before`, None if the member was unknown, to `after`, in order."""
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
