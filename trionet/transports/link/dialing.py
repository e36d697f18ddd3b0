"""A connection attempt of a node, shared by all callers that wait for it, and the calls that wait without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from trionet.errors import NodeUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress
    from trionet.transports.base import Request

__all__ = ["Dialing", "Waiting", "closed_at_once"]


class Dialing:
    """A connection attempt.

    Attributes:
        done: set at its end.
        failure: why it failed.
        is_forced: whether it is sealed although the node sends plainly: its failure is none of an ordinary call's.
        waiting: the calls that wait for it without a task.
    """

    def __init__(self, *, is_forced: bool) -> None:
        self.done: trio.Event = trio.Event()
        self.failure: NodeUnreachable | None = None
        self.is_forced: bool = is_forced
        self.waiting: dict[Waiting, None] = {}

    def end(self, failure: NodeUnreachable | None) -> None:
        """Handle its end, and wake those who wait for it."""
        self.failure = failure
        self.done.set()
        waiting, self.waiting = self.waiting, {}
        for one in waiting:
            one.handle(None if failure is None or self.is_forced else type(failure)(failure.text))


class Waiting:
    """A call that waits for a connection attempt; no task waits for its end. See `ConnectSoon`.

    Attributes:
        request: the call.
        handle: called at the end of the attempt, with an error that is this call's own, if it failed.
        task: the task that makes the call.
    """

    __slots__ = ("_dialing", "handle", "request", "task")

    def __init__(self, dialing: Dialing, request: Request, handle: Callable[[NodeUnreachable | None], None]) -> None:
        self._dialing = dialing
        self.request: Request = request
        self.handle: Callable[[NodeUnreachable | None], None] = handle
        self.task: trio.lowlevel.Task = trio.lowlevel.current_task()
        dialing.waiting[self] = None

    async def wait(self) -> NoReturn:
        """Wait for the cancellation of the calling task: the call is not made. Nothing was sent."""
        self._dialing.waiting.pop(self, None)
        await trio.sleep_forever()
        raise AssertionError("a task sleeps until it is cancelled")


def closed_at_once(node: NodeAddress) -> NodeUnreachable:
    """Return the error of calls to a node whose links are of no use."""
    return NodeUnreachable(f"{node} closes every link at once")
