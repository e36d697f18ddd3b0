"""Membership over sealed datagrams: the same protocols, on packets of 1,363 bytes, without proofs of addresses."""

from __future__ import annotations

import heapq
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.sealed_nodes import Peer
from trionet.profiles import LAN
from trionet.protocols.mux import DATAGRAM_BYTES, ProtocolMux
from trionet.protocols.packets import sender_of
from trionet.protocols.proofs import Proofs
from trionet.protocols.swim import Swim
from trionet.security.datagram_format import PLAINTEXT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.protocols.mux import Packet


class SealedMembers:
    """Members in virtual time; reliable packets go over links, which prove lives by their hellos if asked to.

    Attributes:
        datagrams: the number of datagrams that were sent.
        bytes: their bytes.
        longest: the length of the longest one.
    """

    def __init__(self, seed: int, count: int, *, is_sealed: bool, by_hello: bool = False) -> None:
        self.rng, self.now = Random(seed), 0.0
        self.names = [f"10.0.0.{index}:8080" for index in range(count)]
        self.is_sealed, self.by_hello = is_sealed, by_hello
        self.swims: dict[str, Swim] = {}
        self.muxes: dict[str, ProtocolMux] = {}
        self.peers: dict[str, Peer] = {}
        self.linked = set[frozenset[str]]()
        self.datagrams = self.bytes = self.longest = 0
        self._queue: list[tuple[float, int, str, Any]] = []
        self._order = 0
        self._armed: dict[str, float] = {}
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        rng, boot_id = self.rng, self.rng.getrandbits(64)
        core = self.swims[name] = Swim(name, LAN, Random(rng.random()), self.now, boot_id=boot_id)
        proofs = None if self.is_sealed else Proofs(rng.randbytes(32))
        packet_bytes = PLAINTEXT_BYTES if self.is_sealed else DATAGRAM_BYTES
        self.muxes[name] = ProtocolMux(name, [core], packet_bytes=packet_bytes, proofs=proofs)
        self.peers[name] = Peer(name, rng, now=self.now, sender_of=sender_of)
        self.linked = {pair for pair in self.linked if name not in pair}
        self._arm(name)

    def join(self, name: str, seed: str) -> None:
        self.carry_out(name, self.muxes[name].packets(self.swims[name].join([seed], self.now), self.now))

    def is_whole(self) -> bool:
        return all(core.present_count == len(self.names) for core in self.swims.values())

    def run(self, until: float) -> None:
        while self._queue and self._queue[0][0] <= until:
            self.now, _, name, what = heapq.heappop(self._queue)
            mux = self.muxes[name]
            if what is None:
                self._armed[name] = 1e9
                if mux.next_deadline() <= self.now:
                    self.carry_out(name, mux.on_timer(self.now))
            else:
                self.receive(name, *what)
            self._arm(name)
        self.now = until

    def receive(self, name: str, source: str, data: bytes, is_reliable: bool) -> None:
        mux, peer = self.muxes[name], self.peers[name]
        if not self.is_sealed or is_reliable:
            self.carry_out(name, mux.receive_bytes(data, self.now, is_reliable=is_reliable))
            return
        opened = peer.open(data, source, self.now)
        if opened.answer is not None:
            self.send(name, source, opened.answer)
        if opened.plaintext is not None:
            assert sender_of(opened.plaintext) == source
            self.carry_out(name, mux.receive_bytes(opened.plaintext, self.now))

    def carry_out(self, name: str, packets: Iterable[Packet]) -> None:
        for packet in packets:
            if packet.is_reliable:
                self.link(name, packet.to)
                self._put(self.now + 0.002, packet.to, (name, packet.encoded, True))
            elif self.is_sealed:
                self.send(name, packet.to, self.peers[name].sealer.seal(packet.to, packet.encoded, self.now))
            else:
                self.send(name, packet.to, packet.encoded)
        self.muxes[name].pop_events()

    def link(self, one: str, other: str) -> None:
        """Open a link between two nodes unless there is one; its hellos prove both lives."""
        if self.by_hello and (pair := frozenset((one, other))) not in self.linked:
            self.linked.add(pair)
            for said, heard in ((one, other), (other, one)):
                sealer = self.peers[said].sealer
                self.peers[heard].opener.prove(said, sealer.boot_id, sealer.counter - 1, self.now)

    def send(self, source: str, to: str, data: bytes) -> None:
        self.datagrams += 1
        self.bytes += len(data)
        self.longest = max(self.longest, len(data))
        self._put(self.now + 0.001 * self.rng.random(), to, (source, data, False))

    def _arm(self, name: str) -> None:
        due = max(self.muxes[name].next_deadline(), self.now)
        if due < self._armed.get(name, 1e9):
            self._armed[name] = due
            self._put(due, name, None)

    def _put(self, at: float, name: str, what: Any) -> None:
        self._order += 1
        heapq.heappush(self._queue, (at, self._order, name, what))


def started(count: int, *, is_sealed: bool, by_hello: bool = False) -> SealedMembers:
    """Return members that have joined by the first, all at once, and know each other."""
    members = SealedMembers(count, count, is_sealed=is_sealed, by_hello=by_hello)
    for name in members.names[1:]:
        members.join(name, members.names[0])
    members.run(10.0)
    assert members.is_whole()
    return members


def restarted(members: SealedMembers) -> SealedMembers:
    """Start all members again at once, and have them join."""
    for name in members.names:
        members.start(name)
    for name in members.names[1:]:
        members.join(name, members.names[0])
    members.run(members.now + 10.0)
    assert members.is_whole()
    return members


def figures(count: int) -> dict[str, list[int]]:
    """Return datagrams in 10 s of a cold start, of a mass restart, and at rest: plain, sealed, and with hellos."""
    found = {}
    for kind, is_sealed, by_hello in (("plain", False, False), ("sealed", True, False), ("hello", True, True)):
        members = started(count, is_sealed=is_sealed, by_hello=by_hello)
        cold = members.datagrams
        mass = restarted(members).datagrams - cold
        before = members.datagrams
        members.run(members.now + 10.0)
        found[kind] = [cold, mass, members.datagrams - before]
        assert members.longest <= DATAGRAM_BYTES
        assert all(peer.opener.refused.forged == 0 for peer in members.peers.values())
    return found


def test_ten_members_join_restart_and_stay_over_sealed_datagrams() -> None:
    found = figures(10)
    assert found["sealed"][0] < found["plain"][0] + 2 * 45 + 30  # a challenge and an echo for each pair at most
    assert abs(found["sealed"][2] - found["plain"][2]) < 0.1 * found["plain"][2]
    assert found["hello"][0] <= found["sealed"][0]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_cold_start_and_a_mass_restart_of_100_cost_two_datagrams_for_each_pair_that_talks() -> None:
    found = figures(100)
    # The figures are what this test is run for.
    print(found)  # noqa: T201
    for start in (0, 1):
        assert found["sealed"][start] < found["plain"][start] + 2 * 4950


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reading_of_a_sender_raise(data: bytes) -> None:
    assert sender_of(data) is None or data.startswith(b"\x93\x01")


def test_a_sender_is_read_only_from_a_valid_head() -> None:
    for packet, sender in (
        ([1, "a:1", []], "a:1"),
        ([2, "a:1", []], None),
        ([1, "", []], None),
        ([1, "x" * 129, []], None),
    ):
        assert sender_of(msgspec.msgpack.encode(packet)) == sender
