"""The calls of this node's tasks on one link: what waits for each, and what its answer says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import ConnectionLost, DecodeError, MalformedRequest, OrphanedCalls, TrionetError
from trionet.identity import NodeAddress
from trionet.protocols.link.calls import OutgoingCall, OutgoingStream
from trionet.protocols.link.frames import Error, Reply
from trionet.raising import ATOMS
from trionet.transports.base import Request, answered_error
from trionet.trio_tasks import wait_woken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.protocols.link.calls import Answer

__all__ = ["Call", "SentCall", "Stream", "changed", "error_of", "orphaned_by", "restored", "value_of"]


class Call(OutgoingCall, eq=False):
    """A call, and the task of its caller."""

    task: trio.lowlevel.Task | None = None
    request: Request | None = None
    is_cancelled: bool = False


class SentCall(Call, eq=False, kw_only=True):
    """A call that no task waits for, so far: its answer is handled at once.

    Attributes:
        cancel: cancels it, and waits until its handler has ended; see `LinkClient.cancel`.
        handle: called with it when it is answered, unless a task waits for it then.
        sender: the task that has sent it.
    """

    cancel: Callable[[SentCall, Request], Awaitable[None]]
    handle: Callable[[SentCall], None]
    sender: trio.lowlevel.Task

    def value(self) -> Any:
        """Return the value of its answer, or raise its error; see `Transport.call`."""
        return value_of(self.answer)

    async def wait(self) -> Any:
        """Wait for the answer; return its value, or raise its error; see `Transport.call`."""
        try:
            while self.answer is None:
                await changed(self)
        except trio.Cancelled:
            assert self.request is not None
            await self.cancel(self, self.request)
            raise
        return self.value()


class Stream(OutgoingStream, eq=False):
    """A stream, and the task of its reader."""

    task: trio.lowlevel.Task | None = None
    request: Request | None = None
    is_cancelled: bool = False


async def changed(call: Call | Stream) -> None:
    """Wait until there is an answer or an item."""
    call.task = task = trio.lowlevel.current_task()
    task.custom_sleep_data = call
    try:
        await wait_woken()
    finally:
        call.task = None


def value_of(answer: Answer | None) -> Any:
    """Return the value that `answer` carries, or raise its error."""
    if type(answer) is Reply:
        value = answer.value
        return value if type(value) in ATOMS else restored(value)
    raise error_of(answer)


def error_of(answer: Answer | None) -> TrionetError:
    """Return the error that ended a call or a stream."""
    match answer:
        case Error():
            return answered_error(answer.error)
        case TrionetError():
            return type(answer)(answer.text)  # a copy: the traceback of the original has frames that refer to the call
        case _:
            return ConnectionLost(f"the call was ended by {type(answer).__name__}, which is no answer")


def orphaned_by(answer: Answer) -> list[NodeAddress]:
    """Return the nodes where calls may still be running that the peer has cancelled, by its answer to their caller."""
    error = error_of(answer) if type(answer) is Error else None
    calls = error.calls if isinstance(error, OrphanedCalls) else None
    try:
        return [NodeAddress.of(place) for place in calls] if isinstance(calls, dict) else []
    except MalformedRequest:
        return []


def restored(plain: Any) -> Any:
    """Return the value. A decoding error is no `DefiniteError`, because the handler has run."""
    try:
        return MESSAGEPACK.restore(plain)
    except DecodeError as exc:
        raise ConnectionLost(f"the answer can't be read here: {exc}") from exc
