"""How a topic asks the members of a cluster: a few at a time, in turn, and never for long.

Invariants: at most `most` members are asked at once; one that doesn't answer delays nobody for longer than
`_LONGEST_S`, so that a gathering may ask twice within its second. Answers are bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.dashboard.bounded import bounded
from trionet.message import Remote
from trionet.nesting import PACKETS
from trionet.templates.fan_out import collect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trionet.dashboard.subject import Subject
    from trionet.identity import SID, NodeAddress
    from trionet.replies import Replies

__all__ = ["MOST_CHARS", "Turns", "ask", "cut", "present"]

MOST_CHARS: Final = 200
"""The most of a peer's text that is shown in one place."""

_LONGEST_S: Final = 0.4
_MOST_VALUES: Final = 2_000


def present(subject: Subject) -> dict[SID, NodeAddress]:
    """Return all nodes that the node knows: itself, the present members of its cluster, and those of its groups."""
    return subject.local.groups.members("all")


async def ask(
    subject: Subject,
    members: Mapping[SID, NodeAddress],
    service: str,
    method: str,
    *args: Any,
    convert: Callable[[Any], Any] = lambda answer: bounded(answer, _MOST_VALUES, MOST_CHARS),
) -> Replies[Any]:
    """Call a method of `members` at once, and return the answers of those that are quick, as `convert` bounds them."""
    comm = subject.local.comm
    # It needs no slot, is no call in the tree, and none that is missed once it is cancelled.
    request = comm.prepare(list(args), {}, Remote(service=service, method=method), depth=PACKETS)
    with trio.move_on_after(_LONGEST_S):
        return await collect(members, lambda node: comm.call(node, request), partial=True, convert=convert)
    raise AssertionError("collect returns at the deadline")


class Turns:
    """Whose turn it is to be asked: each of many comes up again once all others have.

    Args:
        most: how many are asked at once.
        every_s: how long one that was asked is left alone, in seconds.
    """

    def __init__(self, most: int, every_s: float) -> None:
        self._most, self._every_s = most, every_s
        self._asked_at: dict[SID, float] = {}

    def next(self, sids: Iterable[SID], now: float) -> list[SID]:
        """Return who is asked at `now`, those first that have waited for the longest."""
        known = {sid: self._asked_at.get(sid, -self._every_s - 1.0) for sid in sids}
        due = sorted((at, sid) for sid, at in known.items() if now - at >= self._every_s)
        chosen = [sid for _, sid in due[: self._most]]
        self._asked_at = known | dict.fromkeys(chosen, now)
        return chosen


def cut(text: object, most: int = MOST_CHARS) -> str:
    """Return the text of a peer, bounded."""
    shown = text if isinstance(text, str) else str(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
