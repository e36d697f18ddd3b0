"""A node's place on a memory fabric: its links, its datagrams, its clock, and what holds it back.

Invariant: a node that is down sends nothing and takes nothing, for good; one that is held sends, takes and is woken
for nothing until it goes on, and then for everything, in order.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import NodeUnreachable, TrionetError
from trionet.transports.base import check_request_size
from trionet.transports.datagrams import QueuedDatagrams
from trionet.transports.link.frames import Hello, decode_frame, encode_frame
from trionet.transports.link.holdings import Account
from trionet.transports.link.outgoing import LinkRetired

from .clock import NodeClock
from .lane import Lane
from .link import MemoryLink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress
    from trionet.transports.base import Handler, Request

    from .fabric import MemoryFabric
    from .randomness import RandomByTarget
    from .rules import Message

__all__ = ["MemoryEndpoint", "MemoryTransport"]

_ATTEMPTS: Final = 3
_FRESH_S: Final = 5.0
_WINDOW_MESSAGES: Final = 2


class _Dialing:
    """An attempt to make a link, for all who wait for it."""

    def __init__(self, number: int, lane: Lane, begun_at: float) -> None:
        self.number = number
        self.lane = lane
        self.begun_at = begun_at
        self.done = trio.Event()
        self.failure: str | None = None


class MemoryEndpoint:
    """Fulfils `trionet.transports.base.Endpoint` on a fabric.

    Attributes:
        address: where it is reached.
        transport: makes its calls.
        datagrams: sends and takes its datagrams; None where it is configured to have none.
        clock: its clock.
        max_containers: how many containers it takes in one message.
        handler, hello, on_orphan, account: what its links need.
        is_down: whether it is gone for good.
        held: what waits until it goes on; None while it isn't held.
        lags: each gives seconds after which it gets to what has come; they add up.
        is_prompt: whether it gets to everything at once: it is neither held nor slow nor down.
        is_mute: whether it sends nothing: it is held or down.
        random_to: the random numbers of what it sends, by target.
        app: None: there is no HTTP.
    """

    app = None

    def __init__(
        self,
        fabric: MemoryFabric,
        address: NodeAddress,
        handler: Handler,
        config: NodeConfig,
        on_orphan: Callable[[OrphanedCall], None],
    ) -> None:
        self.address = address
        self.handler = handler
        self.on_orphan = on_orphan
        self.account: Account = Account(config.held_bytes_limit)
        self.hello: Hello = Hello(
            address=address,
            max_calls=config.max_calls_per_peer,
            window_bytes=min(_WINDOW_MESSAGES * config.max_message_bytes, self.account.share_bytes),
            max_message_bytes=config.max_message_bytes,
        )
        self.is_down: bool = False
        self.held: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None
        self.lags: list[Callable[[], float]] = []
        self.is_prompt: bool = True
        self.is_mute: bool = False
        self.random_to: RandomByTarget = fabric.randoms_of(address)
        self.fabric = fabric
        self.clock: NodeClock = NodeClock(self)
        self.max_containers: int = config.max_message_containers
        self.transport: MemoryTransport = MemoryTransport(self, config.max_message_bytes)
        self.datagrams: QueuedDatagrams | None = None
        if config.datagrams:
            self.datagrams = QueuedDatagrams(functools.partial(fabric.send_datagram, self))
        self._connect_timeout_s = config.connect_timeout_s
        self._nursery: trio.Nursery | None = None
        self._links: dict[int, MemoryLink] = {}
        self._by_peer: dict[NodeAddress, MemoryLink] = {}
        self._dialing: dict[NodeAddress, _Dialing] = {}
        self._is_closed = False
        self._link_ended = trio.lowlevel.ParkingLot()
        self._holds = 0
        self._free_at = 0.0

    # ---- its life

    @property
    def nursery(self) -> trio.Nursery:
        """Where its handlers run."""
        assert self._nursery is not None
        return self._nursery

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer calls until cancelled."""
        self.fabric.endpoints[self.address] = self
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self.bring_down("this node has stopped")

    def bring_down(self, reason: str, *, is_silent: bool = False) -> None:
        """End it: its links break, and nothing more is taken; see `MemoryFabric.crash`."""
        if self.is_down:
            return
        fabric = self.fabric
        if fabric.endpoints.get(self.address) is self:
            del fabric.endpoints[self.address]
        self._holds, self.held = 0, None  # what is stopped can still be killed, and its connections break
        self.is_mute = False
        for link in list(self._links.values()):
            if is_silent:
                link.end(reason)
            else:
                link.reset(reason)
        for dialing in self._dialing.values():
            dialing.failure = reason
            dialing.done.set()
        self._dialing.clear()
        self.is_down = self.is_mute = True
        self.is_prompt = False
        self._is_closed = True
        self._nursery = None

    def close(self) -> None:
        """Refuse new calls, at once."""
        if not self._is_closed:
            self._is_closed = True
            for link in list(self._links.values()):
                link.retire("the node is stopping")

    async def drain(self) -> None:
        """Refuse new calls, and wait until those it is answering have been answered."""
        self.close()
        while self._links:
            await self._link_ended.park()

    # ---- what holds it back

    def hold(self) -> None:
        """Let it stand still, as SIGSTOP does, until it is released as often as it was held."""
        if self.is_down:
            return
        self._holds += 1
        if self.held is None:
            self.held = []
            self.is_mute = True
            self.is_prompt = False

    def release(self) -> None:
        """Let it go on, where nothing else holds it."""
        self._holds = max(0, self._holds - 1)
        if self._holds:
            return
        held, self.held = self.held, None
        self.is_mute = self.is_down
        self._judge_promptness()
        for action, args in held or ():
            self.admit(action, *args)

    def keep(self, action: Callable[..., None], *args: Any) -> None:
        """Do what this node wanted done while it was mute once it goes on; never if it is down."""
        if self.held is not None:
            self.held.append((action, args))

    def add_lag(self, lag: Callable[[], float]) -> None:
        """Have it get to what has come only after ``lag()`` seconds, one after the other, besides what lags it has."""
        self.lags.append(lag)
        self._judge_promptness()

    def remove_lag(self, lag: Callable[[], float]) -> None:
        """Take a lag away."""
        self.lags.remove(lag)
        self._judge_promptness()

    def _judge_promptness(self) -> None:
        is_free = self.held is None and not self.lags and self._free_at <= self.fabric.pump.time()
        self.is_prompt = is_free and not self.is_down

    def admit(self, action: Callable[..., None], *args: Any) -> None:
        """Do what has become due for this node: now, or when it gets to it."""
        now = self.fabric.pump.time()
        if self.is_down:
            return
        if self.held is not None:
            self.held.append((action, args))
        elif self.lags or self._free_at > now:
            self._free_at = max(self._free_at, now + sum(lag() for lag in self.lags))
            self.fabric.pump.at(self._free_at, self._admitted, action, args)
        else:
            self.is_prompt = True
            action(*args)

    def _admitted(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.held is not None:
            self.held.append((action, args))
        elif not self.is_down:
            action(*args)

    def call_at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Have ``action(*args)`` called at `when` on Trio's clock, if this node can run then."""
        self.fabric.pump.at(when, self._due, action, args)

    def _due(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.is_prompt:
            action(*args)
        else:
            self.admit(action, *args)

    # ---- what comes in

    def take(self, message: Message) -> None:
        """A message came."""
        observer = self.fabric.observer
        if observer is not None:
            observer.delivered(message, self.fabric.pump.time())
        if not message.link:
            if self.datagrams is not None:
                self.datagrams.put(message.data)
            return
        link = self._links.get(message.link)
        if link is None:
            self._take_for_no_link(message)
        elif message.kind == "reset":
            link.end("the other side closed it")
        else:
            link.take(message.data)

    def _take_for_no_link(self, message: Message) -> None:
        match message.kind:
            case "connect":
                self._take_connect(message)
            case "accept":
                self._take_accept(message)
            case "refuse":
                self._fail(message.source, message.link, f"nobody listens on {message.source}")
            case _:
                self.fabric.answer(message, "reset")

    def _take_connect(self, message: Message) -> None:
        if self._is_closed or self._nursery is None:
            self.fabric.answer(message, "refuse")
            return
        hello = decode_frame(message.data)
        assert isinstance(hello, Hello)
        lane = Lane(self.fabric, self, message.source, message.link)
        link = MemoryLink(self, message.link, message.source, hello, lane, is_initiator=False)
        lane.send("accept", encode_frame(self.hello))
        self._keep(link)

    def _take_accept(self, message: Message) -> None:
        peer = message.source
        dialing = self._dialing.get(peer)
        if dialing is None or dialing.number != message.link or self._nursery is None:
            self.fabric.answer(message, "reset")
            return
        del self._dialing[peer]
        hello = decode_frame(message.data)
        assert isinstance(hello, Hello)
        link = MemoryLink(self, message.link, peer, hello, dialing.lane, is_initiator=True)
        link.round_trip.add(self.fabric.pump.time() - dialing.begun_at)
        self._keep(link)
        dialing.done.set()

    def _keep(self, link: MemoryLink) -> None:
        """Have `link`; prefer it for calls, as `LinkTransport` does."""
        self._links[link.number] = link
        other = self._by_peer.get(link.peer)
        if other is not None and other.is_usable and link.opened_at - other.opened_at < _FRESH_S:
            smaller_is_own = self.address < link.peer
            if other.is_initiator == smaller_is_own and link.is_initiator != other.is_initiator:
                return
        self._by_peer[link.peer] = link

    def forget_link(self, link: MemoryLink) -> None:
        """A link has ended."""
        self._links.pop(link.number, None)
        if self._by_peer.get(link.peer) is link:
            del self._by_peer[link.peer]
        self._link_ended.unpark_all()

    # ---- what goes out

    def link_to(self, node: NodeAddress) -> MemoryLink | None:
        """Return a link that calls can be made on, if there is one."""
        link = self._by_peer.get(node)
        return link if link is not None and link.is_usable else None

    async def dialed(self, node: NodeAddress) -> None:
        """Have a link made.

        Raises:
            NodeUnreachable: none can be made.
        """
        dialing = self._dialing.get(node)
        if dialing is None:
            if self._is_closed or self._nursery is None:
                raise NodeUnreachable("this node has stopped")
            number = self.fabric.new_link()
            now = self.fabric.pump.time()
            dialing = self._dialing[node] = _Dialing(number, Lane(self.fabric, self, node, number), now)
            dialing.lane.send("connect", encode_frame(self.hello))
            text = f"no connection to {node} within {self._connect_timeout_s:g} s"
            self.call_at(now + self._connect_timeout_s, self._fail, node, number, text)
        await dialing.done.wait()
        if dialing.failure is not None:
            raise NodeUnreachable(dialing.failure)

    def _fail(self, node: NodeAddress, number: int, failure: str) -> None:
        dialing = self._dialing.get(node)
        if dialing is not None and dialing.number == number:
            del self._dialing[node]
            dialing.failure = failure
            dialing.done.set()


class MemoryTransport:
    """Calls to nodes on the same fabric."""

    def __init__(self, endpoint: MemoryEndpoint, max_message_bytes: int) -> None:
        self.codec: Codec = MESSAGEPACK.limited(endpoint.max_containers)
        self._endpoint = endpoint
        self._max_message_bytes = max_message_bytes

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value; see `Transport.call`."""
        check_request_size(request, self._max_message_bytes)
        fabric, own = self._endpoint.fabric, self._endpoint.address
        observer, time = fabric.observer, fabric.pump.time
        if observer is None:
            return await self._call(node, request)
        observer.called(own, node, request, time())
        try:
            value = await self._call(node, request)
        except TrionetError as exc:
            observer.answered(own, node, request, exc, time())
            raise
        except trio.Cancelled:
            observer.cancelled(own, node, request, time())
            raise
        observer.answered(own, node, request, None, time())
        return value

    async def _call(self, node: NodeAddress, request: Request) -> Any:
        for _ in range(_ATTEMPTS):
            link = self._endpoint.link_to(node) or await self._link_with(node)
            link.watch()
            try:
                return await link.calls.call(request)
            except LinkRetired:  # nothing was sent
                continue
        raise NodeUnreachable(f"{node} closes every link at once")

    async def _link_with(self, node: NodeAddress) -> MemoryLink:
        for _ in range(_ATTEMPTS):
            link = self._endpoint.link_to(node)
            if link is not None:
                return link
            await self._endpoint.dialed(node)
        raise NodeUnreachable(f"{node} closes every link at once")

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`; see `Transport.stream`."""
        check_request_size(request, self._max_message_bytes)
        observer, own = self._endpoint.fabric.observer, self._endpoint.address
        if observer is None:
            async with self._stream(node, request) as items:
                yield items
            return
        observer.called(own, node, request, trio.current_time())
        error: TrionetError | None = None
        try:
            async with self._stream(node, request) as items:
                yield items
        except TrionetError as exc:
            error = exc
            raise
        except trio.Cancelled:
            observer.cancelled(own, node, request, trio.current_time())
            observer = None
            raise
        finally:
            if observer is not None:
                observer.answered(own, node, request, error, trio.current_time())

    @asynccontextmanager
    async def _stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        link = await self._link_with(node)
        link.watch()
        try:
            async with link.calls.stream(request) as items:
                yield items
        except LinkRetired:
            raise NodeUnreachable(f"{node} closes every link at once") from None
