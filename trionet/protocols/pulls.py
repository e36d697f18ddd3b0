"""Rumors that a node has heard of and doesn't hold, and whom it asks for them.

Invariant: a rumor is asked for at one node at a time, and at the next one only when that one has had its time; so each
member gets about one copy by pulling, however many announce it. Only when two have not answered, which takes losses,
two are asked at a time. What can't be had is given up after a few tries; the next announcement begins anew.

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
    """Return how long the answer to try number `tries`, from 1, is waited for.

    Six times the same, so that losses cost little; then doubled after every second try, so that a payload that takes
    long to come isn't asked for many times.
    """
    return timeout_s * (1 << max(0, tries - _FAST_TRIES + 1) // 2)


class _Wanted(msgspec.Struct, eq=False):
    gid: str
    sources: list[str]
    due: float
    tries: int = 0
    asked_at: float = -math.inf

    def next_sources(self) -> list[str]:
        """Return whom to ask in the next try: one node; two when two tries have failed, if there are two."""
        width = 2 if self.tries >= _SINGLE_TRIES else 1
        count = len(self.sources)
        return [self.sources[(self.tries + more) % count] for more in range(min(width, count))]


class Pulls:
    """What a node asks for.

    Attributes:
        next_due: when something is to be asked for next.
    """

    __slots__ = ("_most", "_timeout_s", "_wanted", "next_due")

    def __init__(self, timeout_s: float, most: int) -> None:
        """Begin with nothing.

        Args:
            timeout_s: how long the first answer is waited for.
            most: how many rumors may be wanted at a time; what is announced beyond waits for its next announcement.
        """
        self._wanted: dict[bytes, _Wanted] = {}
        self._timeout_s = timeout_s
        self._most = most
        self.next_due: float = math.inf

    def __len__(self) -> int:
        return len(self._wanted)

    def announced(self, gid: str, rumor_id: bytes, source: str, due: float) -> None:
        """Take that `source` holds a rumor that this node hasn't got; ask for it at `due` at the earliest."""
        wanted = self._wanted.get(rumor_id)
        if wanted is None:
            if len(self._wanted) < self._most:
                self._wanted[rumor_id] = _Wanted(gid, [source], due)
                self.next_due = min(self.next_due, due)
            return
        if wanted.tries > _FAST_TRIES:  # who announces it now can be reached now: begin anew, with that one
            wanted.tries = 0
            wanted.sources = [source, *(one for one in wanted.sources if one != source)][:_MOST_SOURCES]
            wanted.due = min(wanted.due, max(due, wanted.asked_at + self._timeout_s))
            self.next_due = min(self.next_due, wanted.due)
        elif source not in wanted.sources and len(wanted.sources) < _MOST_SOURCES:
            wanted.sources.append(source)

    def received(self, rumor_id: bytes) -> bool:
        """Take that a rumor has come; tell whether it had been asked for."""
        if not self._wanted:
            return False
        wanted = self._wanted.pop(rumor_id, None)
        return wanted is not None and wanted.asked_at > -math.inf

    def due(self, now: float) -> dict[tuple[str, str], list[bytes]]:
        """Return what is to be asked for now: node and gid, to ids."""
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
        """Ask another one soon for what was wanted from `source`."""
        for wanted in self._wanted.values():
            if wanted.tries and wanted.sources[(wanted.tries - 1) % len(wanted.sources)] == source:
                wanted.due = now
                self.next_due = now

    def drop_group(self, gid: str) -> None:
        """Want nothing of a group any more."""
        self._wanted = {key: wanted for key, wanted in self._wanted.items() if wanted.gid != gid}
