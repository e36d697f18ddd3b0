"""Tells members that have returned from a failure of the changes of groups that they missed.

While a member is held failed, no change of a group reaches it. So it would return with a view of its own in which it
still is in groups that it was removed from. A member that holds such a change makes it at the returned one by a call:
the same that the member would have got. In a large group some members do so, chosen at random, and the node that made
the change does in any case: as many calls come to a member of a group of a thousand as to one of a group of ten.

Invariants: nothing is sent to a member that missed nothing; a change is told until the member answers, for as long as
it is present, but `_MOST_ATTEMPTS` times at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import GroupNotFound, IndefiniteError, NodeUnreachable, TemporarilyUnavailable, TrionetError
from trionet.log_limits import about, limited_log
from trionet.message import Remote

if TYPE_CHECKING:
    from random import Random

    from trionet.identity import NodeAddress

    from .absences import Absences, MissedChange
    from .comm import Comm

__all__ = ["MissedChanges"]

_log = limited_log(__name__)

_TELLERS: Final = 12
"""How many of a group's members tell one of a change: that none of them does has a chance of 1 in 160,000."""

_MOST_ATTEMPTS: Final = 6
_FIRST_PAUSE_S: Final = 1.0
_CALL_S: Final = 10.0


class MissedChanges:
    """Tells the members that one node has seen return."""

    def __init__(self, absences: Absences, comm: Comm, nursery: trio.Nursery, random: Random) -> None:
        self._absences = absences
        self._comm = comm
        self._nursery = nursery
        self._random = random
        self._telling: set[NodeAddress] = set()

    def tell(self, node: NodeAddress) -> None:
        """Tell a member that has returned of the changes that it missed, in a task."""
        for gid, change in self._absences.missed(node).items():
            if not change.is_own and self._random.random() * change.size >= _TELLERS:
                self._absences.told(node, gid, change)  # others tell it
        if self._absences.missed(node) and node not in self._telling:
            self._telling.add(node)
            self._nursery.start_soon(self._tell, node)

    async def _tell(self, node: NodeAddress) -> None:
        pause_s = _FIRST_PAUSE_S
        try:
            for _ in range(_MOST_ATTEMPTS):
                for gid, change in self._absences.missed(node).items():
                    await self._tell_one(node, gid, change)
                if not self._absences.missed(node):
                    break
                await trio.sleep(pause_s)
                pause_s *= 2
        finally:
            self._telling.discard(node)

    async def _tell_one(self, node: NodeAddress, gid: str, change: MissedChange) -> None:
        if self._absences.missed(node).get(gid) is not change:  # it is in the group again, or has failed again
            return
        args = [gid, node.sid] if change.method == "rem" else [gid]
        remote = Remote(node=node, service="groups", method=change.method)
        try:
            with trio.fail_after(_CALL_S):
                await self._comm.call_unrecorded(node, self._comm.prepare(args, {}, remote, is_own=True))
        except (NodeUnreachable, TemporarilyUnavailable, IndefiniteError, trio.TooSlowError) as exc:
            _log.debug("the member %s was not told of a change of %s: %s", node, gid, exc)
            return
        except GroupNotFound:
            pass  # as it should be
        except TrionetError as exc:
            _log.warning(
                "the member %s refuses a change of %s that it missed: %s", node, gid, exc, extra=about(node, gid=gid)
            )
        self._absences.told(node, gid, change)
