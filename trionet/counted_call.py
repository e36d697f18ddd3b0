"""A call that is counted at its end, once, with its outcome and its duration."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import trio

from .call_counts import outcome_of
from .current_call import AnsweredCall
from .histograms import AT, UNTIMED, count_timed
from .user_code import is_a, leaves

if TYPE_CHECKING:
    from .arguments import Method
    from .call_counts import CallCounts
    from .message import Call

__all__ = ["CountedCall"]


class CountedCall(AnsweredCall):
    """A call on the side that serves it. A subclass sets the attributes, for the speed of that.

    Attributes:
        method: its method.
        call: the call itself.
    """

    __slots__ = ("_begun_ns", "call", "method")

    method: Method
    call: Call
    _begun_ns: int

    @property
    @abstractmethod
    def counts(self) -> CallCounts:
        """Counts it."""

    def note_success(self) -> None:
        """Count it as one that returned a value."""
        begun_ns, self._begun_ns = self._begun_ns, -1
        ok = self.method.ok
        if ok is None:
            ok = self.method.ok = self.counts.of(self.call.service, self.call.method).ok
        if begun_ns:
            count_timed(ok, begun_ns, self.counts.now_ns())
        else:
            ok[UNTIMED] += 1

    def note_failure(self, exc: BaseException) -> None:
        """Count it as one whose handler ended with `exc`, which is in its own words unless it was cancelled."""
        found = leaves(exc)
        self.note_end(outcome_of(found[0]) if all(is_a(leaf, trio.Cancelled) for leaf in found) else "error")

    def note_end(self, outcome: str) -> None:
        """Count it, unless it has been counted."""
        begun_ns, self._begun_ns = self._begun_ns, -1
        if begun_ns >= 0:
            counts = self.counts
            found = counts.of(self.call.service, self.call.method)
            counts.failed(found, outcome, counts.now_ns() - (begun_ns or found.ok[AT]))
