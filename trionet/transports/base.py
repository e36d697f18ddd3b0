"""What every transport fulfils.

A transport carries a call to another node and brings back its value, or raises what the caller may conclude:
`DefiniteError` when the call cannot have run, `IndefiniteError` when it may have. On the receiving node it hands each
call to a `Handler`. Foreign exceptions end here, translated ``from`` their cause; nothing is retried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import trio

from trionet.errors import (
    CallTimeout,
    ConnectionLost,
    DecodeError,
    DefiniteError,
    MessageTooLarge,
    OrphanedCalls,
    RemoteError,
    TrionetError,
    error_from_wire,
)
from trionet.events import OrphanedCall
from trionet.identity import NodeAddress
from trionet.message import Call
from trionet.trio_internals import time_left_s

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from trionet.codec import Codec
    from trionet.router import PreparedCall

    from .datagrams import Datagrams

__all__ = [
    "Clock",
    "Endpoint",
    "Handler",
    "Request",
    "Transport",
    "answered_error",
    "check_request_size",
    "check_size",
    "time_left_s",
]

_INDEFINITE_CODES = frozenset(kind.code for kind in (CallTimeout, RemoteError, ConnectionLost, OrphanedCalls))


class Handler(Protocol):
    """Who runs calls on the receiving node. `Router` is one."""

    def prepare(self, call: Call) -> PreparedCall:
        """Return `call` ready to run; see `Router.prepare`."""
        ...

    async def call(self, call: Call) -> Any:
        """Run `call` and return its value; see `Router.call`."""
        ...


class Request(msgspec.Struct, frozen=True):
    """A call ready to be sent, to one node or to many: its arguments are encoded once.

    Attributes:
        gid, service, method: what is called.
        args: the list of positional arguments, encoded by the transport's codec.
        kwargs: the mapping of keyword arguments, encoded likewise; None when there are none.
        id: chosen by the caller; one for a whole fan-out.
        caller: the calling node.
        depth: how deeply it is nested in others; see `trionet.nesting`.
        orphans: where to note the calls that were cancelled and not confirmed to have finished in time, if the caller
            asked for it; doesn't travel.
    """

    gid: str
    service: str
    method: str
    args: bytes
    kwargs: bytes | None
    id: str
    caller: NodeAddress
    depth: int = 0
    orphans: list[OrphanedCall] | None = None

    def received(self, codec: Codec, timeout_s: float | None) -> Call:
        """Return the call as the node itself receives it: it holds no place, and nests nothing deeper.

        Raises:
            DecodeError: the arguments are not values.
        """
        return Call(
            gid=self.gid,
            service=self.service,
            method=self.method,
            args=codec.decode(self.args),
            kwargs={} if self.kwargs is None else codec.decode(self.kwargs),
            id=self.id,
            caller=self.caller,
            timeout_s=timeout_s,
            inner_depth=self.depth,
        )


class Transport(Protocol):
    """A way for one node's calls to reach others.

    Attributes:
        codec: the wire format of arguments and values.
    """

    codec: Codec

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value. The caller's deadline and cancellation hold for it.

        Raises:
            NodeUnreachable: no connection could be made; nothing was sent.
            ConnectionLost: the connection broke after it was sent.
            TrionetError: what the node answered.
        """
        ...

    def stream(self, node: NodeAddress, request: Request) -> AbstractAsyncContextManager[AsyncGenerator[Any]]:
        """Run a method of `node` that is an async generator; gives an async iterator over its items.

        The far side goes no further ahead than some buffers hold, and leaving the block ends it there. Raises what
        `call` does, from the block's begin or from the iteration.
        """
        ...


class Clock(Protocol):
    """A clock for the protocols of one node, where that is not Trio's: on a simulated network."""

    def now(self) -> float:
        """Return the time in seconds; it never goes back."""
        ...

    def wake_at(self, when: float, action: Callable[[], None]) -> None:
        """Have ``action()`` called at `when`, in place of what was set before; ``math.inf`` for never."""
        ...


class Endpoint(Protocol):
    """A node's place on some network: calls come in, and go out through its transport."""

    @property
    def address(self) -> NodeAddress:
        """Where other nodes reach it."""
        ...

    @property
    def transport(self) -> Transport:
        """What its own calls go out by."""
        ...

    @property
    def datagrams(self) -> Datagrams | None:
        """What its datagrams go out and come in by; None where there is no such thing."""
        ...

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer calls until cancelled; those that it is answering are cancelled then, too."""
        ...

    def close(self) -> None:
        """Refuse new connections, at once."""
        ...

    async def drain(self) -> None:
        """Refuse new connections, and wait until the calls it is answering have been answered."""
        ...


def check_request_size(request: Request, limit_bytes: int) -> None:
    """Raise `MessageTooLarge` when the arguments of `request` are over the limit."""
    size = len(request.args) + len(request.kwargs or b"")
    if size > limit_bytes:
        raise MessageTooLarge(
            f"a request of {size:,} bytes is over the limit of {limit_bytes:,} bytes: max_message_bytes"
        )


def check_size(data: bytes, limit_bytes: int, what: str) -> bytes:
    """Return `data`, or raise `MessageTooLarge` when it is over the limit."""
    if len(data) > limit_bytes:
        raise MessageTooLarge(
            f"{what} of {len(data):,} bytes is over the limit of {limit_bytes:,} bytes: max_message_bytes"
        )
    return data


def answered_error(wire: Mapping[str, Any]) -> TrionetError:
    """Return the error that a node answered a call with.

    Only a proper one is a `DefiniteError`: the handler may have run, and who can't say what became of it may not say
    that nothing did.
    """
    try:
        error = error_from_wire(wire)
    except (DecodeError, AttributeError) as exc:
        return ConnectionLost(f"the node answered with an error that is none: {exc}")
    if not isinstance(error, DefiniteError):
        return error
    code = wire["code"]
    if code in _INDEFINITE_CODES or isinstance(code, bool):
        return ConnectionLost(f"the node answered with an error that contradicts itself: {code!r} is no definite code")
    if not all(isinstance(wire.get(name), str) for name in ("name", "text")):
        return ConnectionLost("the node answered with an error that is none: it has no name, or no text")
    return error
