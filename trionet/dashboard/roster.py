"""The members as the serving node knows them, kept from second to second: of 1,000 members few change.

Invariant: an entry is the same object as long as nothing of its member has changed, so that equal parts of two
documents are found by their identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trionet.identity import SID, NodeAddress
from trionet.protocols.statements import State
from trionet.protocols.swim_events import MemberInfo
from trionet.services.member import Member, member_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .subject import Subject

__all__ = ["Entry", "Roster"]

_MOST_MEMBERS: Final = 10_000


class Entry(msgspec.Struct, frozen=True):
    """A member.

    Attributes:
        info: what the protocol knows.
        member: the same for users.
        sid: its SID.
        since: when its state was learned, in seconds since 1970.
    """

    info: MemberInfo
    member: Member
    sid: SID
    since: int

    @property
    def is_present(self) -> bool:
        """Whether it is alive or suspected."""
        return self.info.state <= State.SUSPECT


class Roster:
    """The members that one node knows.

    Attributes:
        view: the digest of its view; see `Swim.view`.
        by_name: the entries, by the names of members: their addresses.
        more: the number of members that are left out.
    """

    def __init__(self, subject: Subject) -> None:
        """Keep the members of `subject`."""
        self._subject = subject
        self.view: int = 0
        self.by_name: Mapping[str, Entry] = {}
        self.more: int = 0

    def refresh(self) -> Roster:
        """Read what has changed; return this."""
        inspection = self._subject.local.inspection
        infos, offset_s, before = inspection.infos(), inspection.wall_offset_s(), self.by_name
        found: dict[str, Entry] = {}
        for info in infos[:_MOST_MEMBERS]:
            entry = before.get(info.name)
            if entry is None or entry.info != info:
                member = member_of(info)
                if member is None:
                    continue
                entry = Entry(info, member, member.sid, round(info.since + offset_s))
            found[info.name] = entry
        self.view, self.by_name, self.more = inspection.view, found, max(0, len(infos) - _MOST_MEMBERS)
        return self

    def present(self) -> dict[SID, NodeAddress]:
        """Return the addresses of the present members, by SID."""
        return {entry.sid: entry.member.node for entry in self.by_name.values() if entry.is_present}
