"""What carries messages between the hosts of a memory fabric: it routes them, and asks rules what becomes of each.

Invariants: a message is delivered by the pump, never by its sender; the verdicts on messages from one node to another
follow from the seed, the two addresses and the order of the messages between them, whatever else goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from .host import Host
from .pump import Pump
from .randomness import RandomByTarget
from .rules import DROP, Message, judge_by

if TYPE_CHECKING:
    from trionet.errors import TrionetError
    from trionet.identity import NodeAddress
    from trionet.transports.base import Request

    from .rules import Judge, Rule, Sender

__all__ = ["Carrier", "Observer"]

_NO_ANSWER: Final = ("refuse", "reset")

H = TypeVar("H", bound=Host)


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


class Carrier(Generic[H]):
    """Carries the messages of one fabric.

    Attributes:
        endpoints: those that can be reached, by address.
        dark: addresses of hosts without power: what is sent to them is lost, where else it would be refused.
        rules: what may happen to a message; the first one is asked first.
        judge: says after how many seconds a message is to be delivered, or `DROP`: what the rules say.
        observer: is told what goes on.
        messages: how many have been sent.
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

    def randoms_of(self, source: NodeAddress) -> RandomByTarget:
        """Return the random numbers of what `source` sends."""
        return RandomByTarget(f"{self._seed} {source}")

    def new_link(self) -> int:
        """Return a connection's number."""
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
    ) -> Message:
        """Return a message that is being sent."""
        self.messages = number = self.messages + 1
        message = Message(source, target, kind, data, now, number, link, sender)
        if self.observer is not None:
            self.observer.sent(message, now)
        return message

    def note_drop(self, message: Message, now: float) -> None:
        """A message was dropped."""
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
