"""The call that the running code answers, for handlers and for what makes calls in the course of it.

Invariant: the tasks and the threads that a handler has started answer its call, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from .nesting import Holding, Lineage, position
from .principal import ANYONE, Principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .identity import NodeAddress
    from .message import Call

__all__ = [
    "AnsweredCall",
    "CurrentCall",
    "Ending",
    "Endings",
    "HandlerCancelled",
    "Tracing",
    "answered_call",
    "current_call",
    "is_awaitable",
]


T_co = TypeVar("T_co", covariant=True)


class HandlerCancelled(Exception):
    """The scope of a handler was cancelled, by its caller or by the end of the node."""


class CurrentCall:
    """The call that a handler is answering.

    Attributes:
        id: the caller's id for it; the same at every member of a fan-out.
        parent: the id of the caller's running call in whose handler it was made; empty if it was made outside of any.
        caller: the calling node, unverified; None for a client that is no node, as curl.
        gid: the group of the service; ``"local"`` for a node's own services.
        service, method: their names.
        key_id: the id of the cluster key of the sealed link by which it came; empty if it came by another way.
        principal: in whose name it is made: where it entered the cluster, whoever forwarded it; see `Principal`.
        trace: its trace context, as a frame has it: trace id, span id, flags, state; empty without one.
    """

    __slots__ = ("_deadline", "caller", "gid", "id", "key_id", "method", "parent", "principal", "service", "trace")

    def __init__(self, call: Call, deadline: float) -> None:
        self.id: str = call.id
        self.parent: str = call.parent
        self.caller: NodeAddress | None = call.caller
        self.gid: str = call.gid
        self.service: str = call.service
        self.method: str = call.method
        self.key_id: bytes = call.key_id
        self.principal: Principal = call.principal or ANYONE
        self.trace: bytes = call.trace
        self._deadline = deadline

    @property
    def is_authenticated(self) -> bool:
        """Whether it came over a sealed link, so that its caller holds a key of the cluster."""
        return bool(self.key_id)

    @property
    def deadline(self) -> float:
        """Its deadline on this node's Trio clock; ``inf`` without one."""
        try:
            return min(self._deadline, trio.current_effective_deadline())
        except RuntimeError:  # in a worker thread
            return self._deadline


class Ending:
    """The cancellation of a running call by another than its caller.

    Attributes:
        reason: the text for its caller.
        ended: set once its handler has ended.
    """

    __slots__ = ("ended", "reason")

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.ended: trio.Event = trio.Event()


class Endings(dict["AnsweredCall", Ending]):
    """The running calls of a node that others than their callers have cancelled."""

    def begin(self, call: AnsweredCall, reason: str) -> Ending:
        """Add a call, once."""
        return self.setdefault(call, Ending(reason))

    def end(self, call: AnsweredCall) -> Ending | None:
        """Remove a call whose handler has ended; None if it is none of them."""
        ending = self.pop(call, None)
        if ending is not None:
            ending.ended.set()
        return ending


class AnsweredCall(ABC):
    """A call with a running handler: the handler's position."""

    __slots__ = ()

    @property
    @abstractmethod
    def inner_depth(self) -> int:
        """The depth of the calls made by its handler; see `trionet.nesting`."""

    @abstractmethod
    def lineage(self, router: object) -> Lineage:
        """Return the lineage of the calls that its handler makes by way of the node of `router`."""

    @abstractmethod
    def current(self) -> CurrentCall:
        """Return its description for the handler."""

    def abandon(self) -> None:  # noqa: B027  only a call with a span has something to end
        """Handle that what its begin has returned is never awaited."""

    @abstractmethod
    def forwards_for(self, router: object) -> Principal | None:
        """Return in whose name its handler makes calls by way of the node of `router`; None for that node itself."""


class Tracing(Protocol[T_co]):
    """Makes the spans of the calls that a node answers.

    Attributes:
        provider: returns OpenTelemetry's tracer provider; None while none is set.
    """

    provider: Callable[[], object | None]

    @property
    def traced(self) -> Callable[..., T_co]:
        """Returns a prepared call that runs in a span; called with the arguments of one, and `is_rumor`."""


def answered_call() -> AnsweredCall | None:
    """Return the call that the running code answers; None if there is none."""
    found = position.get()
    while isinstance(found, Holding):
        found = found.outer
    return found if isinstance(found, AnsweredCall) else None


def current_call() -> CurrentCall:
    """Return the call that the running handler answers.

    Raises:
        RuntimeError: not called from within a handler.
    """
    found = answered_call()
    if found is None:
        raise RuntimeError("no call is being answered here")
    return found.current()


def is_awaitable(value: Any) -> bool:
    """Return whether `value` can be awaited, by its type: attributes of a user's object may raise."""
    return hasattr(type(value), "__await__")
