"""Pulls: requests for rumors that other nodes have announced.

Invariant: a rumor is requested from one holder at a time, and from the next one only after a timeout, so each member
pulls about one copy, however many holders announce it. After two failed tries two holders are asked at a time. After
fourteen tries a pull is given up, until the next announcement.

Source: the GRAFT of Plumtree (Leitao, Pereira, Rodrigues 2007, section 3.4), less the tree.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

__all__ = ["Pulls", "patience_s"]

_FAST_TRIES: Final = 6
_SINGLE_TRIES: Final = 2
_MOST_TRIES: Final = 14
_MOST_SOURCES: Final = 8


def patience_s(tries: int, timeout_s: float) -> float:
    """Return the timeout of try number `tries`, from 1.

    It is constant for six tries, so that losses cost little, and doubles with every second one from then on, so that a
    payload that takes long isn't requested many times.
    """
    return timeout_s * (1 << max(0, tries - _FAST_TRIES + 1) // 2)


class _Wanted(msgspec.Struct, eq=False):
    gid: str
    sources: list[str]
    due: float
    tries: int = 0
    asked_at: float = -math.inf

    def next_sources(self) -> list[str]:
        """Return the holders to ask in the next try: one, or two after two failed tries."""
        width = 2 if self.tries >= _SINGLE_TRIES else 1
        count = len(self.sources)
        return [self.sources[(self.tries + more) % count] for more in range(min(width, count))]


class Pulls:
    """The pulls of one node.

    Attributes:
        next_due: when the next request is due.
    """

    __slots__ = ("_most", "_timeout_s", "_wanted", "next_due")

    def __init__(self, timeout_s: float, most: int) -> None:
        """Start without pulls.

        Args:
            timeout_s: the timeout of the first tries.
            most: the most simultaneous pulls; a rumor beyond them waits for its next announcement.
        """
        self._wanted: dict[bytes, _Wanted] = {}
        self._timeout_s = timeout_s
        self._most = most
        self.next_due: float = math.inf

    def __len__(self) -> int:
        return len(self._wanted)

    def announced(self, gid: str, rumor_id: bytes, source: str, due: float) -> None:
        """Handle an announcement by `source` of a rumor that this node lacks; request it not before `due`."""
        wanted = self._wanted.get(rumor_id)
        if wanted is None:
            if len(self._wanted) < self._most:
                self._wanted[rumor_id] = _Wanted(gid, [source], due)
                self.next_due = min(self.next_due, due)
            return
        if wanted.tries > _FAST_TRIES:  # `source` can be reached now: start again with it
            wanted.tries = 0
            wanted.sources = [source, *(one for one in wanted.sources if one != source)][:_MOST_SOURCES]
            wanted.due = min(wanted.due, max(due, wanted.asked_at + self._timeout_s))
            self.next_due = min(self.next_due, wanted.due)
        elif source not in wanted.sources and len(wanted.sources) < _MOST_SOURCES:
            wanted.sources.append(source)

    def received(self, rumor_id: bytes) -> bool:
        """Handle a received rumor; return whether it had been requested."""
        if not self._wanted:
            return False
        wanted = self._wanted.pop(rumor_id, None)
        return wanted is not None and wanted.asked_at > -math.inf

    def due(self, now: float) -> dict[tuple[str, str], list[bytes]]:
        """Return the ids to request now, by holder and gid."""
        asked: dict[tuple[str, str], list[bytes]] = {}
        if self.next_due > now:
            return asked
        self.next_due = math.inf
        for rumor_id, wanted in list(self._wanted.items()):
            if wanted.due <= now:
                if wanted.tries >= _MOST_TRIES:
                    del self._wanted[rumor_id]
                    continue
                for source in wanted.next_sources():
                    asked.setdefault((source, wanted.gid), []).append(rumor_id)
                wanted.tries += 1
                wanted.asked_at = now
                wanted.due = now + patience_s(wanted.tries, self._timeout_s)
            self.next_due = min(self.next_due, wanted.due)
        return asked

    def unreachable(self, source: str, now: float) -> None:
        """Request the rumors that were requested from `source` from their next holders."""
        for wanted in self._wanted.values():
            if wanted.tries and wanted.sources[(wanted.tries - 1) % len(wanted.sources)] == source:
                wanted.due = now
                self.next_due = now

    def drop_group(self, gid: str) -> None:
        """Drop the pulls of a group."""
        self._wanted = {key: wanted for key, wanted in self._wanted.items() if wanted.gid != gid}
