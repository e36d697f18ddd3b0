"""The calls of a node that wait for their replies.

Invariant: a call is resolved by the reply with its number from the called node, and by no other.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import outcome
import trio

from trionet.errors import ConnectionLost

if TYPE_CHECKING:
    from .envelope import Envelope

__all__ = ["PendingCalls"]


class PendingCalls:
    """Calls by ``msg_id``: the waiting task, and the node that is called."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._calls: dict[int, tuple[trio.lowlevel.Task, str]] = {}

    def next_id(self) -> int:
        """Return a new ``msg_id``."""
        return next(self._numbers)

    async def wait(self, msg_id: int, dest: str) -> dict[str, Any]:
        """Return the body of the reply.

        Raises:
            ConnectionLost: no reply can arrive any more.
        """
        self._calls[msg_id] = trio.lowlevel.current_task(), dest

        def forget(_: object) -> trio.lowlevel.Abort:
            del self._calls[msg_id]
            return trio.lowlevel.Abort.SUCCEEDED

        reply: dict[str, Any] = await trio.lowlevel.wait_task_rescheduled(forget)
        return reply

    def resolve(self, reply: Envelope) -> bool:
        """End the call that a reply is for; return whether there is one."""
        task, dest = self._calls.get(reply.body["in_reply_to"], (None, None))
        if task is None or dest != reply.src:
            return False
        del self._calls[reply.body["in_reply_to"]]
        trio.lowlevel.reschedule(task, outcome.Value(reply.body))
        return True

    def close(self) -> None:
        """End all calls with `ConnectionLost`."""
        for task, _ in self._calls.values():
            trio.lowlevel.reschedule(
                task, outcome.Error(ConnectionLost("the node's input ended before the reply came"))
            )
        self._calls.clear()
