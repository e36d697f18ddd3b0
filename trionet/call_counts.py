"""The calls of one node, made or served, by service, method and outcome: plain integers.

Invariants: at most `MOST_SETS` names are kept, an outcome of a method each; all else counts as `OTHER`. A count never
decreases, whatever becomes of the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from .errors import (
    CallTimeout,
    ConnectionLost,
    MalformedRequest,
    NodeUnreachable,
    NotFound,
    NotPermitted,
    RemoteError,
    TemporarilyUnavailable,
    TrionetError,
)
from .histograms import SUM, UNIT_NS, new_histogram
from .user_code import is_a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MOST_SETS", "OTHER", "OUTCOMES", "CallCounts", "MethodCounts", "outcome_of"]

OUTCOMES: Final = ("ok", "error", "refused", "timeout", "cancelled", "unreachable", "lost")
"""The ends of calls: it returned a value; the handler raised; it was refused before any handler ran; its deadline was
over; it was cancelled; the node could not be reached; or the connection was lost while it ran."""

OTHER: Final = "_OTHER"
"""The name of services and methods that are not registered, or for which there is no place."""

MOST_SETS: Final = 500

_REFUSALS: Final = (NotFound, MalformedRequest, NotPermitted, TemporarilyUnavailable)
_SID_LENGTH: Final = 10


def outcome_of(exc: BaseException) -> str:
    """Return the outcome of a call that ended with `exc`, for its caller: the exceptions of others end it, too."""
    if is_a(exc, CallTimeout) or (is_a(exc, trio.Cancelled) and exc.source == "deadline"):
        return "timeout"
    outcomes = {RemoteError: "error", NodeUnreachable: "unreachable", ConnectionLost: "lost"}
    for kind, outcome in outcomes.items():
        if is_a(exc, kind):
            return outcome
    if is_a(exc, TrionetError):
        return "refused" if is_a(exc, _REFUSALS) else "error"
    return "cancelled"


class MethodCounts:
    """The calls of one method.

    Attributes:
        service, method: its names.
        ok: the histogram of its calls that returned a value.
        by_outcome: the histograms of all outcomes that there were, `ok` included.
    """

    __slots__ = ("by_outcome", "method", "ok", "service")

    def __init__(self, service: str, method: str) -> None:
        self.service: str = service
        self.method: str = method
        self.ok: list[int] = new_histogram()
        self.by_outcome: dict[str, list[int]] = {"ok": self.ok}


class CallCounts:
    """The calls of one node, on one side.

    Attributes:
        now_ns: the clock of the durations, in nanoseconds.
        refusals: counts of the calls that were refused, by the name of the error.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.now_ns: Callable[[], int] = now_ns
        self.refusals: dict[str, int] = {}
        self._others = MethodCounts(OTHER, OTHER)
        self._by_name: dict[tuple[str, str], MethodCounts] = {}
        self._sets_left = MOST_SETS - len(OUTCOMES)

    def of(self, service: str, method: str) -> MethodCounts:
        """Return the counts of a method that exists; those of all others, if there is no place for it."""
        found = self._by_name.get((service, method))
        if found is not None:
            return found
        if not self._sets_left or _is_like_sid(service) or _is_like_sid(method):
            return self._others
        self._sets_left -= 1
        found = self._by_name[service, method] = MethodCounts(service, method)
        return found

    def histogram(self, service: str, method: str) -> list[int] | None:
        """Return what counts the calls of a method that have returned a value; None before the first of them."""
        found = self._by_name.get((service, method))
        return None if found is None else found.ok

    def note_success(self, service: str, method: str, begun_ns: int) -> None:
        """Count a call that was made at `begun_ns`, and has returned a value."""
        ok = (self._by_name.get((service, method)) or self.of(service, method)).ok
        spent_ns = self.now_ns() - begun_ns
        ok[(spent_ns // UNIT_NS).bit_length()] += 1
        ok[SUM] += spent_ns

    def note_failure(self, service: str, method: str, exc: BaseException, begun_ns: int) -> None:
        """Count a call that was made at `begun_ns`, and has ended with `exc`.

        A method that no node has refused exists, or would have been refused at once.
        """
        outcome = outcome_of(exc)
        is_known = outcome not in ("refused", "unreachable")
        counts = self.of(service, method) if is_known else self._by_name.get((service, method))
        self.failed(counts, outcome, self.now_ns() - begun_ns)

    def failed(self, counts: MethodCounts | None, outcome: str, spent_ns: int) -> None:
        """Count a call with another outcome; None: of a method that may not exist."""
        counts = counts or self._others
        histogram = counts.by_outcome.get(outcome)
        if histogram is None:
            if counts is not self._others and not self._sets_left:
                self.failed(None, outcome, spent_ns)
                return
            self._sets_left -= counts is not self._others
            histogram = counts.by_outcome[outcome] = new_histogram()
        histogram[(spent_ns // UNIT_NS).bit_length()] += 1
        histogram[SUM] += spent_ns

    def refused(self, service: str, method: str, error: TrionetError, *, exists: bool) -> None:
        """Count a call that was refused before any handler ran; `exists`: whether its method does."""
        name = type(error).__name__
        self.refusals[name] = self.refusals.get(name, 0) + 1
        outcome = "timeout" if isinstance(error, CallTimeout) else "refused"
        self.failed(self.of(service, method) if exists else None, outcome, 0)

    def __iter__(self) -> Iterator[tuple[str, str, str, list[int]]]:
        """Iterate over service, method, outcome and histogram of all that were counted."""
        for counts in (*self._by_name.values(), self._others):
            for outcome, histogram in counts.by_outcome.items():
                if any(histogram):
                    yield counts.service, counts.method, outcome, histogram


def _is_like_sid(name: str) -> bool:
    """Return whether a name looks like a node's SID: there is one for each node, too many for labels."""
    return len(name) == _SID_LENGTH and all(char in "0123456789abcdef" for char in name)
