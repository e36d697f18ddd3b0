"""Glances at the members: their figures, and how they see the cluster; shared by the topics that need them.

Members are asked in a circle, a few a second, most of them of those in sight; new ones in sight are asked at once. An
answer has the digest of the member's view, and its differences only if that isn't the serving node's.

Invariants: at most `_A_SECOND` questions a second, and `_MOST_AT_ONCE` of new ones, spread over it; a member that
doesn't answer is asked again only after `_SILENT_S`. All that a member says is checked and bounded.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import trio

from trionet.errors import DecodeError, TrionetError
from trionet.log_limits import about, limited_log
from trionet.message import Remote
from trionet.nesting import PACKETS
from trionet.nurseries import open_plain_nursery
from trionet.services.sight import MOST_VIEWED

from .roster import Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from trionet.identity import SID, NodeAddress

    from .subject import Subject

__all__ = ["Answer", "Glance", "Glances", "answer_of"]

N = TypeVar("N", int, float)

_A_SECOND: Final = 12
"""The members that are asked each second: each of 12 in sight once a second, each of 60 every five seconds."""
_OTHERS_A_SECOND: Final = 3
"""Those of them that are not in sight, if there are any."""
_MOST_AT_ONCE: Final = 64
"""The members that are asked at once, when they come into sight."""
_EVERY_S: Final = 1.0
_SILENT_S: Final = 5.0

_GLANCE: Final = Remote(service="inspection", method="glance")
_WITHIN_S: Final = 0.6
_COUNTS: Final = ("heap_used", "links", "served", "running", "health")
_TOGETHER: Final = 4
"""The members that are asked within one pass of the event loop: each pass costs, and more would delay the answers."""
_APART_S: Final = 0.01
_MOST_CHARS: Final = 200
_MOST: Final = 2**53

_log = limited_log(__name__)


class Answer(msgspec.Struct, frozen=True):
    """The answer of `inspection.glance`; unknown parts are ignored."""

    version: str = ""
    uptime_s: float = 0.0
    heap_used: int = 0
    links: int = 0
    served: int = 0
    running: int = 0
    health: int = 0
    late: tuple[int, float] = (0, 0.0)
    view: int = 0
    seen: dict[str, str] | None = None
    is_whole: bool = True


class Glance(msgspec.Struct, frozen=True):
    """What is known of a member by its latest answer.

    Attributes:
        at: when it came, in seconds on the serving node's clock.
        rtt_s: how long it took.
        answer: the answer; None if there was none.
        error: why there was none.
        calls_per_s, lag_s: since the answer before; None with the first.
    """

    at: float
    rtt_s: float = 0.0
    answer: Answer | None = None
    error: str = ""
    calls_per_s: float | None = None
    lag_s: float | None = None

    def row(self) -> dict[str, Any]:
        """Return it as a row of the topic ``details``."""
        if self.answer is None:
            return {"error": self.error}
        answer = self.answer
        return {
            "rtt_ms": _rounded(self.rtt_s * 1000),
            "lag_ms": None if self.lag_s is None else _rounded(self.lag_s * 1000),
            "health": answer.health,
            "version": answer.version[:_MOST_CHARS],
            "calls_per_s": None if self.calls_per_s is None else _rounded(self.calls_per_s),
            "running": answer.running,
            "links": answer.links,
            "uptime_s": round(answer.uptime_s),
            "heap_used": answer.heap_used,
        }


class Glances:
    """The latest glances at all members, by SID.

    Attributes:
        roster: the members.
    """

    def __init__(self, subject: Subject) -> None:
        """Ask the members of `subject`, when somebody looks."""
        self._subject = subject
        self.roster: Roster = Roster(subject)
        self._latest: dict[SID, Glance] = {}

    @property
    def latest(self) -> Mapping[SID, Glance]:
        """The latest ones, of present members."""
        return self._latest

    async def run(self, in_sight: Callable[[], Collection[SID]], on_first: Callable[[], None]) -> None:
        """Ask once a second until cancelled.

        Args:
            in_sight: returns the members whose rows are shown.
            on_first: called when the first ones have answered.
        """
        is_first = True
        while True:
            begun = trio.current_time()
            members = self.roster.refresh().present()
            for sid in self._latest.keys() - members.keys():
                del self._latest[sid]
            async with open_plain_nursery() as nursery:
                for place, sid in enumerate(self._due(members, frozenset(in_sight()))):
                    nursery.start_soon(self._ask, sid, members[sid], self.roster.view, place // _TOGETHER * _APART_S)
            if is_first:
                on_first()
                is_first = False
            await trio.sleep_until(begun + _EVERY_S)

    def _due(self, members: Mapping[SID, NodeAddress], in_sight: Collection[SID]) -> list[SID]:
        """Return whom to ask now: new ones in sight at once, and then those whose glances are the oldest."""
        now = trio.current_time()

        def at(sid: SID) -> float:
            known = self._latest.get(sid)
            return -math.inf if known is None else known.at

        def is_due(sid: SID) -> bool:
            known = self._latest.get(sid)
            return known is None or not known.error or now >= known.at + _SILENT_S

        asked = [sid for sid in members if is_due(sid)]
        shown = sorted((sid for sid in asked if sid in in_sight), key=at)
        others = sorted((sid for sid in asked if sid not in in_sight), key=at)
        first = [sid for sid in (shown if len(members) > _MOST_AT_ONCE else shown + others) if sid not in self._latest]
        few = max(_A_SECOND - len(others), _A_SECOND - _OTHERS_A_SECOND) if shown else 0
        return list(dict.fromkeys([*first[:_MOST_AT_ONCE], *shown[:few], *others[: _A_SECOND - min(few, len(shown))]]))

    async def _ask(self, sid: SID, node: NodeAddress, view: int, after_s: float) -> None:
        await trio.sleep(after_s)
        comm, begun = self._subject.local.comm, trio.current_time()
        answer, error = None, f"no answer within {_WITHIN_S:g} s"
        with trio.move_on_after(_WITHIN_S):
            try:
                request = comm.prepare([view], {}, _GLANCE, depth=PACKETS)  # it needs no slot
                answer = answer_of(await comm.call_unrecorded(node, request))
            except TrionetError as exc:
                error = f"{type(exc).__name__}: {exc.text}"[:_MOST_CHARS]
            except Exception as exc:  # whatever it is, the node goes on
                error = f"{type(exc).__name__}: {exc}"[:_MOST_CHARS]
                about_it = about(node, "glance", node=self._subject.address)
                _log.warning("no glance at %s: %s", node, error, exc_info=exc, extra=about_it)
        now = trio.current_time()
        if answer is None:
            self._latest[sid] = Glance(now, error=error)
        else:
            self._latest[sid] = _with_rates(Glance(now, now - begun, answer), self._latest.get(sid))


def answer_of(answer: object) -> Answer:
    """Return the answer of a member, within bounds.

    Raises:
        DecodeError: it is none.
    """
    try:
        found = msgspec.convert(answer, Answer, strict=False)
    except msgspec.ValidationError as exc:
        raise DecodeError(f"it answered with no glance: {exc}") from exc
    counts = {name: _within(getattr(found, name), _MOST) for name in _COUNTS}
    late, seen = found.late, found.seen
    is_whole = found.is_whole and (seen is None or len(seen) <= MOST_VIEWED)
    if seen is not None:
        seen = {name[:_MOST_CHARS]: state[:_MOST_CHARS] for name, state in islice(seen.items(), MOST_VIEWED)}
    return msgspec.structs.replace(
        found,
        version=found.version[:_MOST_CHARS],
        uptime_s=float(_within(found.uptime_s, _MOST)),
        late=(_within(late[0], _MOST), float(_within(late[1], _MOST))),
        seen=seen,
        is_whole=is_whole,
        **counts,
    )


def _within(value: N, most: N) -> N:
    """Return a number from 0 to `most`; NaN as 0."""
    return min(value, most) if value > 0 else type(value)()


def _with_rates(new: Glance, old: Glance | None) -> Glance:
    """Return a glance with the differences to the one before, unless the member has restarted since."""
    if old is None or old.answer is None or new.answer is None or new.answer.served < old.answer.served:
        return new
    count, seconds = (after - before for after, before in zip(new.answer.late, old.answer.late, strict=True))
    return msgspec.structs.replace(
        new,
        calls_per_s=(new.answer.served - old.answer.served) / max(0.001, new.at - old.at),
        lag_s=max(0.0, seconds) / count if count > 0 else 0.0,
    )


def _rounded(value: float) -> float:
    """Return a number with three digits that matter: more would change each second."""
    return float(f"{value:.3g}")
