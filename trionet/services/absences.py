"""Members that have failed, with the groups that they were removed from, for their return.

Invariants: an absence lasts from a member's failure to its return in the same life, with the same boot id. At its end
the member is restored to the groups that it was in at the failure, except those that were put or deleted, and those
that it was removed from, meanwhile. Changes that took the member out of a group on every node meanwhile are kept until
the member has been told of them, because it can't have heard of them; changes on this node alone don't concern it.
There is at most one absence for each member that the protocol remembers.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from trionet.current_call import current_call
from trionet.message import LOCAL

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from trionet.identity import SID, NodeAddress

__all__ = ["Absences", "MissedChange"]


_CHANGING: Final = ("groups", "kept")
"""The services whose calls are parts of group-wide changes."""


class MissedChange(NamedTuple):
    """A change of a group that a failed member has not heard of.

    Attributes:
        method: the method of ``groups`` that makes up for it at the member: ``rem`` or ``del``.
        size: the number of nodes that can tell the member, more or less: the members of the group before the change.
        is_own: whether this node has made the change, and not another one by a call.
    """

    method: str
    size: int
    is_own: bool


class _Absence:
    """A member that has failed, or that has returned and is to be told of changes."""

    __slots__ = ("boot_id", "gids", "is_away", "missed", "node")

    def __init__(self, node: NodeAddress, boot_id: int) -> None:
        self.node = node
        self.boot_id = boot_id
        self.gids: dict[str, None] = {}
        self.missed: dict[str, MissedChange] = {}
        self.is_away = True


class Absences:
    """The absences that one node knows."""

    def __init__(self, own: NodeAddress) -> None:
        self._own = own
        self._by_sid: dict[SID, _Absence] = {}
        self._is_group_wide = False

    @contextmanager
    def group_wide(self) -> Generator[None]:
        """Count the changes within the block, which must not wait, as part of a change of many nodes by this one."""
        self._is_group_wide = True
        try:
            yield
        finally:
            self._is_group_wide = False

    def begin(self, node: NodeAddress, boot_id: int, gids: Iterable[str]) -> None:
        """Handle the failure of a member that was in the groups `gids`."""
        absence = self._of(node)
        if absence is not None and absence.boot_id != boot_id:
            del self._by_sid[node.sid]
            absence = None
        names = dict.fromkeys(gids)
        if absence is None and names:
            absence = self._by_sid[node.sid] = _Absence(node, boot_id)
        if absence is not None:
            absence.gids, absence.is_away = names, True

    def end(self, node: NodeAddress, boot_id: int) -> list[str]:
        """Handle the presence of a member; return the groups to restore it to."""
        absence = self._of(node)
        if absence is None:
            return []
        gids, absence.gids = list(absence.gids), {}
        absence.is_away = False
        if absence.boot_id == boot_id and absence.missed:
            return gids
        del self._by_sid[node.sid]
        return gids if absence.boot_id == boot_id else []

    def forget(self, node: NodeAddress) -> None:
        """Handle the end of a member: it has left, or the protocol has forgotten it."""
        if self._of(node) is not None:
            del self._by_sid[node.sid]

    def clear(self) -> None:
        """Forget all, when this node has left the cluster."""
        self._by_sid.clear()

    def note(
        self,
        gid: str,
        before: Mapping[SID, NodeAddress],
        after: Mapping[SID, NodeAddress] | None,
        sids: Iterable[SID] | None = None,
        *,
        is_told: bool = True,
    ) -> None:
        """Handle a change of a group, other than by the cluster itself.

        Args:
            gid: the group.
            before: its members before the change; none if it is new.
            after: its members from now on; None if it is deleted.
            sids: the nodes that the change names; None for all.
            is_told: whether a failed member that is not in the group any more is told when it returns.
        """
        if not self._by_sid:
            return
        for sid in list(self._by_sid) if sids is None else sids:
            absence = self._by_sid.get(sid)
            if absence is None:
                continue
            was_in = gid in absence.gids or before.get(sid) == absence.node
            absence.gids.pop(gid, None)
            if not is_told or (after is not None and after.get(sid) == absence.node):
                absence.missed.pop(gid, None)
            elif was_in and absence.is_away and (changer := self._changer()) is not None:
                method = "del" if after is None else "rem"
                absence.missed[gid] = MissedChange(method, max(1, len(before)), changer == self._own)

    def missed(self, node: NodeAddress) -> dict[str, MissedChange]:
        """Return the changes to tell a member that has returned, by group."""
        absence = self._of(node)
        return {} if absence is None or absence.is_away else dict(absence.missed)

    def told(self, node: NodeAddress, gid: str, change: MissedChange) -> None:
        """Handle the end of telling a member of a change."""
        absence = self._of(node)
        if absence is not None and absence.missed.get(gid) is change:
            del absence.missed[gid]
            if not absence.missed and not absence.is_away:
                del self._by_sid[node.sid]

    def __len__(self) -> int:
        return len(self._by_sid)

    def _of(self, node: NodeAddress) -> _Absence | None:
        absence = self._by_sid.get(node.sid)
        return absence if absence is not None and absence.node == node else None

    def _changer(self) -> NodeAddress | None:
        """Return the node that changes the groups of many nodes; None if only this node's groups are changed."""
        if self._is_group_wide:
            return self._own
        try:
            call = current_call()
        except RuntimeError:  # not in a handler
            return None
        return call.caller if call.gid == LOCAL and call.service in _CHANGING else None
