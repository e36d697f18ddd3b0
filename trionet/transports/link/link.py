"""One link of a node: its core, callers and handlers. Drivers are subclasses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from trionet.config import NodeConfig
from trionet.events import OrphanedCall
from trionet.log_limits import about, limited_log
from trionet.principal import Principal
from trionet.protocols.link.calls import IncomingCall, OutgoingCall
from trionet.protocols.link.chunks import Transfer
from trionet.protocols.link.core import LinkCore
from trionet.protocols.link.events import CancelReceived, Closed, CreditReceived, Event, PeerSilent, Retired, RoomFreed
from trionet.protocols.link.holdings import Account
from trionet.security.live_keys import LiveKeys
from trionet.transports.base import Handler

from .incoming import LinkServer
from .outgoing import LinkClient

if TYPE_CHECKING:
    from trionet.protocols.link.channel import PeerIdentity
    from trionet.protocols.link.handshake import Greeted

__all__ = ["Link", "LinkContext", "RefusedLinks"]

_log = limited_log(__name__)


class RefusedLinks:
    """A count of the links of one node that one side has refused, or whose peers broke the protocol."""

    def __init__(self) -> None:
        self.count: int = 0


class LinkContext(msgspec.Struct, frozen=True):
    """The parts that all links of a node share.

    Attributes:
        config: the node's configuration.
        handler: runs the peers' calls.
        on_orphan: called with each cancelled call whose end was not confirmed.
        account: the bytes that the links hold.
        refused: counts the peers that have broken the protocol, or a limit.
        keys: the node's keys, if there are any.
    """

    config: NodeConfig
    handler: Handler
    on_orphan: Callable[[OrphanedCall], None]
    account: Account
    refused: RefusedLinks
    keys: LiveKeys


class Link(ABC):
    """One connection, after the handshake.

    Attributes:
        core: its protocol.
        calls: makes calls on it.
        name: the peer's address, or a description.
        identity: who the peer is by its certificate; ``identity.name`` is the certificate's name. None without one.
        on_silent: called with the link once a second while calls on it wait for a sign of life.
    """

    __slots__ = ("_refused", "_server", "calls", "core", "identity", "name", "on_silent")

    def __init__(
        self, context: LinkContext, greeted: Greeted, now: float, name: str, start_soon: Callable[..., None]
    ) -> None:
        self.name: str = name
        self.identity: PeerIdentity | None = greeted.peer_identity
        self._refused = context.refused
        self.on_silent: Callable[[Link], None] = _ignored
        self.core: LinkCore = LinkCore(
            greeted,
            context.account.open(self._cut_off),
            name=name,
            now=now,
            idle_timeout_s=context.config.idle_timeout_s,
            max_containers=context.config.max_message_containers,
        )
        self.calls: LinkClient = LinkClient(self.core, self.push, name, context.on_orphan)
        principal = _principal_of(greeted)
        self._server = LinkServer(self.core, context.handler, context.keys, principal, start_soon, self.push)

    # ---- for drivers

    @abstractmethod
    def push(self) -> None:
        """Send the core's due frames, schedule its deadline, and handle its events."""

    @abstractmethod
    def disconnect(self, event: Closed) -> None:
        """Close the connection at once: the link has ended."""

    @property
    @abstractmethod
    def peer_host(self) -> object:
        """The peer's key in the limits of log lines."""

    def receive(self, data: bytes, now: float) -> None:
        """Handle input."""
        core, outbox = self.core, self.core.outbox
        answered, serve = self.calls.handle, self._server.serve
        for event in core.receive(data, now):
            if type(event) is IncomingCall:  # the two common kinds
                serve(event)
            elif isinstance(event, OutgoingCall):
                answered(event)
            else:
                self._handle(event)
            if outbox.is_due:
                self.push()
        self.push()

    def advance(self, now: float) -> None:
        """Handle the passage of time."""
        self.core.advance(now)
        if self.core.liveness.is_resting:
            self._server.rest()
        self.push()

    def handle_events(self) -> None:
        """Handle the core's other events."""
        events = self.core.events
        while events:
            self._handle(events.pop(0))

    def _handle(self, event: Event) -> None:
        match event:
            case CancelReceived():
                self._server.cancel(event.call)
            case CreditReceived():
                self._server.handle_credit(event.call)
            case Transfer():
                self._server.handle_sent(event)
            case RoomFreed():
                self.calls.handle_room()
                self._server.handle_room()
            case PeerSilent():
                if self.calls.are_waiting:
                    self.on_silent(self)
            case Retired():
                self.calls.retire()
            case Closed():
                self._handle_closed(event)

    def _handle_closed(self, event: Closed) -> None:
        if event.is_fault:
            extra = about(self.peer_host, event.reason)
            _log.warning("the link with %s is closed: %s", self.name, event.reason, extra=extra)
            self._refused.count += 1
        else:
            _log.debug("the link with %s is closed: %s", self.name, event.reason)
        self.calls.close(event.outgoing)
        self._server.close(event.incoming, event.transfers)
        self.disconnect(event)

    # ---- its end

    @property
    def idle_since(self) -> float | None:
        """The time of the end of the last call, on the driver's clock; None while one is in progress."""
        return self.core.liveness.used_at if self.core.is_idle else None

    def retire(self, reason: str) -> None:
        """Make no more calls; close the link when all calls in progress are answered."""
        self.core.retire(reason)
        self.push()

    def abort(self, reason: str = "this node has stopped") -> None:
        """Close the link at once; calls on it end with an error."""
        self.core.close(reason)
        self.handle_events()

    def _cut_off(self, reason: str) -> None:
        self.core.close(reason, is_fault=True)
        self.handle_events()


def _ignored(_: Link) -> None: ...


def _principal_of(greeted: Greeted) -> Principal | None:
    """Return the peer that has proven that it is a member: by its certificate, or else by a key."""
    if greeted.channel is None:
        return None
    identity = greeted.peer_identity
    return Principal.node(greeted.peer.address) if identity is None else Principal("certificate", identity.name)
