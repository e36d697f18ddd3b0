"""Sealed links from their first byte on: who opens one, who is refused and with which words, and what nobody gets."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.protocols.link.cores import encoded, frames_in, hello
from tests.protocols.link.ends import LinkEnd
from tests.security.sealed import key
from trionet.identity import NodeAddress
from trionet.protocols.link.channel import SEAL_BYTES
from trionet.protocols.link.frames import MAX_FRAME_BYTES, PREFACE, Bye, Hello, Reply
from trionet.protocols.link.handshake import (
    AddressRefused,
    Handshake,
    HandshakeError,
    KeyRefused,
    PeerSpeaksHTTP,
    greeting,
)
from trionet.protocols.link.refusals import FIRST_REFUSAL, Refusal
from trionet.security.noise import MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.link.handshake import Greeted
    from trionet.security.noise_key import NoiseKey

A, B = key(), key(psk=bytes(32), key_id=b"key2")
NAMESAKE = key(psk=bytes(32))
FOREIGN = key(cluster="another cluster")
CLEAR: Final = PREFACE + A.seal
SEALED: Final = len(CLEAR) + MESSAGE_BYTES
"""The size of either side's first bytes."""


class Side:
    """One side's handshake, and what it comes to."""

    def __init__(
        self,
        *,
        is_initiator: bool,
        keys: list[NoiseKey],
        accepts_plain: bool | None = None,
        own: Hello | None = None,
        expected: NodeAddress | None = None,
    ) -> None:
        self.handshake = Handshake(
            own or hello(), is_initiator=is_initiator, keys=keys, accepts_plain=accepts_plain, expected=expected
        )
        self.greeted: Greeted | None = None
        self.failure: Exception | None = None

    def receive(self, data: bytes) -> None:
        try:
            self.greeted = self.handshake.receive(data)
        except (HandshakeError, PeerSpeaksHTTP) as exc:
            self.failure = exc

    @property
    def is_over(self) -> bool:
        return self.greeted is not None or self.failure is not None

    @property
    def refusal(self) -> Refusal | None:
        return self.failure.refusal if isinstance(self.failure, KeyRefused) else None


def initiator(*keys: NoiseKey) -> Side:
    return Side(is_initiator=True, keys=[*keys])


def acceptor(*keys: NoiseKey, accepts_plain: bool | None = None) -> Side:
    return Side(is_initiator=False, keys=[*keys], accepts_plain=accepts_plain)


def exchange(one: Side, other: Side) -> bytes:
    """Carry bytes until both sides have an outcome or nothing to say; return the acceptor's."""
    said = b""
    for _ in range(4):
        if (data := one.handshake.data_to_send()) and not other.is_over:
            other.receive(data)
        data = other.handshake.data_to_send()
        if other.greeted is not None:
            data += first_of(other.greeted)
        said += data
        if data and not one.is_over:
            one.receive(data)
    return said


def first_of(greeted: Greeted) -> bytes:
    return greeted.first if greeted.channel is None else greeted.channel.send(greeted.first)


# ---- who opens a link with whom


@pytest.mark.parametrize(
    ("ours", "theirs", "accepts_plain", "chosen"),
    [
        ([], [], None, None),
        ([A], [A], None, A),
        ([A], [B, A], None, A),
        ([B], [B, A], None, B),
        ([A], [A], True, A),
        ([], [A], True, None),
        ([B], [NAMESAKE, B], None, B),
    ],
)
def test_both_sides_agree_on_the_initiators_mode_where_the_acceptor_allows_it(
    ours: list[NoiseKey], theirs: list[NoiseKey], accepts_plain: bool | None, chosen: NoiseKey | None
) -> None:
    one, other = initiator(*ours), acceptor(*theirs, accepts_plain=accepts_plain)
    exchange(one, other)
    assert one.greeted is not None
    assert other.greeted is not None
    assert (one.greeted.key, other.greeted.key) == (chosen, chosen)
    assert (one.greeted.channel is None) == (other.greeted.channel is None) == (chosen is None)


@pytest.mark.parametrize(
    ("ours", "theirs", "accepts_plain", "refusal"),
    [
        ([], [A], None, Refusal.PLAIN),
        ([A], [], None, Refusal.SEALED),
        ([A], [B], None, Refusal.UNKNOWN_KEY),
        ([A], [B], True, Refusal.UNKNOWN_KEY),
        ([A], [NAMESAKE], None, Refusal.UNOPENED),
        ([A], [FOREIGN], None, Refusal.UNOPENED),
        ([A], [FOREIGN], True, Refusal.UNOPENED),
        ([], [], False, Refusal.PLAIN),
    ],
)
def test_both_sides_know_why_there_is_no_link_and_the_acceptor_says_one_byte(
    ours: list[NoiseKey], theirs: list[NoiseKey], accepts_plain: bool | None, refusal: Refusal
) -> None:
    one, other = initiator(*ours), acceptor(*theirs, accepts_plain=accepts_plain)
    assert exchange(one, other) == PREFACE + bytes([refusal])
    assert (one.refusal, other.refusal) == (refusal, refusal)
    assert (str(one.failure), str(other.failure)) == (refusal.as_refused, refusal.as_refusing)
    assert one.greeted is None
    assert other.greeted is None


def test_each_refusal_has_a_byte_of_its_own_and_texts() -> None:
    assert all(FIRST_REFUSAL <= refusal <= 0xFF for refusal in Refusal)
    assert all(refusal.as_refused and refusal.as_refusing for refusal in Refusal)


def test_a_plain_links_mode_is_the_first_byte_of_its_hellos_length() -> None:
    assert MAX_FRAME_BYTES < 2**24
    assert greeting(hello())[len(PREFACE)] == 0


def test_a_plain_link_is_as_it_was_before_there_were_keys() -> None:
    one, other = initiator(), acceptor()
    assert one.handshake.data_to_send() == greeting(hello())
    other.receive(greeting(hello()))
    assert other.handshake.data_to_send() == b""
    assert other.greeted is not None
    assert other.greeted.first == greeting(hello())


def test_a_plain_acceptor_of_an_older_version_is_told_from_one_that_has_the_key() -> None:
    """It takes the mode and the key's id for the length of a frame, and says a bye in the clear."""
    one = initiator(A)
    one.receive(PREFACE + encoded(Bye("a frame of 17,525,113 bytes; at most 65,536 are allowed")))
    assert one.refusal == Refusal.SEALED


# ---- versions


OTHER_VERSION: Final = PREFACE[:-1] + b"\x02"


@pytest.mark.parametrize("mode", [b"", b"\0\0\0\x10", A.seal])
def test_a_sealed_acceptor_refuses_another_version_with_a_byte(mode: bytes) -> None:
    other = acceptor(A)
    other.receive(OTHER_VERSION + mode)
    assert other.refusal == Refusal.VERSION
    assert str(other.failure) == "it speaks version 2 of the link, and this node version 1"
    assert other.handshake.data_to_send() == PREFACE + bytes([Refusal.VERSION])


def test_a_plain_acceptor_says_so_in_a_bye() -> None:
    for other in (acceptor(), acceptor(A, accepts_plain=True)):
        other.receive(OTHER_VERSION + A.seal)
        (bye,) = frames_in(other.handshake.data_to_send().removeprefix(PREFACE))
        assert bye == Bye("it speaks version 2 of the link, and this node version 1")


# ---- downgrades


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (greeting(hello()), Refusal.SEALED.as_refused),
        (PREFACE + encoded(Bye("come without a key")), Refusal.SEALED.as_refused),
        *((PREFACE + bytes([refusal]), refusal.as_refused) for refusal in Refusal),
        (PREFACE + b"\xf0", "it refused the link, with the unknown reason 240"),
        (PREFACE + B.seal + bytes(MESSAGE_BYTES), "it answers in another mode than this node's"),
        (PREFACE + b"\x02key1" + bytes(MESSAGE_BYTES), "it answers in another mode than this node's"),
        (PREFACE[:-1] + b"\x00", "it speaks version 0 of the link, and this node version 1"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "it answers in HTTP, and a node with a cluster key makes no calls by HTTP",
        ),
    ],
)
def test_no_answer_makes_an_initiator_with_a_key_say_anything_in_the_clear(answer: bytes, text: str) -> None:
    one = initiator(A)
    assert one.handshake.data_to_send().startswith(CLEAR)
    one.receive(answer)
    assert isinstance(one.failure, HandshakeError)
    assert str(one.failure) == text
    assert one.handshake.data_to_send() == b""


@pytest.mark.parametrize("keys", [[A], [A, B]])
@pytest.mark.parametrize(
    "data", [greeting(hello()), CLEAR + 3 * encoded(hello()), b"GET / HTTP/1.1\r\n\r\n", bytes(100)]
)
def test_a_sealed_acceptor_takes_no_hello_in_the_clear_and_gives_none(keys: list[NoiseKey], data: bytes) -> None:
    other = acceptor(*keys)
    other.receive(data)
    assert isinstance(other.failure, HandshakeError)
    assert other.handshake.data_to_send() in {b"", *(PREFACE + bytes([refusal]) for refusal in Refusal)}


def test_the_seal_of_a_plain_link_cannot_be_added_on_the_way_nor_taken_away() -> None:
    """A plain hello behind a seal, and a sealed initiator's bytes without one."""
    sealed = initiator(A).handshake.data_to_send()
    other = acceptor(A, accepts_plain=True)
    other.receive(PREFACE + b"\0\0\0\x10" + sealed[len(CLEAR) :])
    assert other.greeted is None


# ---- altered, replayed, reflected, cut


def test_a_handshake_with_any_bit_flipped_opens_no_link() -> None:
    for bit in range(8 * SEALED):
        for is_answer in (False, True):
            one, other = initiator(A), acceptor(A)
            data = one.handshake.data_to_send()
            if is_answer:
                other.receive(data)
                data = other.handshake.data_to_send()
            assert len(data) == SEALED
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            receiver = one if is_answer else other
            receiver.receive(bytes(flipped))
            assert isinstance(receiver.failure, HandshakeError)
            said = receiver.handshake.data_to_send()
            assert len(said) <= len(PREFACE) + 1


def test_a_replayed_first_message_gets_an_answer_and_no_further() -> None:
    recorded, twin = initiator(A), acceptor(A)
    first = recorded.handshake.data_to_send()
    twin.receive(first)
    recorded.receive(twin.handshake.data_to_send())
    second = recorded.handshake.data_to_send()
    for rest in (second, first, bytes(100), second[:-1]):
        other = acceptor(A)
        other.receive(first)
        assert not other.is_over
        assert len(other.handshake.data_to_send()) == SEALED
        other.receive(rest)
        assert other.greeted is None
        assert other.handshake.data_to_send() == b"", "not even a sealed word of the reason"
    other = acceptor(A)
    other.receive(first + second)
    assert isinstance(other.failure, HandshakeError)


def test_own_bytes_sent_back_open_no_link() -> None:
    one = initiator(A)
    one.receive(one.handshake.data_to_send())
    assert isinstance(one.failure, HandshakeError)
    one, other = initiator(A), acceptor(A)
    other.receive(one.handshake.data_to_send())
    answer = other.handshake.data_to_send()
    other.receive(answer[len(CLEAR) :])
    if not other.is_over:  # its first bytes may be the length of a record that has not come whole
        other.receive(b"")
    assert isinstance(other.failure, HandshakeError)


def test_a_connection_that_ends_at_any_byte_of_the_handshake_leaves_no_link() -> None:
    whole = initiator(A), acceptor(A)
    exchange(*whole)
    hellos = 2 + 16 + len(encoded(hello()))
    for cut_at in range(2 * SEALED + 2 * hellos):
        one, other, left = initiator(A), acceptor(A), cut_at
        while left >= 0 and not one.is_over:
            for sender, receiver in ((one, other), (other, one)):
                data = sender.handshake.data_to_send() or (
                    first_of(sender.greeted) if sender is other and sender.greeted else b""
                )
                if not data or left < 0 or receiver.is_over:
                    continue
                receiver.receive(data[:left] if left else b"")
                if left < len(data) and not receiver.is_over:
                    receiver.receive(b"")
                left -= len(data)
        assert one.greeted is None
        assert (other.greeted is not None) == (cut_at >= 2 * SEALED + hellos)


def test_calls_start_behind_the_first_record_alone() -> None:
    """The acceptor's own hello is sealed, and waits for the initiator's."""
    one, other = LinkEnd(is_initiator=True, key=A), LinkEnd(is_initiator=False, key=A)
    one.on_open = one.call
    other.receive(one.data_to_send())
    assert other.core is None
    one.receive(other.data_to_send())
    assert other.data_to_send() == b""
    other.receive(one.data_to_send())
    one.receive(other.data_to_send())
    other.receive(one.data_to_send())
    one.receive(other.data_to_send())
    assert [call.answer for call in one.answered] == [Reply(1, b"\x01")]


def test_a_first_frame_that_is_no_hello_is_refused_with_a_sealed_bye() -> None:
    one, other = A.new_channel(CLEAR, is_initiator=True), acceptor(A)
    other.receive(CLEAR + one.data_to_send())
    one.receive(other.handshake.data_to_send()[len(CLEAR) :])
    other.receive(one.send(encoded(Bye("at once"))))
    assert str(other.failure) == "it refused: at once"
    (bye,) = frames_in(one.receive(other.handshake.data_to_send()))
    assert bye == Bye("it refused: at once")


@pytest.mark.parametrize(
    "make", [lambda: initiator(A), lambda: acceptor(A), initiator, acceptor, lambda: acceptor(A, accepts_plain=True)]
)
def test_whatever_comes_first_a_handshake_ends_with_its_own_errors(make: Callable[[], Side]) -> None:
    @settings(max_examples=60)
    @given(
        st.lists(
            st.sampled_from([PREFACE, PREFACE[:5], A.seal, B.seal, b"\0", b"\x80", b"HTTP/"]) | st.binary(max_size=80),
            max_size=5,
        )
    )
    @example([PREFACE, A.seal[:-1]])
    def run(parts: list[bytes]) -> None:
        side = make()
        side.handshake.data_to_send()
        for part in parts:
            if part and not side.is_over:
                side.receive(part)
        assert side.greeted is None

    run()


def test_an_unfinished_preface_is_waited_for() -> None:
    data = initiator(A).handshake.data_to_send()
    other = acceptor(A)
    for byte in data[:-1]:
        other.receive(bytes([byte]))
        assert not other.is_over
        assert other.handshake.data_to_send() == b""
    other.receive(data[-1:])
    assert len(other.handshake.data_to_send()) == len(PREFACE) + SEAL_BYTES + MESSAGE_BYTES


def test_the_same_key_of_two_clusters_on_one_machine_merges_nothing() -> None:
    rng = random.Random(1)
    for _ in range(20):
        names = rng.sample(["a", "b", "ab", "", "a cluster", "ä"], 2)
        one, other = (key(cluster=name) for name in names)
        refused = initiator(one), acceptor(other)
        exchange(*refused)
        assert [side.refusal for side in refused] == [Refusal.UNOPENED] * 2


# ---- who answers, and who was dialed

HERE, THERE, ELSEWHERE = (NodeAddress("127.0.0.1", port) for port in (1, 2, 3))


class _Trusting(Handshake):
    """Accepts each address, so that only the other side refuses."""

    def _check_address(self, _: NodeAddress | None) -> None: ...


@pytest.mark.parametrize(
    ("keys", "stated", "expected", "reason"),
    [
        ([A], THERE, THERE, None),
        ([A], THERE, None, None),
        ([A], None, None, None),
        ([A], HERE, None, "it states this node's own address"),
        ([A], HERE, HERE, "it states this node's own address"),
        ([A], ELSEWHERE, THERE, "another node answers there: 127.0.0.1:3"),
        ([A], None, THERE, "another node answers there: one without an address"),
        ([], ELSEWHERE, THERE, None),
        ([], HERE, HERE, None),
    ],
)
def test_a_sealed_initiator_refuses_its_own_address_and_another_than_expected(
    keys: list[NoiseKey], stated: NodeAddress | None, expected: NodeAddress | None, reason: str | None
) -> None:
    one = Side(is_initiator=True, keys=keys, own=replace(hello(), address=HERE), expected=expected)
    other = Side(is_initiator=False, keys=keys)
    other.handshake = _Trusting(replace(hello(), address=stated), is_initiator=False, keys=keys)
    exchange(one, other)
    if reason is None:
        assert one.greeted is not None
    else:
        assert isinstance(one.failure, AddressRefused)
        assert reason in str(one.failure)


def test_a_sealed_acceptor_refuses_its_own_address() -> None:
    own = replace(hello(), address=HERE)
    one, other = Side(is_initiator=True, keys=[A], own=own), Side(is_initiator=False, keys=[A], own=own)
    exchange(one, other)
    assert isinstance(other.failure, AddressRefused)
    assert one.greeted is None
