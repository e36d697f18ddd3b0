"""The progress of one rumor, from what its origin and the members tell.

Invariant: nothing in it is computed by a model of gossip. A member has the rumor if it says so. Its time is the rumor's
age when it came there, as that member has it; who has sent it the first copy, and how many copies came, it knows, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trionet.errors import KeyDoesNotExist, MalformedRequest
from trionet.identity import NodeAddress

from .asking import cut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from trionet.errors import TrionetError
    from trionet.identity import SID
    from trionet.replies import Spread

__all__ = ["MOST_ASKED", "Followed"]

MOST_ASKED: Final = 128
"""The most members that tell their part: all of a group that is not larger, a random sample of a larger one."""

_SETTLED_S: Final = 4.0
_SELDOM_S: Final = 5.0
_LONGEST_S: Final = 120.0
_WAYS: Final = ("sent", "push", "pull")
_MOST_MS: Final = 1e9
_MOST_COPIES: Final = 1_000_000


class Followed:
    """One rumor that is followed.

    Attributes:
        gid: its group.
        id: its id.
    """

    def __init__(self, gid: str, rumor_id: str) -> None:
        self.gid: str = gid
        self.id: str = rumor_id
        self._asked: list[SID] = []
        self._size = 0
        self._is_sampled = False
        self._arrivals: dict[SID, dict[str, Any]] = {}
        self._errors: dict[SID, str] = {}
        self._about: dict[str, Any] = {}
        self._spread: Spread | None = None
        self._failure = ""
        self._begun_at: float | None = None
        self._changed_at = 0.0
        self._asked_at = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether to ask at `now`: at each chance while something changes, then seldom, and at last no more."""
        if self._begun_at is None:
            self._begun_at = self._changed_at = now
        if now - self._begun_at > _LONGEST_S:
            return False
        is_due = now - self._changed_at < _SETTLED_S or now - self._asked_at >= _SELDOM_S
        if is_due:
            self._asked_at = now
        return is_due

    def note_members(self, members: Mapping[SID, NodeAddress], own: SID, random: Random) -> None:
        """Note the members of the group."""
        self._size = len(members)
        self._errors = {sid: text for sid, text in self._errors.items() if sid in members}
        if len(members) <= MOST_ASKED:
            self._asked, self._is_sampled = list(members), False
            return
        known = [sid for sid in self._asked if sid in members]
        others = [sid for sid in members if sid not in known and sid != own]
        first = [own] if own in members and own not in known else []
        self._asked = (known + first + random.sample(others, min(MOST_ASKED, len(others))))[:MOST_ASKED]
        self._is_sampled = True

    def to_ask(self) -> list[SID]:
        """Return the members to ask: each, as the copies go on coming."""
        return list(self._asked)

    def note_arrivals(self, answers: Mapping[SID, Any], wall_s: float, now: float) -> None:
        """Note what members have answered; of those whose rumor has expired the last answer stays."""
        for sid, answer in answers.items():
            if not isinstance(answer, dict) or answer.get("way") not in _WAYS:
                continue
            found = {
                "ms": round(1000 * _number(answer.get("age_s"), _MOST_MS / 1000), 3),
                "way": answer["way"],
                "copies": round(_number(answer.get("copies"), _MOST_COPIES)),
            }
            if source := _sid_of(answer.get("source")):
                found["from"] = source
            if "failed" in answer:
                found["failed"] = cut(answer["failed"])
            self._errors.pop(sid, None)
            if self._arrivals.get(sid) != found:
                self._arrivals[sid], self._changed_at = found, now
            if not self._about:
                self._about = {
                    "origin": cut(answer.get("origin", "")),
                    "what": cut(f"{answer.get('service', '')}/{answer.get('method', '')}"),
                    "bytes": round(_number(answer.get("payload_bytes"), 1e12)),
                    "sent": round(wall_s - _number(answer.get("since_s"), 1e9) - found["ms"] / 1000, 3),
                }

    def note_errors(self, errors: Mapping[SID, str]) -> None:
        """Note the members that have not answered."""
        for sid, text in errors.items():
            if sid not in self._arrivals:
                self._errors[sid] = text

    def note_spread(self, spread: Spread) -> None:
        """Note what the origin knows, on the origin itself."""
        self._spread, self._failure = spread, ""

    def note_failure(self, error: TrionetError) -> None:
        """Note why nothing more can be told; that another node is the origin is no failure."""
        self._failure = "" if isinstance(error, KeyDoesNotExist) else cut(error)
        if isinstance(error, MalformedRequest):
            self._begun_at = -_LONGEST_S - 1.0

    def document(self) -> dict[str, Any]:
        """Return the progress.

        - ``size`` members are in the group; ``asked`` of them tell, and ``is_sampled`` if these are not all.
        - ``members`` are those that have it, each ``{ms, way, copies, from?, failed?}``; ``lacking`` those that say
          that they don't; ``errors`` those that don't answer.
        - ``copies`` have come in all, ``duplicates`` of them to a member that had it; the last first one came after
          ``last_ms``.
        - On the origin, ``known`` members are confirmed to it, and ``estimate`` have it.
        """
        arrivals = dict(sorted(self._arrivals.items(), key=lambda item: (item[1]["ms"], item[0])))
        copies = sum(one["copies"] for one in arrivals.values())
        firsts = sum(one["way"] != "sent" for one in arrivals.values())
        lacking = [sid for sid in self._asked if sid not in arrivals and sid not in self._errors]
        found: dict[str, Any] = {
            "gid": self.gid,
            "id": self.id,
            **self._about,
            "size": self._size,
            "asked": len(self._asked),
            "is_sampled": self._is_sampled,
            "members": arrivals,
            "lacking": dict.fromkeys(lacking, True),
            "errors": dict(self._errors),
            "copies": copies,
            "duplicates": max(0, copies - firsts),
            "done": bool(arrivals) and not lacking and not self._errors,
        }
        if arrivals:
            found["last_ms"] = max(one["ms"] for one in arrivals.values())
        if self._spread is not None:
            found |= {"known": self._spread.known, "estimate": round(self._spread.estimate, 1)}
        if self._failure:
            found["error"] = self._failure
        return found


def _number(value: object, most: float) -> float:
    """Return a number of a peer, bounded."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0.0
    return float(min(value, most))


def _sid_of(address: object) -> SID | None:
    """Return the SID of an address that a peer names; None if it is none."""
    try:
        return NodeAddress.of(address).sid if isinstance(address, str) and address else None
    except MalformedRequest:
        return None
