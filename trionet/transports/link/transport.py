"""All links of one node: opened on first use, shared by all calls, closed when idle."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import KeyMismatch, NodeUnreachable
from trionet.log_limits import about, limited_log
from trionet.protocols.link.frames import Hello
from trionet.protocols.link.handshake import CertificateRefused, Handshake, HandshakeCut, HandshakeError, KeyRefused
from trionet.protocols.link.holdings import Account
from trionet.protocols.link.outgoing import LinkRetired
from trionet.protocols.link.refusals import Refusal
from trionet.protocols.recent import remember
from trionet.transports.base import STOPPED, Sending, check_request_size

from .dialing import Dialing, Waiting, closed_at_once
from .driver import LinkDriver
from .expiry import end_expired
from .handshakes import Handshakes
from .link import Link, LinkContext, RefusedLinks
from .precedence import takes_over
from .replacement import replace
from .traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.figures import LinkFigures
    from trionet.identity import NodeAddress
    from trionet.security.certificates import Certificates
    from trionet.security.live_keys import LiveKeys
    from trionet.transports.base import Handler, Request
    from trionet.transports.sent import Begin, Handle, Sent

__all__ = ["LinkTransport"]

_log = limited_log(__name__)

_ATTEMPTS: Final = 3
_WINDOW_MESSAGES: Final = 2
_MOST_HEARD: Final = 1 << 16


class LinkTransport(LinkDriver):
    """Calls over links. A driver's subclass makes the connections.

    Attributes:
        codec: the wire format of arguments and values.
        context: the shared parts of its links.
        is_member: returns whether an address is a member's. Only a member, or a node that has stated this address on a
            sealed link, must state the address that was dialed: other addresses may be aliases, as those of seeds.
        handshakes: makes the handshakes of its links.
        start_soon: starts a task that ends with the transport; from `run` on.
        on_other_key: called with the address of a peer and a key id, when a link with it has another key than the one
            that seals here: one of the two has missed a change.
    """

    def __init__(
        self,
        own: NodeAddress | None,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys,
        certificates: Certificates | None = None,
    ) -> None:
        self.codec: Codec = MESSAGEPACK.limited(config.max_message_containers)
        account = Account(config.held_bytes_limit)
        self.context: LinkContext = LinkContext(config, handler, on_orphan, account, RefusedLinks(), keys)
        hello = Hello(
            address=own,
            max_calls=config.max_calls_per_peer,
            window_bytes=min(_WINDOW_MESSAGES * config.max_message_bytes, account.share_bytes),
            max_message_bytes=config.max_message_bytes,
        )
        self._own = own
        self.is_member: Callable[[NodeAddress], bool] = _is_unknown
        self.on_other_key: Callable[[NodeAddress, bytes], None] = _ignored
        self._heard: dict[NodeAddress, None] = {}
        self._certificates = certificates
        self.handshakes: Handshakes = Handshakes(hello, keys, certificates)
        self._max_message_bytes = config.max_message_bytes
        self._links: dict[NodeAddress, Link] = {}
        self._open: dict[Link, NodeAddress | None] = {}
        self._dialing: dict[NodeAddress, Dialing] = {}
        self._connecting: dict[trio.lowlevel.Task, tuple[NodeAddress, Request]] = {}
        self._is_running = self._is_closing = False
        self._link_ended = trio.lowlevel.ParkingLot()
        self.traffic: Traffic = Traffic(self._open)
        self.start_soon: Callable[..., None]
        self._nursery: trio.Nursery | None = None

    # ---- running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make and keep links until cancelled; a driver closes those that are left."""
        async with trio.open_nursery() as self._nursery:
            self.start_soon = self._nursery.start_soon
            if self._certificates is not None:
                self._nursery.start_soon(end_expired, self._certificates, self._open.keys())
            self._is_running = True
            try:
                task_status.started()
                await self.keep_time()
            finally:
                self._is_running = False  # from now on the nursery may be closed to new tasks

    @property
    def is_accepting(self) -> bool:
        """Whether new links may be made."""
        return self._is_running and not self._is_closing

    # ---- calls

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value; see `Transport.call`."""
        if request.kwargs is not None or request.blobs or len(request.args) > self._max_message_bytes:
            check_request_size(request, self._max_message_bytes)
        for _ in range(_ATTEMPTS):
            link = self._links.get(node) or await self._link_for(node, request)
            if link is None:
                return await self.call_without_link(node, request)
            try:
                return await link.calls.call(request)
            except LinkRetired:  # nothing was sent
                self._drop(link)
        raise closed_at_once(node)

    def send_at_once(self, node: NodeAddress, request: Request, handle: Handle, begin: Begin = None) -> Sent | None:
        """Send `request` to `node` if there is a link; see `SendAtOnce`, and `LinkClient.send_at_once` for `begin`."""
        link, size = self._links.get(node), len(request.args) + len(request.kwargs or b"")
        if link is None or size > self._max_message_bytes:
            return None
        return link.calls.send_at_once(request, handle, begin)

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`; see `Transport.stream`."""
        check_request_size(request, self._max_message_bytes)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(_ATTEMPTS):
                link = await self._link_for(node, request)
                stream = self.stream_without_link(node, request) if link is None else link.calls.stream(request)
                with contextlib.suppress(LinkRetired):
                    items = await stack.enter_async_context(stream)
                    break
            else:
                raise closed_at_once(node)
            yield items

    def in_progress(self) -> list[Sending]:
        """Return the calls and streams that have not ended."""
        found = [Sending(node, request, "connecting", task) for task, (node, request) in self._connecting.items()]
        found += [
            Sending(node, one.request, "connecting", one.task)
            for node, dialing in self._dialing.items()
            for one in dialing.waiting
        ]
        open_links = ((link, node) for link, node in self._open.items() if node is not None)
        return found + [sending for link, node in open_links for sending in link.calls.in_progress(node)]

    # ---- connecting

    def connect_soon(
        self, node: NodeAddress, request: Request, handle: Callable[[NodeUnreachable | None], None]
    ) -> Waiting | None:
        """Have a link with `node` made for a call; see `ConnectSoon`."""
        if node in self._links or not (self.is_accepting and self.knows_links(node)):
            return None
        return Waiting(self._dialing.get(node) or self._start_dialing(node), request, handle)

    async def _link_for(self, node: NodeAddress, request: Request) -> Link | None:
        """Return a link to `node` for a call; see `_link_with`."""
        task = trio.lowlevel.current_task()
        self._connecting[task] = node, request
        try:
            return await self._link_with(node)
        finally:
            del self._connecting[task]

    def new_handshake(self, node: NodeAddress | None = None) -> Handshake:
        """Return the handshake of a new connection to `node`, or from a peer; it is sealed if the node seals."""
        if node is None:
            return self.handshakes.incoming()
        is_known = self.handshakes.are_sealed and (node in self._heard or self.is_member(node))
        return self.handshakes.outgoing(node, node if is_known else None)

    def has_dialed(self, node: NodeAddress) -> bool:
        """Whether there is a link with `node` that this node has made."""
        return any(peer == node and link.core.is_initiator for link, peer in self._open.items())

    async def _link_with(self, node: NodeAddress) -> Link | None:
        """Return a link to `node`; None for a node without links.

        Raises:
            NodeUnreachable: all connection attempts failed.
        """
        for _ in range(_ATTEMPTS):
            link = self._links.get(node)
            if link is not None and not link.core.is_retired:
                return link
            if not self.knows_links(node):
                return None
            await self._dialed(node)
        raise closed_at_once(node)

    async def _dialed(self, node: NodeAddress, *, is_sealed: bool = False) -> None:
        """Wait for a connection attempt to `node`; start one if none is in progress.

        Args:
            node: the peer.
            is_sealed: whether a sealed link is needed; else its failure does not matter.

        Raises:
            NodeUnreachable: the attempt failed.
        """
        dialing = self._dialing.get(node)
        if dialing is None:
            if not self.is_accepting:
                raise NodeUnreachable(STOPPED)
            dialing = self._start_dialing(node)
        await dialing.done.wait()
        if dialing.failure is not None and (is_sealed or not dialing.is_forced):
            raise type(dialing.failure)(dialing.failure.text)

    def _start_dialing(self, node: NodeAddress) -> Dialing:
        self.dial(node)  # in another task: this caller may be cancelled while others wait for the link
        is_forced = node in self.handshakes.must_seal and self.handshakes.is_sending_plain
        return self._dialing.setdefault(node, Dialing(is_forced=is_forced))

    def _redial(self, link: Link) -> None:
        """Try to replace a link whose peer is silent while calls wait: the first of the two that answers is used."""
        node = self._open.get(link)
        if node is not None and self._links.get(node) is link and self.is_accepting and node not in self._dialing:
            self._start_dialing(node)

    def dialed(self, node: NodeAddress, failure: NodeUnreachable | None = None) -> None:
        """Handle the end of a connection attempt."""
        self.handshakes.end_attempts(node)
        dialing = self._dialing.pop(node, None)
        if dialing is not None:
            dialing.end(failure)

    def not_dialed(self, node: NodeAddress, reason: Exception | str) -> None:
        """Handle a connection attempt that failed. A peer that has missed a change of keys may know an older one."""
        is_unknown = isinstance(reason, KeyRefused) and reason.refusal is Refusal.UNKNOWN_KEY
        if is_unknown and self.is_accepting and self.handshakes.note_unknown_key(node):
            self.dial(node)
            return
        text = f"no connection to {node}: {reason}"
        is_mismatch = isinstance(reason, KeyRefused) and reason.refusal is not Refusal.VERSION
        is_mismatch = is_mismatch or isinstance(reason, CertificateRefused)
        if isinstance(reason, HandshakeError) and not isinstance(reason, HandshakeCut):
            self.context.refused.count += 1
            _log.warning("%s", text, extra=about(node, str(reason)))
        self.dialed(node, (KeyMismatch if is_mismatch else NodeUnreachable)(text))

    @property
    def refused(self) -> int:
        """How many connections one side has refused, and how many links had peers that broke the protocol."""
        return self.context.refused.count

    def figures(self) -> LinkFigures:
        """Return the figures of its links."""
        return self.traffic.figures()

    def note_refused(self, peer: object, reason: str) -> None:
        """Count and log a connection of `peer` that began as a link and was refused."""
        self.context.refused.count += 1
        extra = about(peer, reason.partition(":")[0])
        _log.warning("a connection that began as a link was closed: %s (from %s)", reason, peer, extra=extra)

    def add(self, link: Link, node: NodeAddress | None) -> None:
        """Register a new link with `node`; None for a peer without an address."""
        self._open[link] = node
        link.on_silent = self._redial
        self.traffic.note_opened()
        peer = link.core.peer
        if self.handshakes.are_sealed and peer.address is not None:
            remember(self._heard, peer.address, None, _MOST_HEARD)
            if self.handshakes.is_other_key(link.core.key_id):
                self.on_other_key(peer.address, link.core.key_id)
        if node is not None:
            self._prefer(node, link)
            if link.core.is_initiator:
                self.dialed(node)
        lives = self.handshakes.lives
        if lives is not None and link.core.key_id and peer.address is not None and peer.life is not None:
            lives.prove(peer.address, peer.life)

    def _prefer(self, node: NodeAddress, link: Link) -> None:
        """Use `link` for calls to `node` from now on, unless the other one takes precedence."""
        other = self._links.get(node)
        if other is not None and other.core.liveness.is_asked:
            other.retire("replaced")
        if other is None or takes_over(link.core, other.core, self._own, node):
            self._links[node] = link

    def _drop(self, link: Link) -> None:
        """Make no more calls on `link`."""
        node = self._open.get(link)
        if node is not None and self._links.get(node) is link:
            del self._links[node]

    def remove(self, link: Link) -> None:
        """Handle the end of a link."""
        if link in self._open:
            self._drop(link)
            del self._open[link]
            self.traffic.note_ended(link)
            self._link_ended.unpark_all()

    # ---- other keys

    async def replace_links(self, key_id: bytes) -> None:
        """Replace the links that are sealed with a retired key: nobody who holds only this one has a link then."""
        await replace(lambda: self._sealed_with(key_id), lambda node: self.renew_link(node, key_id.__ne__))

    async def renew_link(self, node: NodeAddress, is_kept: Callable[[bytes], bool]) -> None:
        """Have new calls to `node` go over another link, which is sealed, if that one's key, by its id, is not kept.

        Raises:
            NodeUnreachable: there is none.
        """
        link = self._links.get(node)
        if link is not None and not is_kept(link.core.key_id):
            await self._dialed(node)

    async def call_sealed(self, node: NodeAddress, request: Request, is_kept: Callable[[bytes], bool]) -> Any:
        """Make a call over a sealed link, whose key, by its id, is kept, also while this node sends plainly.

        Raises the errors of `call`.
        """
        check_request_size(request, self._max_message_bytes)
        for _ in range(_ATTEMPTS):
            link = self._links.get(node)
            if link is None or link.core.is_retired or not is_kept(link.core.key_id):
                self.handshakes.must_seal.add(node)
                try:
                    await self._dialed(node, is_sealed=True)
                finally:
                    self.handshakes.must_seal.discard(node)
            else:
                with contextlib.suppress(LinkRetired):  # nothing was sent
                    return await link.calls.call(request)
        raise closed_at_once(node)

    def _sealed_with(self, key_id: bytes) -> list[tuple[Link, NodeAddress | None]]:
        """Return the links that are sealed with a key, each with the address of its peer."""
        return [(link, node) for link, node in self._open.items() if link.core.key_id == key_id]

    # ---- closing

    def part(self, reason: str) -> None:
        """Retire all open links: the peers make no more calls on them."""
        for link in list(self._open):
            link.retire(reason)

    def retire(self, reason: str) -> None:
        """Accept and make no more calls; links close when all calls in progress are answered."""
        self._is_closing = True
        self.part(reason)

    async def drained(self) -> None:
        """Wait until the last link has closed."""
        while self._open:
            await self._link_ended.park()

    def abort(self, reason: str = "this node has stopped") -> None:
        """Close all links at once."""
        for link in list(self._open):
            link.abort(reason)


def _ignored(_: NodeAddress, __: bytes) -> None: ...


def _is_unknown(_: NodeAddress) -> bool:
    return False
