"""One call to every member of a group, each in a task of one nursery.

Invariants: a member's failure is data, never an exception; no call outlives `collect`; the cancellation of the caller
passes, except that of its deadline for a partial result.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

import trio

from trionet.errors import CallTimeout, MalformedRequest, TrionetError
from trionet.nesting import holding
from trionet.nurseries import open_background_nursery, open_plain_nursery
from trionet.replies import Replies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from trionet.identity import SID, NodeAddress
    from trionet.services.comm import Comm
    from trionet.tracing.spans import FanOutSpan
    from trionet.transports.base import Request

__all__ = ["ALL_MEMBERS", "Wait", "call_all", "check_bool", "collect", "count_to_wait_for", "stream_all"]

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
    enough: int | None = None,
    partial: bool = False,
    convert: Callable[[Any], Any] | None = None,
) -> Replies[Any]:
    """Await ``call(node)`` for all `members` at once.

    Args:
        members: the nodes to call.
        call: calls one of them.
        enough: return after this number of values, and cancel the other calls; their nodes are in neither map.
        partial: at the caller's deadline, return the results so far, with `CallTimeout` for the other members.
        convert: applied to each value; a `TrionetError` that it raises is the member's.
    """
    values: dict[SID, Any] = {}
    errors: dict[SID, TrionetError] = {}

    async def call_one(sid: SID, node: NodeAddress, nursery: trio.Nursery) -> None:
        value, error = await _outcome(call, node, convert)
        if error is not None:
            errors[sid] = error
        elif len(values) != enough:
            values[sid] = value
            if len(values) == enough:
                nursery.cancel_scope.cancel()

    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        async with open_plain_nursery() as nursery:
            for sid, node in members.items():
                nursery.start_soon(call_one, sid, node, nursery)
    except trio.Cancelled as exc:
        if not partial or exc.source != "deadline":
            raise
        if len(values) != enough:
            late = {
                sid: CallTimeout("no answer before the caller's deadline") for sid in members.keys() - values.keys()
            }
            errors = late | errors
    return Replies(values, errors)


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
    """Send a prepared call to all `members` of the group `gid` at once, in a span of its own; see `collect`."""
    with _span(comm, gid, request, len(members)) as span:
        if span is None:
            return await collect(
                members, lambda node: comm.call(node, request), enough=enough, partial=partial, convert=convert
            )

        async def call(node: NodeAddress) -> Any:
            with span.member(node, request) as traced:
                return await comm.call_unrecorded(node, traced)

        with span.current():
            replies = await collect(members, call, enough=enough, partial=partial, convert=convert)
        span.describe(len(replies.values), len(replies.errors))
        return replies


def _span(comm: Comm, gid: str, request: Request, members: int) -> AbstractContextManager[FanOutSpan | None]:
    """Return the span of a fan-out; None without a tracer provider."""
    spans = comm.active_spans
    return nullcontext() if spans is None else spans.fan_out(gid, request, members)


async def _outcome(
    call: Callable[[NodeAddress], Awaitable[Any]], node: NodeAddress, convert: Callable[[Any], Any] | None
) -> tuple[Any, None] | tuple[None, TrionetError]:
    """Return a member's value or error.

    The traceback of the error ends here: a frame with all errors in it would make a reference cycle.
    """
    try:
        value = await call(node)
        return (value if convert is None else convert(value)), None
    except TrionetError as exc:
        exc.node = exc.node or str(node)
        return None, exc


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
        gid: the group.
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

    with _span(comm, gid, request, len(members)) as span:
        async with open_background_nursery() as nursery:
            with send, nullcontext() if span is None else span.current():
                for sid, node in members.items():
                    nursery.start_soon(ask_one, sid, node, send.clone())
            # The streams may wait for the calls of the block.
            with holding(request.depth) if items else nullcontext():
                yield receive
