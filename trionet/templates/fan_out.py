"""One call to every member of a group, in one nursery.

The caller waits for all calls that are sent in one pass, and for the connections of others; see `gathering`. A call
that has to wait for something else has a task of its own; so has each unanswered one once the caller is cancelled.

Invariants: a member's failure is data, never an exception; no call outlives `collect`; the cancellation of the caller
passes, except that of its deadline for a partial result.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

import trio

from trionet.errors import CallTimeout, MalformedRequest, TrionetError
from trionet.nesting import holding
from trionet.nurseries import open_background_nursery, open_plain_nursery
from trionet.replies import Replies
from trionet.services.named_errors import leave_to_scope
from trionet.under_trio import check_under_trio

from .gathering import Answer, Gathering

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from trionet.identity import SID, NodeAddress
    from trionet.services.comm import Comm
    from trionet.tracing.spans import FanOutSpan
    from trionet.transports.base import Request

__all__ = [
    "ALL_MEMBERS",
    "Outcomes",
    "Wait",
    "call_all",
    "check_bool",
    "collect",
    "count_to_wait_for",
    "span_of",
    "stream_all",
]

Wait = Literal["all", "first"] | int
"""The values that a fan-out waits for."""

ALL_MEMBERS: Final = "all"


def count_to_wait_for(wait: Wait, members: int) -> int | None:
    """Return the number of values to wait for; None for the results of all members.

    Raises:
        MalformedRequest: `wait` is not ``"all"``, ``"first"`` or a number from 1 to `members`.
    """
    if wait == ALL_MEMBERS:
        return None
    count = 1 if wait == "first" else wait
    if type(count) is not int or not 1 <= count <= members:
        raise MalformedRequest(f"wait is 'all', 'first' or a number from 1 to {members}, the members; not {wait!r}")
    return count


def check_bool(name: str, value: object) -> None:
    """Raise `MalformedRequest` unless the argument `name` is True or False."""
    if not isinstance(value, bool):
        raise MalformedRequest(f"{name} is True or False, not {value!r:.80}")


async def collect(
    members: Mapping[SID, NodeAddress],
    call: Callable[[NodeAddress], Awaitable[Any]],
    *,
    gathering: Gathering | None = None,
    enough: int | None = None,
    partial: bool = False,
    convert: Callable[[Any], Any] | None = None,
    outcomes: Outcomes | None = None,
) -> Replies[Any]:
    """Await ``call(node)`` for all `members` at once.

    Args:
        members: the nodes to call.
        call: calls one of them.
        gathering: makes, in place of `call`, the calls for which nothing has to be waited; they need no task.
        enough: return after this number of values, and cancel the other calls; their nodes are in neither map.
        partial: at the caller's deadline, return the results so far, with `CallTimeout` for the other members.
        convert: applied to each value; a `TrionetError` that it raises is the member's.
        outcomes: takes the values and errors as they come; by default, those of the result.
    """
    outcomes = Outcomes(enough) if outcomes is None else outcomes

    async def call_one(sid: SID, node: NodeAddress, answer: Callable[[], Awaitable[Any]]) -> None:
        outcomes.note(sid, *await _outcome(node, answer, convert))

    check_under_trio("a group-wide call")
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        async with open_plain_nursery() as nursery:
            outcomes.on_enough = nursery.cancel_scope.cancel
            for sid, node in members.items():
                if gathering is None or not gathering.send(sid, node):
                    nursery.start_soon(call_one, sid, node, functools.partial(call, node))
            if gathering is not None:
                await _gather(gathering, outcomes, convert, call, lambda *args: nursery.start_soon(call_one, *args))
    except trio.Cancelled as exc:
        if not partial or exc.source != "deadline":
            raise
        outcomes.note_late(members)
    if not partial:
        await outcomes.leave_to_scope()
    return Replies(outcomes.values, outcomes.errors)


class Outcomes:
    """The values and errors of a fan-out so far.

    Attributes:
        values, errors: those of the members.
        on_enough: called when there are enough values; further ones are not kept.
    """

    def __init__(self, enough: int | None) -> None:
        self.values: dict[SID, Any] = {}
        self.errors: dict[SID, TrionetError] = {}
        self.on_enough: Callable[[], object] = _ignore
        self._enough = enough

    def note(self, sid: SID, value: Any, error: TrionetError | None) -> None:
        """Handle the value or the error of a member."""
        if error is not None:
            self.errors[sid] = error
        elif len(self.values) != self._enough:
            self.values[sid] = value
            if len(self.values) == self._enough:
                self.on_enough()

    def note_late(self, members: Mapping[SID, NodeAddress]) -> None:
        """Handle that the time of the members without an answer is over."""
        if len(self.values) != self._enough:
            late = members.keys() - self.values.keys()
            self.errors = {sid: CallTimeout("no answer before the caller's deadline") for sid in late} | self.errors

    async def leave_to_scope(self) -> None:
        """Let the caller's own scope end the fan-out if the time of a member is over, and its own is; see there."""
        for error in self.errors.values():
            await leave_to_scope(error)


async def _gather(
    gathering: Gathering,
    outcomes: Outcomes,
    convert: Callable[[Any], Any] | None,
    call: Callable[[NodeAddress], Awaitable[Any]],
    start: Callable[[SID, NodeAddress, Callable[[], Awaitable[Any]]], None],
) -> None:
    """Note the answers to the calls that were sent; when cancelled, start a task for each unanswered one."""
    try:
        while gathering.is_waiting:
            await gathering.wait()
            for one in gathering.send_connected():
                start(one.sid, one.node, functools.partial(call, one.node))
            _note_answers(gathering, outcomes, convert)
    finally:
        for one, sent in gathering.take_unanswered():
            start(one.sid, one.node, functools.partial(one.answer, sent))
        _note_answers(gathering, outcomes, convert)


def _note_answers(gathering: Gathering, outcomes: Outcomes, convert: Callable[[Any], Any] | None) -> None:
    for sid, value, error in _converted(gathering.take_answers(), convert):
        outcomes.note(sid, value, error)


def _converted(
    answers: list[Answer], convert: Callable[[Any], Any] | None
) -> Iterator[tuple[SID, Any, TrionetError | None]]:
    """Yield the value or the error of each member. The frame of a generator does not refer to that of its caller."""
    for answer in answers:
        if convert is None or answer.error is not None:
            yield answer.sid, answer.value, answer.error
        else:
            yield answer.sid, *_conversion(answer, convert)


def _conversion(answer: Answer, convert: Callable[[Any], Any]) -> tuple[Any, None] | tuple[None, TrionetError]:
    try:
        return convert(answer.value), None
    except TrionetError as exc:
        exc.node = exc.node or str(answer.node)
        return None, exc


async def _outcome(
    node: NodeAddress, answer: Callable[[], Awaitable[Any]], convert: Callable[[Any], Any] | None
) -> tuple[Any, None] | tuple[None, TrionetError]:
    """Return a member's value or error.

    The traceback of the error ends here: a frame with all errors in it would make a reference cycle.
    """
    try:
        value = await answer()
        return (value if convert is None else convert(value)), None
    except TrionetError as exc:
        exc.node = exc.node or str(node)
        return None, exc


async def call_all(
    comm: Comm,
    gid: str,
    members: Mapping[SID, NodeAddress],
    request: Request,
    *,
    enough: int | None = None,
    partial: bool = False,
    convert: Callable[[Any], Any] | None = None,
) -> Replies[Any]:
    """Send a prepared call to all `members` of a group at once, by `comm`; see `collect`."""
    with span_of(comm, gid, request, len(members)) as span:
        if span is None:

            def call(node: NodeAddress) -> Awaitable[Any]:
                return comm.call(node, request)

            gathering = Gathering(comm, request, is_each_awaited=enough is not None)
            return await collect(members, call, gathering=gathering, enough=enough, partial=partial, convert=convert)

        async def call_traced(node: NodeAddress) -> Any:
            with span.member(node, request) as traced:
                return await comm.call_unrecorded(node, traced)

        with span.current():
            replies = await collect(members, call_traced, enough=enough, partial=partial, convert=convert)
        span.describe(len(replies.values), len(replies.errors))
        return replies


@asynccontextmanager
async def stream_all(
    comm: Comm,
    gid: str,
    members: Mapping[SID, NodeAddress],
    request: Request,
    *,
    items: bool,
    convert: Callable[[Any], Any] | None = None,
) -> AsyncGenerator[trio.MemoryReceiveChannel[tuple[SID, Any]]]:
    """Send a prepared call to all `members` at once; yield a channel of ``(sid, value or TrionetError)``.

    Leaving the block cancels the running calls.

    Args:
        comm: sends the calls.
        gid: the group of the members.
        members: the nodes to call.
        request: the call.
        items: whether the method is an async generator; then each item arrives as ``(sid, item)``.
        convert: applied to each item; a `TrionetError` that it raises ends the member's items.
    """
    send, receive = trio.open_memory_channel[tuple["SID", Any]](0)

    async def ask_one(sid: SID, node: NodeAddress, channel: trio.MemorySendChannel[tuple[SID, Any]]) -> None:
        with channel:
            try:
                with nullcontext(request) if span is None else span.member(node, request) as traced:
                    if items:
                        async with comm.open_items_unrecorded(node, traced, convert) as stream:
                            async for item in stream:
                                await channel.send((sid, item))
                    else:
                        value = await comm.call_unrecorded(node, traced)
                if not items:
                    await channel.send((sid, value))
            except TrionetError as exc:
                await channel.send((sid, exc))

    with span_of(comm, gid, request, len(members)) as span:
        async with open_background_nursery() as nursery:
            with send, nullcontext() if span is None else span.current():
                for sid, node in members.items():
                    nursery.start_soon(ask_one, sid, node, send.clone())
            # The streams may wait for the calls of the block.
            with holding(request.depth) if items else nullcontext():
                yield receive


def span_of(comm: Comm, gid: str, request: Request, members: int) -> AbstractContextManager[FanOutSpan | None]:
    """Return the span of a fan-out; None without a tracer provider."""
    spans = comm.active_spans
    return nullcontext() if spans is None else spans.fan_out(gid, request, members)


def _ignore() -> None: ...
