"""Message delivery between the hosts of a memory fabric: routing, and a verdict of the rules for each message.

Invariants: the pump delivers a message, never its sender. The verdicts on messages from one node to another depend on
the seed, the two addresses and the order of the messages between them, and on nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from .host import Host
from .pump import Pump
from .randomness import RandomByTarget
from .rules import DROP, Message, StreamMessage, judge_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.errors import TrionetError
    from trionet.identity import NodeAddress
    from trionet.transports.base import Request

    from .rules import Judge, Rule, Sender

__all__ = ["Carrier", "Observer"]

_NO_ANSWER: Final = ("refuse", "reset")

H = TypeVar("H", bound=Host)


class Observer(Protocol):
    """Callbacks for the events of a fabric. Times are on Trio's clock."""

    def sent(self, message: Message, at: float) -> None:
        """A message was sent."""

    def delivered(self, message: Message, at: float) -> None:
        """A message was delivered."""

    def dropped(self, message: Message, at: float) -> None:
        """A message was dropped; a message of a connection will be sent again."""

    def called(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """A node has started a call."""

    def answered(
        self, source: NodeAddress, target: NodeAddress, request: Request, error: TrionetError | None, at: float
    ) -> None:
        """A call has ended. Cancelled calls are not reported here."""

    def cancelled(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """A call was cancelled: the peer has confirmed it, or the caller has stopped waiting."""

    def link_lost(self, source: NodeAddress, target: NodeAddress, reason: str, at: float) -> None:
        """A connection has ended at `source`, with calls of `source` in progress."""


class Carrier(Generic[H]):
    """Delivers the messages of one fabric.

    Attributes:
        endpoints: the reachable endpoints, by address.
        dark: addresses of hosts that are powered off: messages to them are lost instead of refused.
        rules: the rules, in the order of evaluation.
        judge: returns the delay of a message in seconds, or `DROP`, according to the rules.
        observer: receives the events of the fabric.
        messages: the number of messages sent.
        pump: calls functions at their times.
    """

    def __init__(self, seed: object, observer: Observer | None) -> None:
        self.endpoints: dict[NodeAddress, H] = {}
        self.dark: set[NodeAddress] = set()
        self.rules: tuple[Rule, ...] = ()
        self.judge: Judge = judge_by(self.rules)
        self.observer = observer
        self.messages: int = 0
        self.pump: Pump = Pump()
        self._seed = seed
        self._links = 0
        self._answering: dict[NodeAddress, RandomByTarget] = {}

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """Replace the rules."""
        self.rules = tuple(rules)
        self.judge = judge_by(self.rules)

    def randoms_of(self, source: NodeAddress) -> RandomByTarget:
        """Return the random numbers for the messages of `source`."""
        return RandomByTarget(f"{self._seed} {source}")

    def new_link(self) -> int:
        """Return the number of a new connection."""
        self._links += 1
        return self._links

    def new_message(
        self,
        source: NodeAddress,
        target: NodeAddress,
        kind: str,
        data: bytes,
        now: float,
        link: int,
        sender: Sender | None = None,
    ) -> StreamMessage:
        """Return a new message of a connection, and report it as sent."""
        self.messages = number = self.messages + 1
        message = StreamMessage(source, target, kind, data, now, number, link, sender=sender)
        if self.observer is not None:
            self.observer.sent(message, now)
        return message

    def note_drop(self, message: Message, now: float) -> None:
        """Report a dropped message."""
        if self.observer is not None:
            self.observer.dropped(message, now)

    def send_datagram(self, source: Host, target: NodeAddress, data: bytes) -> None:
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
        """Send an answer to a message without a receiver; the answer may get lost."""
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
        """Deliver a message."""
        endpoint = self.endpoints.get(message.target)
        if endpoint is not None:
            if endpoint.is_prompt:
                endpoint.handle(message)
            else:
                endpoint.admit(endpoint.handle, message)
        elif message.link:
            if message.target in self.dark:
                self.note_drop(message, self.pump.time())
            else:
                self.answer(message, "refuse" if message.kind == "connect" else "reset")
        else:
            self.note_drop(message, self.pump.time())
