"""Nodes that exchange sealed datagrams over a network in memory, without sockets."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from trionet.security.cookies import Cookies
from trionet.security.datagram_keys import DatagramKeys
from trionet.security.datagram_opener import DatagramOpener, Opened
from trionet.security.sealed_datagrams import DatagramSealer

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

KEY_ID, OTHER_ID = b"key1", b"key2"
KEYS = DatagramKeys({KEY_ID: b"k" * 32}, KEY_ID)
BOTH = DatagramKeys({KEY_ID: b"k" * 32, OTHER_ID: b"o" * 32}, OTHER_ID)


def named_sender(packet: bytes) -> str | None:
    """Return the sender of a packet of these tests, ``name|content``."""
    name, bar, _ = packet.partition(b"|")
    return name.decode(errors="replace") if bar else None


def packet(sender: str, content: str) -> bytes:
    """Return a packet, no shorter than the shortest of the protocols."""
    return f"{sender}|{content:.<12}".encode()


class Peer:
    """A node: a sealer and an opener."""

    def __init__(
        self,
        name: str,
        rng: Random,
        *,
        keys: DatagramKeys = KEYS,
        cluster: str = "c",
        now: float = 0.0,
        sender_of: Callable[[bytes], str | None] = named_sender,
    ) -> None:
        self.name = name
        self.sealer = DatagramSealer(name, cluster, keys, rng.getrandbits(64))
        self.opener = DatagramOpener(self.sealer, Cookies(rng.randbytes(32)), sender_of, now)

    def seal(self, to: str, content: str, now: float = 0.0) -> bytes:
        return self.sealer.seal(to, packet(self.name, content), now)

    def open(self, data: bytes, source: str, now: float = 0.0) -> Opened:
        return self.opener.open(data, source, now)


def introduce(one: Peer, other: Peer, now: float = 0.0) -> None:
    """Have each of two peers prove its life to the other."""
    question = one.seal(other.name, "hello", now)
    challenge = other.open(question, one.name, now).answer
    assert challenge is not None
    echo = one.open(challenge, other.name, now).answer
    assert echo is not None
    assert other.open(echo, one.name, now).plaintext == packet(one.name, "hello")


class Carried(NamedTuple):
    """A datagram on its way."""

    at: float
    order: int
    source: str
    to: str
    data: bytes


class Net:
    """Carries datagrams with seeded delays, loss and duplicates.

    Attributes:
        carried: the number of datagrams that were sent.
        delivered: what each peer was delivered.
    """

    def __init__(self, rng: Random, *, loss: float = 0.0, twice: float = 0.0, delay_s: float = 0.02) -> None:
        self.peers: dict[str, Peer] = {}
        self.delivered: dict[str, list[bytes]] = {}
        self.carried = 0
        self.bytes = 0
        self.log: list[Carried] = []
        self.now = 0.0
        self._rng, self._loss, self._twice, self._delay_s = rng, loss, twice, delay_s
        self._queue: list[Carried] = []

    def add(self, peer: Peer) -> None:
        self.peers[peer.name] = peer
        self.delivered.setdefault(peer.name, [])

    def send(self, source: str, to: str, data: bytes) -> None:
        self.carried += 1
        self.bytes += len(data)
        for _ in range(1 + (self._rng.random() < self._twice)):
            one = Carried(self.now + self._delay_s * self._rng.random(), len(self.log), source, to, data)
            self.log.append(one)
            if self._rng.random() >= self._loss:
                heapq.heappush(self._queue, one)

    def run(self, until: float) -> None:
        while self._queue and self._queue[0].at <= until:
            self.now, _, source, to, data = heapq.heappop(self._queue)
            opened = self.peers[to].open(data, source, self.now)
            if opened.plaintext is not None:
                self.delivered[to].append(opened.plaintext)
            if opened.answer is not None:
                assert len(opened.answer) <= len(data)
                self.send(to, source, opened.answer)
        self.now = until
