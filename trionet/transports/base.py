"""The protocols of transports and networks.

A transport sends a call to another node and returns its value, or raises an error: a `DefiniteError` if the call can't
have run, an `IndefiniteError` if it may have. The receiving node passes each call to a `Handler`. Transports translate
foreign exceptions ``from`` their cause, and retry nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec
import trio

from trionet.error_wire import error_from_wire
from trionet.errors import (
    CallCancelled,
    CallTimeout,
    ConnectionLost,
    DecodeError,
    DefiniteError,
    MessageTooLarge,
    OrphanedCalls,
    RemoteError,
    TrionetError,
    UnexpectedAnswer,
)
from trionet.identity import NodeAddress
from trionet.message import Call
from trionet.principal import Principal
from trionet.trio_internals import time_left_s

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from quart_trio import QuartTrio

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.figures import LinkFigures
    from trionet.prepared_call import PreparedCall
    from trionet.router import Method
    from trionet.security.certificates import Certificates
    from trionet.security.live_keys import LiveKeys

    from .clock import Clock
    from .datagrams import SourcedDatagrams
    from .shown import Pages

    class Described(Protocol):
        """The open links of a node."""

        @property
        def open(self) -> int:
            """Their number."""

        def described(self, most: int) -> dict[str, dict[str, Any]]:
            """Return what at most `most` of them are, as plain data."""

    class Lives(Protocol):
        """Knows which nodes are proven to be alive: what their datagrams need before they are handled."""

        def own(self) -> tuple[int, int] | None:
            """Return this node's boot id, and the counter of its last datagram: its `Hello.life`."""
            ...

        def prove(self, node: NodeAddress, life: tuple[int, int]) -> None:
            """Handle the life that `node` has stated in the hello of a sealed link, a moment ago."""
            ...


__all__ = [
    "STOPPED",
    "Endpoint",
    "Handler",
    "Links",
    "Network",
    "Request",
    "Sending",
    "Transport",
    "answered_error",
    "check_request_size",
    "check_size",
    "time_left_s",
]

STOPPED: Final = "this node has stopped: make its calls within the block of 'async with trionet.open_node(...)'"
"""The text of calls that a node can no longer make."""

_INDEFINITE_CODES = frozenset(
    kind.code for kind in (CallTimeout, RemoteError, ConnectionLost, OrphanedCalls, CallCancelled, UnexpectedAnswer)
)


class Handler(Protocol):
    """Runs calls on the receiving node, as `Router` does."""

    def prepare(self, call: Call) -> PreparedCall:
        """Return `call` ready to run; see `Router.prepare`."""

    def find(self, gid: str, service: str, method: str) -> Method:
        """Return a method; see `Router.find`."""

    async def call(self, call: Call) -> Any:
        """Run `call` and return its value; see `Router.call`."""


class Request(msgspec.Struct, frozen=True):
    """A call ready to be sent, to one node or to many, with encoded arguments.

    Attributes:
        gid, service, method: the names of the method.
        args: the list of positional arguments, encoded by the transport's codec.
        kwargs: the mapping of keyword arguments, encoded likewise; None when there are none.
        id: chosen by the caller; one for a whole fan-out.
        caller: the calling node; None for a client that is no node.
        depth: its depth of nesting in other calls; see `trionet.nesting`.
        principal: in whose name it is forwarded; None for the caller.
        parent: the id of the caller's running call in whose handler it is made; empty outside of any.
        trace: its trace context; see `trionet.trace_headers`. Empty for none.
        blobs: the blobs of the arguments, then of those by keyword; see `trionet.blobs`.
    """

    gid: str
    service: str
    method: str
    args: bytes
    kwargs: bytes | None
    id: str
    caller: NodeAddress | None
    depth: int = 0
    principal: Principal | None = None
    parent: str = ""
    trace: bytes = b""
    blobs: Sequence[bytes] = ()

    def received(self, codec: Codec, timeout_s: float | None, own: Principal | None = None) -> Call:
        """Return the call for this node itself: it holds no slot, and adds no depth; `own` is this node.

        Raises:
            DecodeError: the arguments can't be decoded.
        """
        blobs = iter(self.blobs) if self.blobs else None
        return Call(
            gid=self.gid,
            service=self.service,
            method=self.method,
            args=codec.decode(self.args, blobs),
            kwargs={} if self.kwargs is None else codec.decode(self.kwargs, blobs),
            id=self.id,
            caller=self.caller,
            timeout_s=timeout_s,
            inner_depth=self.depth,
            principal=self.principal or own,
            parent=self.parent,
            trace=self.trace,
        )


class Sending(NamedTuple):
    """A call in progress at its caller.

    Attributes:
        node: the node that is called.
        request: the call.
        state: ``connecting``, ``queued``, ``sent`` or ``cancelled``; see `trionet.call_tree.WaitsFor`.
        task: the task that waits for it; None if none does at the moment.
    """

    node: NodeAddress
    request: Request
    state: str
    task: trio.lowlevel.Task | None = None


class Transport(Protocol):
    """Sends the calls of one node.

    Attributes:
        codec: the wire format of arguments and values.
    """

    codec: Codec

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value, under the caller's deadline and cancellation.

        Raises:
            NodeUnreachable: no connection could be made; nothing was sent.
            ConnectionLost: the connection broke after sending.
            TrionetError: the answer of the node.
        """

    def stream(self, node: NodeAddress, request: Request) -> AbstractAsyncContextManager[AsyncGenerator[Any]]:
        """Run a method of `node` that is an async generator; yield an async iterator over its items.

        The generator is at most some buffers ahead, and ends with the block. The block's beginning, or the iteration,
        raises the errors of `call`.
        """

    def in_progress(self) -> list[Sending]:
        """Return the calls and streams that have not ended."""


class Links(Transport, Protocol):
    """Sends calls of one node over its links.

    Attributes:
        on_other_key: called with the address of a peer and a key id, when a link with it has another key than the one
            that seals here: one of the two has missed a change.
    """

    on_other_key: Callable[[NodeAddress, bytes], None]

    def figures(self) -> LinkFigures:
        """Return the figures of its links."""

    @property
    def traffic(self) -> Described:
        """Its open links."""

    async def replace_links(self, key_id: bytes) -> None:
        """Replace the links of a retired key; see `LinkTransport.replace_links`."""

    async def call_sealed(self, node: NodeAddress, request: Request, is_kept: Callable[[bytes], bool]) -> Any:
        """Make a call over a sealed link whose key is kept, and over no other; see `Transport.call` for its errors."""

    async def renew_link(self, node: NodeAddress, is_kept: Callable[[bytes], bool]) -> None:
        """Have new calls to `node` go over another link, if that one's key is not kept."""


class Endpoint(Protocol):
    """A node's place on a network: receives calls, and sends its own through its transport.

    Attributes:
        pages: what it shows over HTTP, where there is HTTP; None until it is set, before `serve`.
    """

    pages: Pages | None

    @property
    def clock(self) -> Clock:
        """The clock of the node's protocols."""

    @property
    def address(self) -> NodeAddress:
        """The address of the node, with the real port."""

    @property
    def has_real_address(self) -> bool:
        """Whether its address is one of a machine, and has the meaning that it has there: 127.0.0.1 is this machine."""

    @property
    def transport(self) -> Transport:
        """Sends the node's calls."""

    @property
    def datagrams(self) -> SourcedDatagrams | None:
        """Sends and receives the node's datagrams; None without any."""

    @property
    def keys(self) -> LiveKeys:
        """The keys that seal the node's traffic, if there are any."""

    @property
    def links(self) -> Links | None:
        """The node's links; None where there are none."""

    @property
    def requests_refused(self) -> int:
        """The requests over HTTP that have been refused: see `NodeStatistics`."""

    @property
    def app(self) -> QuartTrio | None:
        """The app of the HTTP face; None without one."""

    @property
    def connections_refused(self) -> int:
        """The number of connections that were refused before their peers had proven who they are."""

    @property
    def certificates(self) -> Certificates | None:
        """The node's certificate, and what its peers' must fulfil; None without any."""

    def set_members(self, is_member: Callable[[NodeAddress], bool]) -> None:
        """Use ``is_member(address)`` to tell which addresses are members', whose links must state them."""

    def set_lives(self, lives: Lives) -> None:
        """Exchange proofs of life with the peers of sealed links."""

    @property
    def reloads(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Async functions that read its files again, by what these hold; see `Reloading`."""

    async def can_connect(self, node: NodeAddress) -> bool:
        """Return whether this node can make a connection to the address of `node`, or has one that it has made."""

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer calls until cancelled; calls in progress are cancelled then, too."""

    def close(self) -> None:
        """Refuse new connections, at once."""

    async def drain(self) -> None:
        """Refuse new connections, and wait until the calls in progress have been answered."""


class Network(Protocol):
    """Opens the endpoints of nodes.

    Attributes:
        default_launcher: the name of the launcher for the nodes that a node spawns, without another setting.
    """

    default_launcher: str

    async def open_endpoint(
        self,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys | None = None,
    ) -> Endpoint:
        """Return a new endpoint at the configured address.

        Args:
            config: the node's.
            handler: runs the calls that come in.
            on_orphan: called with each cancelled call whose handler did not confirm its end in time.
            keys: the node's keys, with which all its traffic is sealed; None for none, for ever.

        Raises:
            AddressInUse: the address is in use.
            ConfigError: the address can't be used.
        """

    def on_open(self, node: Any) -> None:
        """Handle a new node, before it serves any call."""


def check_request_size(request: Request, limit_bytes: int) -> None:
    """Raise `MessageTooLarge` when the arguments of `request` are over the limit."""
    size = len(request.args) + len(request.kwargs or b"") + sum(map(len, request.blobs))
    _check(size, limit_bytes, "a request")


def check_size(data: bytes, limit_bytes: int, what: str) -> bytes:
    """Return `data`, or raise `MessageTooLarge` when it is over the limit."""
    _check(len(data), limit_bytes, what)
    return data


def _check(size: int, limit_bytes: int, what: str) -> None:
    if size > limit_bytes:
        raise MessageTooLarge(f"{what} of {size:,} bytes is over the limit of {limit_bytes:,} bytes: max_message_bytes")


def answered_error(wire: Mapping[str, Any]) -> TrionetError:
    """Return the error in a node's answer.

    A malformed or contradictory one is a `ConnectionLost`, because the handler may have run.
    """
    try:
        error = error_from_wire(wire)
    except (DecodeError, AttributeError) as exc:
        return ConnectionLost(f"the node answered with a malformed error: {exc}")
    if not isinstance(error, DefiniteError):
        return error
    code = wire["code"]
    if code in _INDEFINITE_CODES or isinstance(code, bool):
        return ConnectionLost(f"the node answered with a contradictory error: {code!r} is no definite code")
    if not all(isinstance(wire.get(name), str) for name in ("name", "text")):
        return ConnectionLost("the node answered with a malformed error: it has no name, or no text")
    return error
