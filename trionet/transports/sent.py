"""Calls that are sent at once, and that no task waits for: what transports offer that can tell which calls these are.

A transport that can has the methods `send_at_once` and `connect_soon`; the others send each call in a task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from trionet.errors import NodeUnreachable
    from trionet.identity import NodeAddress

    from .base import Request

__all__ = ["Awaited", "Begin", "ConnectSoon", "Handle", "SendAtOnce", "Sent"]


class Awaited(Protocol):
    """A call that has been sent, or will be once there is a connection."""

    async def wait(self) -> Any:
        """Wait for the answer in a task; return its value, or raise its error, as `Transport.call` does.

        A call that has not been sent is not sent any more: its task is being cancelled.
        """


class Sent(Awaited, Protocol):
    """A call that has been sent."""

    def value(self) -> Any:
        """Return the value of its answer, or raise its error, once there is one; see `Transport.call`."""


Handle = Callable[[Sent], None]
"""Handles the answer of a call that was sent."""

Begin = Callable[[], None] | None
"""Handles that a call is about to be sent, if anything does."""


class SendAtOnce(Protocol):
    """Sends a call to a node at once, if nothing has to be waited for: there is a connection, and room for the call."""

    def __call__(self, node: NodeAddress, request: Request, handle: Callable[[Sent], None]) -> Sent | None:
        """Send `request`; ``handle(sent)`` is called when it is answered, unless a task waits for the answer then.

        Returns:
            The call; None if it was not sent: `Transport.call` waits for its turn, or says why it can't be sent.
        """


class ConnectSoon(Protocol):
    """Has a connection made to a node for a call of the calling task, which does not wait for it."""

    def __call__(
        self, node: NodeAddress, request: Request, handle: Callable[[NodeUnreachable | None], None]
    ) -> Awaited | None:
        """Begin, or join the attempt that is in progress; ``handle(failure)`` is called at its end.

        Without a failure `SendAtOnce` will mostly send the call; with one, that is the call's error. Nothing was sent.

        Returns:
            The call, until then; None where only `Transport.call` tells what to wait for, or why it can't be sent.
        """
