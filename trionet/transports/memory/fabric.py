"""What connects the nodes of one process: it routes messages, and asks rules what becomes of each.

Every message is serialised and parsed again, so that nothing passes here that the wire would lose. Invariants: a
message is delivered by the pump, never by who sends it; the verdicts on what goes from one node to another follow from
the seed, the two addresses and the order of the messages between them, whatever else goes on.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trionet.errors import AddressInUse
from trionet.identity import NodeAddress

from .endpoint import MemoryEndpoint
from .pump import Pump
from .randomness import RandomByTarget
from .rules import DROP, Message, judge_by

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from trionet.config import NodeConfig
    from trionet.errors import TrionetError
    from trionet.events import OrphanedCall
    from trionet.transports.base import Handler, Request
    from trionet.transports.datagrams import QueuedDatagrams

    from .rules import Judge, Rule

__all__ = ["MemoryFabric", "Observer"]

_NO_ANSWER = ("refuse", "reset")


class Observer(Protocol):
    """Who is told of what goes on on a fabric. Times are on Trio's clock."""

    def sent(self, message: Message, at: float) -> None:
        """A message was sent."""

    def delivered(self, message: Message, at: float) -> None:
        """It was delivered."""

    def dropped(self, message: Message, at: float) -> None:
        """It got lost; what belongs to a connection will be sent again."""

    def called(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """A node began a call."""

    def answered(
        self, source: NodeAddress, target: NodeAddress, request: Request, error: TrionetError | None, at: float
    ) -> None:
        """It has ended; not told of calls that were cancelled."""

    def cancelled(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """It was cancelled, and has been confirmed to be so, or given up."""

    def link_lost(self, source: NodeAddress, target: NodeAddress, reason: str, at: float) -> None:
        """A connection has ended at one of its sides, while calls that this side has made were in progress on it."""


class MemoryFabric:
    """Connects the in-memory endpoints of one process.

    Attributes:
        endpoints: the nodes that can be reached, by address.
        dark: hosts without power: what is sent to these addresses is lost, where else it would be refused.
        rules: what may happen to a message; the first one is asked first. `add_rules` and `remove_rules` change them.
        judge: says after how many seconds a message is to be delivered, or `DROP`: what the rules say.
        observer: is told what goes on.
        messages: how many have been sent on it.
        on_open: told of each node that is opened on it, before the node does anything.
        watched: gives what is to answer calls in the place of a node's handler: somebody who watches it.
        pump: calls what is to be called at a time.
        default_launcher: nodes spawn others in this process.
    """

    default_launcher = "in_process"

    def __init__(self, *, seed: object = 0, observer: Observer | None = None) -> None:
        self.endpoints: dict[NodeAddress, MemoryEndpoint] = {}
        self.dark: set[NodeAddress] = set()
        self.rules: tuple[Rule, ...] = ()
        self.judge: Judge = judge_by(self.rules)
        self.observer = observer
        self.on_open: Callable[[Any], None] = _ignore
        self.watched: Callable[[NodeAddress, Handler], Handler] = _as_it_is
        self.pump: Pump = Pump()
        self._seed = seed
        self._free_ports = itertools.count(1)
        self.messages: int = 0
        self._links = 0
        self._answering: dict[NodeAddress, RandomByTarget] = {}

    def endpoint(
        self, config: NodeConfig, handler: Handler, on_orphan: Callable[[OrphanedCall], None] | None = None
    ) -> MemoryEndpoint:
        """Return a place for a node, at the configured address; port 0 takes the next free one.

        Raises:
            AddressInUse: another node is there.
        """
        address = NodeAddress(config.ip, config.port or next(self._free_ports))
        if address in self.endpoints:
            raise AddressInUse(f"{address} is already in use")
        return MemoryEndpoint(self, address, self.watched(address, handler), config, on_orphan or _ignore)

    async def open_endpoint(
        self, config: NodeConfig, handler: Handler, on_orphan: Callable[[OrphanedCall], None]
    ) -> MemoryEndpoint:
        """Return a place for a node; see `endpoint`."""
        return self.endpoint(config, handler, on_orphan)

    @contextmanager
    def rule(self, *rules: Rule) -> Generator[None]:
        """Have `rules` asked before all others, within the block."""
        self.add_rules(*rules)
        try:
            yield
        finally:
            self.remove_rules(*rules)

    def add_rules(self, *rules: Rule) -> None:
        """Have `rules` asked before all others."""
        self._set_rules([*rules, *self.rules])

    def remove_rules(self, *rules: Rule) -> None:
        """Ask `rules` no more."""
        self._set_rules([one for one in self.rules if not any(one is rule for rule in rules)])

    def _set_rules(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self.judge = judge_by(self.rules)

    def crash(self, address: NodeAddress, *, is_silent: bool = False) -> None:
        """End a node's part: nothing that it says from now on is heard.

        Args:
            address: the node's.
            is_silent: whether its host goes down, too: nobody tells the others that connections are broken.
        """
        endpoint = self.endpoints.get(address)
        if endpoint is not None:
            endpoint.bring_down("the node has crashed", is_silent=is_silent)
        if is_silent:
            self.dark.add(address)

    @property
    def datagrams(self) -> dict[NodeAddress, QueuedDatagrams]:
        """Who takes datagrams, by address."""
        return {node: one.datagrams for node, one in self.endpoints.items() if one.datagrams is not None}

    def carry(self, to: NodeAddress, data: bytes) -> None:
        """Take a datagram that comes from nowhere to whoever is there, at once."""
        endpoint = self.endpoints.get(to)
        if endpoint is not None and endpoint.datagrams is not None:
            endpoint.datagrams.put(data)

    # ---- for endpoints

    def randoms_of(self, source: NodeAddress) -> RandomByTarget:
        """Return the random numbers of what `source` sends."""
        return RandomByTarget(f"{self._seed} {source}")

    def new_link(self) -> int:
        """Return a connection's number."""
        self._links += 1
        return self._links

    def new_message(
        self, source: NodeAddress, target: NodeAddress, kind: str, data: bytes, now: float, link: int
    ) -> Message:
        """Return a message that is being sent."""
        self.messages = number = self.messages + 1
        message = Message(source, target, kind, data, now, number, link)
        if self.observer is not None:
            self.observer.sent(message, now)
        return message

    def note_drop(self, message: Message, now: float) -> None:
        """A message was dropped."""
        if self.observer is not None:
            self.observer.dropped(message, now)

    def send_datagram(self, source: MemoryEndpoint, target: NodeAddress, data: bytes) -> None:
        """Send a datagram."""
        if source.is_mute:
            source.keep(self.send_datagram, source, target, data)
            return
        now = self.pump.time()
        self.messages = number = self.messages + 1
        message = Message(source.address, target, "datagram", data, now, number)
        if self.observer is not None:
            self.observer.sent(message, now)
        random = source.random_to[target]
        verdict = self.judge(message, random)
        if verdict == DROP:
            self.note_drop(message, now)
        else:
            self.pump.at(now + verdict, self.arrive, message)
        if message.copies:
            for _ in range(message.copies):
                verdict = self.judge(message, random)
                if verdict != DROP:
                    self.pump.at(now + verdict, self.arrive, message)

    def answer(self, message: Message, kind: str) -> None:
        """Send an answer to a message that nobody takes; it may get lost."""
        if message.kind in _NO_ANSWER:
            return
        now = self.pump.time()
        answer = self.new_message(message.target, message.source, kind, b"", now, message.link)
        randoms = self._answering.get(answer.source)
        if randoms is None:
            randoms = self._answering[answer.source] = self.randoms_of(answer.source)
        verdict = self.judge(answer, randoms[answer.target])
        if verdict == DROP:
            self.note_drop(answer, now)
        else:
            self.pump.at(now + verdict, self.arrive, answer)

    def arrive(self, message: Message) -> None:
        """A message has come to the end of its way."""
        endpoint = self.endpoints.get(message.target)
        if endpoint is not None:
            if endpoint.is_prompt:
                endpoint.take(message)
            else:
                endpoint.admit(endpoint.take, message)
        elif message.link:
            if message.target in self.dark:
                self.note_drop(message, self.pump.time())
            else:
                self.answer(message, "refuse" if message.kind == "connect" else "reset")
        else:
            self.note_drop(message, self.pump.time())


def _ignore(_: Any) -> None:
    pass


def _as_it_is(_: NodeAddress, handler: Handler) -> Handler:
    return handler
