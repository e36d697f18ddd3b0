"""What a node remembers of the relayed calls that it has run, so that none runs twice.

A call comes to a member by way of another one. Where that one is lost, the caller asks again, itself, by the same id:
a run that has ended gives its answer, and one that goes on is waited for. A member that knows no such run says since
when it has forgotten none, by its own clock: only if the call is younger than that, it has not run there. Then the
caller sends it with a *ticket*, which holds until the member has forgotten a later run, or has ended.

Invariants: while a run is remembered, its call doesn't run again. Running calls are not forgotten. Of the others, at
most `MOST_RUNS` are remembered, and at most `MOST_BYTES` of answers, for about `KEPT_S`; they are forgotten as others
begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["KEPT_S", "MOST_BYTES", "MOST_RUNS", "RelayedRuns"]

MOST_RUNS: Final = 4_096
"""The most runs that are remembered after their ends."""

MOST_BYTES: Final = 1024 * 1024
"""The most bytes of answers that are remembered."""

KEPT_S: Final = 60.0
"""How long a run is remembered, in seconds."""

_END_S: Final = 5.0
"""How long a cancelled caller waits for the end of a run: longer than its peer waits. The run may wait for it."""

_LOST: Final = "it has begun on this node, and has no answer there: it was cut off, or its answer is forgotten"
_UNKNOWN: Final = "it may have run on this node, which has forgotten about it"


class _Run:
    """A run of a call.

    Attributes:
        number: its place in the order of the runs.
        begun_at: its begin, in nanoseconds on the clock of the memory.
        scope: cancels it.
        ended: set at its end.
        answer: its answer, and the size of that; None before its end, or without one that is remembered.
        ended_at: its end.
    """

    __slots__ = ("answer", "begun_at", "ended", "ended_at", "number", "scope", "size")

    def __init__(self, number: int, begun_at: int) -> None:
        self.number: int = number
        self.begun_at: int = begun_at
        self.scope: trio.CancelScope = trio.CancelScope()
        self.ended: trio.Event = trio.Event()
        self.answer: Any = None
        self.size: int = 0
        self.ended_at: int = 0


class RelayedRuns:
    """The runs of relayed calls on one node.

    Args:
        life: differs from that of each other node, and of an earlier one at the same address.
        now_ns: the clock, in nanoseconds.
        since_ns: since when it is known that no call has run: since the node's begin, if this is made later.
    """

    def __init__(self, life: str, now_ns: Callable[[], int], since_ns: int) -> None:
        self._life = life
        self._now_ns = now_ns
        self._running: dict[object, _Run] = {}
        self._ended: dict[object, _Run] = {}  # in the order of their ends
        self._bytes = 0
        self._count = 0
        self._forgotten = 0
        self._sure_since = since_ns

    def __contains__(self, key: object) -> bool:
        return key in self._running or key in self._ended

    def __len__(self) -> int:
        return len(self._running) + len(self._ended)

    async def run(self, key: object, ticket: Any, begin: Callable[[], Awaitable[tuple[Any, int]]]) -> Any:
        """Run a call, unless it has begun already; return its answer.

        Args:
            key: the call.
            ticket: None when it comes for the first time; or see `recall`.
            begin: runs it; its value is the answer, and the size of that in bytes; 0 if nothing has run.

        Raises:
            ConnectionLost: it has run, and the answer is lost; or the ticket does not hold any more.
        """
        if key in self:
            return await self._answer_of(key)
        if ticket is not None and not self._holds(ticket):
            raise ConnectionLost(_UNKNOWN)
        self._forget()
        self._count += 1
        run = self._running[key] = _Run(self._count, self._now_ns())
        answer, size = None, 1
        try:
            with run.scope:
                answer, size = await begin()
        finally:
            self._end(key, run, answer, size)
        if answer is None:
            raise ConnectionLost(_LOST)
        return answer

    async def recall(self, key: object) -> tuple[Any, float, list[Any]]:
        """Return the answer of a run, if there is one; else since how many seconds none was forgotten, and a ticket.

        A caller who is cancelled meanwhile cancels the run.

        Raises:
            ConnectionLost: it has run, and the answer is lost.
        """
        if key in self:
            return await self._answer_of(key), 0.0, []
        return None, (self._now_ns() - self._sure_since) / 1e9, [self._life, self._count]

    async def _answer_of(self, key: object) -> Any:
        run = self._running.get(key)
        if run is not None:
            try:
                await run.ended.wait()
            except trio.Cancelled:
                run.scope.cancel()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _END_S):
                    await run.ended.wait()
                raise
        else:
            run = self._ended.get(key)
        if run is None or run.answer is None:
            raise ConnectionLost(_LOST)
        return run.answer

    def _holds(self, ticket: Any) -> bool:
        match ticket:
            case [str(life), int(count)]:
                return life == self._life and count >= self._forgotten
        return False

    def _end(self, key: object, run: _Run, answer: Any, size: int) -> None:
        """Handle the end of a run; one of nothing is not remembered."""
        del self._running[key]
        run.answer, run.size, run.ended_at = answer, size, self._now_ns()
        if size:
            self._ended[key] = run
            self._bytes += size
            if self._bytes > MOST_BYTES:  # answers go first: without one, its call is lost, and never runs twice
                self._forget_answers()
        run.ended.set()

    def _forget_answers(self) -> None:
        for run in self._ended.values():
            self._bytes -= run.size
            run.answer, run.size = None, 0
            if self._bytes <= MOST_BYTES:
                return

    def _forget(self) -> None:
        """Forget what is old, or too much."""
        before = self._now_ns() - KEPT_S * 1e9
        while self._ended:
            key, run = next(iter(self._ended.items()))
            if run.ended_at > before and len(self._ended) < MOST_RUNS:
                return
            del self._ended[key]
            self._bytes -= run.size
            self._forgotten = max(self._forgotten, run.number)
            self._sure_since = max(self._sure_since, run.begun_at)
