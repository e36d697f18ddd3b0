"""Keeps the groups of the gossip protocol equal to those of the service ``groups``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.log_limits import about, limited_log
from trionet.user_code import pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.gossip import GossipProtocol

    from .groups import Groups

__all__ = ["GroupSync"]

_log = limited_log(__name__)


class GroupSync:
    """Copies the groups of one node to its gossip protocol."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._without_subset: set[str] = set()  # the groups whose function failed last

    def update(self, core: GossipProtocol, gid: str, now: float) -> None:
        """Copy a new group, or one with other members or another `subset`."""
        changes = self._groups.pop_changes(gid)
        try:
            if changes is not None and gid in core.groups() and gid not in self._without_subset:
                core.change_group(gid, map(str, changes.added), map(str, changes.removed), now=now)
                return
            self._without_subset.discard(gid)
            core.set_group(gid, self._names(gid), self._subset(gid), now=now)
        except BaseException as exc:
            pass_endings(exc)
            self._without_subset.add(gid)  # the next change calls the function again
            _log.warning("the subset of group %s is left as the default", gid, exc_info=exc, extra=about(gid, gid=gid))
            core.set_group(gid, self._names(gid), now=now)

    def drop(self, gid: str) -> None:
        """Forget a deleted group."""
        self._without_subset.discard(gid)

    def _names(self, gid: str) -> list[str]:
        return list(map(str, self._groups.members(gid).values()))

    def _subset(self, gid: str) -> int | Callable[[object], int] | None:
        """Return the group's `subset` for the core, which has names where the user's function expects SIDs."""
        subset, groups = self._groups.checked_subset(gid), self._groups
        return (lambda _: subset(list(groups.members(gid)))) if callable(subset) else subset
