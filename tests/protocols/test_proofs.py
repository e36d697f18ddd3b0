"""How much a forged sender can cause to be sent to an address: one table of all kinds of messages."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from tests.protocols.gossip_meshes import Mesh
from tests.protocols.swim_clusters import Members, alive, stated, swim
from trionet.protocols.answered import MOST_ANSWER_BYTES
from trionet.protocols.effects import ProtocolMessage, Send
from trionet.protocols.entries import Entry
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import BUCKETS, Answer, Buckets, Ihave, Listing, Query, Rumor, Summary, Want
from trionet.protocols.mux import DATAGRAM_BYTES, ProtocolMux
from trionet.protocols.proofs import FACTOR, PROOF_S, Challenge, Echo, Proofs
from trionet.protocols.statements import MOST_NAME_BYTES, State, Statement
from trionet.protocols.swim import Swim
from trionet.protocols.swim_messages import Ack, IndirectAck, Nack, News, Ping, PingReq, Sync, SyncDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trionet.protocols.effects import Core
    from trionet.protocols.mux import Packet

ME, VICTIM, MEMBER = "10.0.0.1:8080", "10.9.9.9:53", "10.0.0.2:8080"
MEMBERS = [f"10.0.1.{index}:8080" for index in range(60)]
IDS = [index.to_bytes(12, "big") for index in range(100)]
PAYLOAD = b"x" * 1000
LONG = b"y" * 15_000_000
LONG_BYTES = len(LONG)


class Kind(NamedTuple):
    """How a kind of message may be used to have much sent.

    Attributes:
        messages: what to fill a packet with.
        factor: the most bytes that come back for each byte of a full packet, from a member whose address is proven.
        single: the same for the shortest packet.
    """

    messages: Callable[[], list[ProtocolMessage]]
    factor: float
    single: float


def _every(count: int, message: ProtocolMessage) -> list[ProtocolMessage]:
    return [message] * count


KINDS: dict[type[ProtocolMessage], Kind] = {
    Ping: Kind(lambda: [Ping(seq, is_reliable=seq % 2 == 1) for seq in range(60)], 5, 60),
    Ack: Kind(lambda: [Ack(seq, 1) for seq in range(60)], 0, 0),
    PingReq: Kind(lambda: [PingReq(seq, MEMBERS[seq]) for seq in range(40)], 2, 60),
    IndirectAck: Kind(lambda: [IndirectAck(seq) for seq in range(60)], 0, 0),
    Nack: Kind(lambda: [Nack(seq) for seq in range(60)], 0, 0),
    News: Kind(lambda: _every(100, News()), 0, 0),
    Statement: Kind(lambda: [stated(ME, State.DEAD, number) for number in range(1, 30)], 4, 60),
    SyncDigest: Kind(lambda: _every(60, SyncDigest((), is_join=True)), 30, 800),
    Sync: Kind(lambda: _every(15, Sync((), tuple(range(64)))), 30, 800),
    Rumor: Kind(lambda: [Rumor("g", number.to_bytes(12, "little"), "o", 0, 0, b"") for number in range(1, 40)], 1, 1),
    Entry: Kind(
        lambda: [Entry("g", number.to_bytes(12, "little"), "k", number, 0, "o", b"") for number in range(1, 30)], 1, 1
    ),
    Ihave: Kind(lambda: _every(40, Ihave("g", b"z" * 12)), 15, 80),
    Want: Kind(lambda: [Want("g", IDS[0] * 80), Want("g", IDS[0] * 20)], 2, 60),
    Summary: Kind(lambda: _every(20, Summary("g", bytes(31) + b"1")), 3, 60),
    Buckets: Kind(lambda: _every(60, Buckets("g", b"")), 20, 300),
    Listing: Kind(lambda: _every(60, Listing("g", (1 << BUCKETS) - 1, b"")), 20, 300),
    Query: Kind(lambda: _every(40, Query("g", IDS[0])), 3, 60),
    Answer: Kind(lambda: _every(40, Answer("g", IDS[0], has=True)), 0, 0),
    Challenge: Kind(lambda: _every(80, Challenge(1 << 63, is_refused=True)), 3, 60),
    Echo: Kind(lambda: _every(80, Echo(1 << 63)), 0, 0),
}
"""Bytes include news, of which there is plenty here, up to a datagram."""


class Node:
    """A node with 60 members and news of each, and 100 rumors that it holds; and what it has sent to each name."""

    def __init__(self) -> None:
        self.swim = swim(ME, *MEMBERS)
        self.gossip = GossipProtocol(ME, Random(1))
        self.gossip.set_group("g", [ME, *MEMBERS, MEMBER], 3, now=0.0)
        self.proofs = Proofs(b"secret")
        self.mux = ProtocolMux(ME, [self.swim, self.gossip], proofs=self.proofs)
        self.packets: list[Packet] = []
        self.mux.receive(MEMBERS[0], [alive(name, 1) for name in MEMBERS], 1.0)
        self.mux.receive(MEMBERS[0], [Rumor("g", one, "o", 0, 255, PAYLOAD) for one in IDS], 1.0)
        self.now = 1.0
        self.run(6.0)  # all has settled, and there is news no more
        self.mux.receive(MEMBERS[0], [alive(name, 2) for name in MEMBERS], self.now)
        self.packets.clear()

    def run(self, until: float) -> None:
        while (due := self.mux.next_deadline()) <= until:
            self.packets += self.mux.on_timer(due)
        self.now = until

    def ask(self, source: str, messages: list[ProtocolMessage], *, is_reliable: bool = False) -> int:
        """Have a packet come; return its size."""
        data = msgspec.msgpack.encode([1, source, messages])
        assert is_reliable or len(data) <= DATAGRAM_BYTES
        self.packets += self.mux.receive_bytes(data, self.now, is_reliable=is_reliable)
        return len(data)

    def prove(self, name: str) -> None:
        assert self.proofs.accept_echo(name, self.proofs.token(name), self.now)

    def sent_bytes(self, to: str) -> int:
        return sum(len(packet.encoded) for packet in self.packets if packet.to == to)


def test_an_entry_of_a_stranger_is_refused() -> None:
    node = Node()
    entry = Entry("g", b"of stranger1", "k", 1, 0, "o", b"v")
    node.ask("stranger", [entry])
    assert node.gossip.entries("g") == []
    node.prove("stranger")
    node.ask("stranger", [entry])
    assert node.gossip.entries("g") == [entry]


def test_every_kind_of_message_is_in_the_table() -> None:
    assert set(KINDS) == {*Swim.messages, *GossipProtocol.messages, Challenge, Echo}
    named = {kind for core in (Swim, GossipProtocol) for kind in core.messages} | {Challenge, Echo}
    found = {kind for kind in ProtocolMessage.__subclasses__() if kind.__module__.startswith("trionet.")}
    assert found <= named


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("count", [1, 1000], ids=["one", "a full packet"])
@pytest.mark.parametrize("name", [VICTIM, MEMBERS[7]], ids=["stranger", "member"])
@pytest.mark.parametrize("is_reliable", [False, True], ids=["by datagram", "by call"])
def test_three_times_the_question_at_most_goes_to_an_address_without_a_proof(
    kind: type[ProtocolMessage], count: int, name: str, is_reliable: bool
) -> None:
    node = Node()
    assert not node.proofs.is_proven(name, node.now)
    size = node.ask(name, KINDS[kind].messages()[:count], is_reliable=is_reliable)
    assert node.sent_bytes(name) <= FACTOR * size
    assert is_reliable or not any(packet.is_reliable for packet in node.packets if packet.to == name)
    if name == VICTIM:
        node.run(node.now + 60.0)
        assert node.sent_bytes(name) <= FACTOR * size
    else:  # whom it would talk with anyway: the question makes it no more than that
        node.run(node.now + 5.0)
        answers = [
            packet for packet in node.packets if packet.to == name and any(one.is_answer for one in packet.messages)
        ]
        assert sum(len(packet.encoded) for packet in answers) <= FACTOR * size


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_answers_to_a_proven_member_have_a_bound_too(kind: type[ProtocolMessage]) -> None:
    for messages, factor in (
        (KINDS[kind].messages(), KINDS[kind].factor),
        (KINDS[kind].messages()[:1], KINDS[kind].single),
    ):
        node = Node()
        node.prove(MEMBER)
        node.mux.receive(MEMBER, [alive(MEMBER)], node.now)
        node.packets.clear()
        size = node.ask(MEMBER, messages)
        assert node.sent_bytes(MEMBER) <= factor * size


def test_rumors_go_once_and_no_more_of_them_than_a_bound_however_a_question_is_cut() -> None:
    node = Node()
    node.prove(MEMBER)
    node.mux.receive(MEMBERS[0], [Rumor("g", b"long rumor!!", "o", 0, 255, LONG)], node.now)
    node.packets.clear()
    node.ask(MEMBER, [Want("g", b"long rumor!!" * 80), Want("g", b"long rumor!!" * 25)])
    assert LONG_BYTES <= node.sent_bytes(MEMBER) <= LONG_BYTES + 2 * DATAGRAM_BYTES
    node.ask(MEMBER, [Want("g", b"long rumor!!")])
    assert node.sent_bytes(MEMBER) <= LONG_BYTES + 4 * DATAGRAM_BYTES
    node.run(node.now + 1.0)  # whoever lacks it still, asks again
    node.ask(MEMBER, [Want("g", b"long rumor!!")])
    assert node.sent_bytes(MEMBER) >= 2 * LONG_BYTES


def test_the_payloads_of_one_answer_are_bounded_together() -> None:
    node = Node()
    node.prove(MEMBER)
    ids = [bytes([number]) * 12 for number in range(1, 9)]
    node.mux.receive(MEMBERS[0], [Rumor("g", one, "o", 0, 255, LONG[:1_000_000]) for one in ids], node.now)
    node.packets.clear()
    node.ask(MEMBER, [Want("g", one) for one in ids])
    assert 3_000_000 < node.sent_bytes(MEMBER) < MOST_ANSWER_BYTES + 10_000


def test_a_rumor_too_long_for_an_answer_is_not_encoded() -> None:
    node = Node()
    node.mux.receive(MEMBERS[0], [Rumor("g", b"long rumor!!", "o", 0, 255, LONG)], node.now)
    node.packets.clear()
    tracemalloc.start()
    node.ask(VICTIM, [Want("g", b"long rumor!!")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert [type(one) for packet in node.packets for one in packet.messages] == [Challenge]


def test_an_address_is_proven_by_its_own_token_alone_and_for_a_time() -> None:
    proofs = Proofs(b"secret")
    assert not proofs.accept_echo("a:1", proofs.token("b:1"), 0.0)
    assert not proofs.accept_echo("a:1", Proofs(b"another").token("a:1"), 0.0)
    assert proofs.accept_echo("a:1", proofs.token("a:1"), 0.0)
    assert proofs.is_proven("a:1", PROOF_S - 1)
    assert not proofs.is_proven("a:1", PROOF_S)
    assert not proofs.is_proven("b:1", 0.0)


def test_the_memory_for_unproven_senders_is_bounded() -> None:
    node = Node()
    for number in range(20_000):
        node.ask(f"10.3.{number >> 8}.{number & 255}:9", [Ping(1), Challenge(number)])
    for remembered in (node.proofs.owed, node.proofs._credit):  # noqa: SLF001
        assert len(remembered) <= 4096


def test_a_name_that_no_member_can_have_is_not_remembered() -> None:
    node = Node()
    node.ask("x" * (MOST_NAME_BYTES + 1), [Ping(1), Challenge(1)], is_reliable=True)
    assert node.mux.dropped.malformed == 1
    assert not node.packets
    for remembered in (node.proofs.owed, node.proofs._credit):  # noqa: SLF001
        assert not remembered


def _pair() -> tuple[Node, ProtocolMux, Swim]:
    """A node, and one that would join it."""
    core = swim(VICTIM)
    return Node(), ProtocolMux(VICTIM, [core], proofs=Proofs(b"other")), core


def _exchange(node: Node, mux: ProtocolMux, packets: list[Packet]) -> int:
    """Carry packets to and fro until there are none; return how many there were from the joiner."""
    count = 0
    while packets:
        count += len(packets)
        answers = [
            answer
            for packet in packets
            for answer in node.mux.receive_bytes(packet.encoded, node.now, is_reliable=packet.is_reliable)
        ]
        packets = [
            answer
            for packet in answers
            if packet.to == mux.me
            for answer in mux.receive_bytes(packet.encoded, node.now, is_reliable=packet.is_reliable)
        ]
        packets = [packet for packet in packets if packet.to == node.mux.me]
    return count


def test_a_newcomer_has_joined_after_two_exchanges_and_is_a_member_then() -> None:
    node, mux, core = _pair()
    assert (
        _exchange(node, mux, mux.packets(core.join([ME], node.now), node.now)) == 3
    )  # the last one says what it knows
    assert not core.is_joining
    assert core.present_count == len(MEMBERS) + 2
    assert node.swim.member(VICTIM) is not None


def test_a_forged_sender_makes_no_member() -> None:
    node = Node()
    node.ask(VICTIM, [alive(VICTIM), SyncDigest((), is_join=True)], is_reliable=True)
    node.ask(VICTIM, [Sync((alive(VICTIM),))], is_reliable=True)
    assert node.swim.member(VICTIM) is None
    node.ask(VICTIM, [Echo(node.proofs.token(VICTIM)), alive(VICTIM)])
    assert node.swim.member(VICTIM) is not None


def test_a_pull_takes_no_further_round_trip_because_announcements_challenge() -> None:
    node = Node()
    name = MEMBERS[5]
    reader = GossipProtocol(name, Random(5))
    reader.set_group("g", [ME, name], now=0.0)
    mux = ProtocolMux(name, [swim(name), reader], proofs=Proofs(b"other"))
    (announced,) = node.mux.packets([Send(name, Ihave("g", IDS[3]))], node.now)
    assert not [packet for packet in mux.receive_bytes(announced.encoded, 0.0) if packet.to == ME]
    wants: list[Packet] = []
    while not wants:
        due = mux.on_timer(mux.next_deadline())
        wants = [packet for packet in due if any(type(one) is Want for one in packet.messages)]
    answers = [one for want in wants for one in node.mux.receive_bytes(want.encoded, node.now) if one.to == name]
    assert any(type(one) is Rumor for answer in answers for one in answer.messages)


def test_at_rest_nothing_is_added_to_the_packets_of_proven_members() -> None:
    node = Node()
    node.run(node.now + 30.0)  # the news is spread
    node.prove(MEMBERS[0])
    node.packets.clear()
    (answer,) = node.mux.receive_bytes(msgspec.msgpack.encode([1, MEMBERS[0], [Ping(5)]]), node.now)
    assert [type(one) for one in answer.messages] == [Ack]


class Proving(ProtocolMux):
    """A `ProtocolMux` that receives bytes in place of messages, and so checks proofs."""

    def __init__(self, name: str, cores: Sequence[Core], **_: Any) -> None:
        super().__init__(name, cores, proofs=Proofs(name.encode()))
        self._is_inside = False

    def receive(self, source: str, messages: Iterable[Any], now: float) -> list[Packet]:
        if self._is_inside:
            return super().receive(source, messages, now)
        self._is_inside = True
        try:
            data = msgspec.msgpack.encode([1, source, list(messages)])
            return self.receive_bytes(data, now, is_reliable=True)
        finally:
            self._is_inside = False


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.soak)])
def test_a_cluster_is_whole_as_soon_and_sends_no_more_at_rest_than_without_proofs(seed: int) -> None:
    spent: list[tuple[float, int, int]] = []
    for mux in (ProtocolMux, Proving):
        members = Members(seed, 100, are_known=False, mux=mux)
        members.join_all()
        whole_s = members.wait(20, members.is_whole)
        until_whole = members.cluster.sent
        members.cluster.run(members.cluster.now + 20)
        before = members.cluster.sent
        members.cluster.run(members.cluster.now + 10)
        spent.append((whole_s, until_whole, members.cluster.sent - before))
    plain, proving = spent
    assert proving[0] <= plain[0] + 0.5
    assert proving[1] <= 1.2 * plain[1]
    assert proving[2] <= 1.01 * plain[2]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.soak)])
def test_rumors_among_members_that_have_never_met_come_as_soon_as_without_proofs(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[tuple[float, int]] = []
    for mux in (ProtocolMux, Proving):
        monkeypatch.setattr("tests.protocols.gossip_meshes.ProtocolMux", mux)
        mesh = Mesh(seed, 200)
        rumor_id = mesh.send("n7", payload=b"x" * 600)
        mesh.run(20.0)
        assert mesh.who(rumor_id) == mesh.live()
        last = max(at for at, _, _ in mesh.delivered[rumor_id])
        spent.append((last - mesh.sent_at[rumor_id], mesh.cluster.sent))
    plain, proving = spent
    assert proving[0] <= plain[0] + 0.4, "two intervals"
    assert proving[1] <= 1.2 * plain[1]
