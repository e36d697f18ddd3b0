"""The sealed channel: whatever happens to its bytes, what comes out is a prefix of what went in."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.sealed import PSK, carry_handshake, channel_pair, key, open_pair, split_records
from trionet.errors import EncodeError
from trionet.protocols.link.frames import FrameError
from trionet.security.noise import KEY_BYTES, MAX_MESSAGE_BYTES, MESSAGE_BYTES, TAG_BYTES, CipherState, HandshakeState
from trionet.security.noise_channel import FIRST_RECORD_BYTES, MAX_PLAINTEXT_BYTES, REKEY_BYTES, REKEY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.security.noise_channel import NoiseChannel
    from trionet.security.noise_key import NoiseKey

OVERHEAD = 2 + TAG_BYTES
SIZES = st.one_of(st.integers(0, 100), st.sampled_from([MAX_PLAINTEXT_BYTES - 1, MAX_PLAINTEXT_BYTES, 200_000]))


def text(number: int, size: int) -> bytes:
    return bytes((number + place) % 251 for place in range(min(size, 251))) * (size // 251 + 1)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


def received(channel: NoiseChannel, parts: list[bytes]) -> tuple[bytes, bool]:
    """Return the plaintext of parts of a stream, and whether it failed."""
    plaintext = b""
    try:
        for part in parts:
            plaintext += channel.receive(part)
    except FrameError:
        return plaintext, True
    return plaintext, False


# ---- the stream


@given(
    sizes=st.lists(st.tuples(SIZES, st.booleans()), max_size=6),
    cuts=st.lists(st.integers(0, 2**20), max_size=10),
    is_initiators=st.booleans(),
)
def test_the_plaintext_comes_out_however_its_bytes_are_cut_and_wherever_keys_change(
    sizes: list[tuple[int, bool]], cuts: list[int], *, is_initiators: bool
) -> None:
    sender, receiver = open_pair() if is_initiators else open_pair()[::-1]
    expected = stream = b""
    for number, (size, is_rekeying) in enumerate(sizes):
        if is_rekeying:
            sender.rekey(0)
        plaintext = text(number, size)[:size]
        expected += plaintext
        stream += sender.send(plaintext)
    assert received(receiver, pieces(stream, cuts)) == (expected, False)
    assert not receiver.is_amid_record


def test_the_handshake_and_records_come_out_byte_by_byte() -> None:
    one, other = channel_pair()
    for sender, receiver in ((one, other), (other, one)):
        for byte in sender.data_to_send():
            assert not receiver.is_open
            assert receiver.receive(bytes([byte])) == b""
    for sender, receiver in ((one, other), (other, one)):
        stream = sender.send(b"one") + sender.send(b"two")
        assert b"".join(receiver.receive(bytes([byte])) for byte in stream) == b"onetwo"


@pytest.mark.parametrize("size", [1, 150, MAX_PLAINTEXT_BYTES])
def test_what_fits_is_one_record(size: int) -> None:
    sender, _ = open_pair()
    assert len(split_records(sender.send(bytes(size)))) == 1
    assert len(sender.send(bytes(size))) == size + OVERHEAD


def test_what_does_not_fit_is_split_into_records_of_at_most_65535_bytes() -> None:
    sender, receiver = open_pair()
    stream = sender.send(bytes(2 * MAX_PLAINTEXT_BYTES + 1))
    sizes = [len(record) - 2 for record in split_records(stream)]
    assert sizes == [MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES, 1 + TAG_BYTES]
    assert receiver.receive(stream) == bytes(2 * MAX_PLAINTEXT_BYTES + 1)


def test_nothing_is_sent_for_no_plaintext() -> None:
    sender, _ = open_pair()
    assert sender.send(b"") == b""


def test_equal_plaintext_differs_on_the_wire() -> None:
    one, other = open_pair()
    records = [channel.send(b"a text that is hidden on the wire") for channel in (one, one, other, other)]
    records += [channel.send(b"a text that is hidden on the wire") for channel in open_pair(1)]
    assert len(set(records)) == 6
    assert not any(b"hidden" in record for record in records)


# ---- progress


@given(
    sizes=st.lists(SIZES, max_size=6),
    counts=st.lists(st.integers(0, 2**18), max_size=30),
    rekeys=st.sets(st.integers(0, 5)),
)
def test_a_record_counts_as_sent_from_its_first_byte_on(sizes: list[int], counts: list[int], rekeys: set[int]) -> None:
    sender, receiver = open_pair()
    stream, ends, plain = b"", list[tuple[int, int]](), 0
    for number, size in enumerate(sizes):
        if number in rekeys:
            sender.rekey(0)
        for record in split_records(sender.send(bytes(size))):
            ends.append((len(stream), plain))
            plain += len(record) - OVERHEAD
            stream += record
    ends.append((len(stream), plain))
    accepted = counted = readable = 0
    for count in [*counts, len(stream)]:
        before, accepted = accepted, min(len(stream), accepted + count)
        counted += sender.sent(accepted - before)
        readable += len(receiver.receive(stream[before:accepted]))
        begun = [plain for start, plain in ends if start >= accepted]
        assert counted == begun[0]
        assert counted >= readable
    assert counted == readable == plain


@pytest.mark.parametrize("is_initiators", [True, False])
def test_a_stream_that_is_cut_at_any_byte_gives_whole_records_and_no_record_counts_as_unsent_that_opened(
    *, is_initiators: bool
) -> None:
    texts = [b"a", b"longer than that", b"c" * 100, b"end"]
    for cut_at in range(sum(len(each) + OVERHEAD for each in texts) + OVERHEAD + 1):
        sender, receiver = open_pair() if is_initiators else open_pair()[::-1]
        stream = b""
        for number, each in enumerate(texts):
            if number == 2:
                sender.rekey(0)
            stream += sender.send(each)
        plaintext, has_failed = received(receiver, [stream[:cut_at]])
        assert not has_failed
        assert b"".join(texts).startswith(plaintext)
        whole = begun = place = 0
        for record in split_records(stream):
            begun += (len(record) - OVERHEAD) * (place < cut_at)
            place += len(record)
            whole += (len(record) - OVERHEAD) * (place <= cut_at)
        assert len(plaintext) == whole
        assert sender.sent(0) == 0
        assert sender.sent(cut_at) == begun
        assert sender.sent(0) == 0
        assert receiver.is_amid_record == (cut_at not in _edges(stream))


def _edges(stream: bytes) -> set[int]:
    edges, place = {0}, 0
    for record in split_records(stream):
        place += len(record)
        edges.add(place)
    return edges


# ---- bytes that aren't the peer's


@pytest.mark.parametrize("is_initiators", [True, False])
def test_a_record_with_a_flipped_bit_gives_nothing_nor_does_any_after_it(*, is_initiators: bool) -> None:
    for bit in range(8 * (9 + OVERHEAD)):
        sender, receiver = open_pair() if is_initiators else open_pair()[::-1]
        flipped = bytearray(sender.send(b"plaintext"))
        flipped[bit // 8] ^= 1 << bit % 8
        plaintext, has_failed = received(receiver, [bytes(flipped), sender.send(b"more")])
        assert plaintext == b""
        assert has_failed or receiver.is_amid_record, "neither refused nor waiting for the rest of a longer record"


@pytest.mark.parametrize("place", range(2))
def test_a_handshake_with_a_flipped_bit_opens_no_channel(place: int) -> None:
    for bit in range(8 * MESSAGE_BYTES):
        one, other = channel_pair()
        message = one.data_to_send()
        if place == 1:
            other.receive(message)
            message = other.data_to_send()
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        receiver = one if place else other
        with pytest.raises(FrameError):
            receiver.receive(bytes(flipped))
        assert not receiver.is_open
        assert receiver.data_to_send() == b""
        with pytest.raises(FrameError, match="failed before"):
            receiver.receive(message)


@st.composite
def mangled(draw: st.DrawFn) -> tuple[int, list[int]]:
    count = draw(st.integers(1, 6))
    return count, draw(st.lists(st.integers(0, count - 1), max_size=8))


@settings(max_examples=200)
@given(mangled(), st.sets(st.integers(0, 5)))
def test_records_that_are_reordered_doubled_or_dropped_give_the_prefix_before_that(
    order: tuple[int, list[int]], rekeys: set[int]
) -> None:
    count, places = order
    sender, receiver = open_pair()
    sent = list[tuple[bytes, bytes]]()
    for number in range(count):
        if number in rekeys:
            sender.rekey(0)
        sent.append((b"text %d" % number, sender.send(b"text %d" % number)))
    right = 0
    while right < len(places) and places[right] == right:
        right += 1
    plaintext, has_failed = received(receiver, [sent[place][1] for place in places])
    assert plaintext == b"".join(each for each, _ in sent[:right])
    assert has_failed == (right < len(places))


def test_a_dropped_change_of_the_key_is_noticed() -> None:
    sender, receiver = open_pair()
    sender.rekey(0)
    change, after = split_records(sender.send(b"after"))
    assert len(change) == OVERHEAD
    assert received(receiver, [after]) == (b"", True)


def test_own_records_sent_back_do_not_open() -> None:
    for channel in open_pair():
        assert received(channel, [channel.send(b"mine")]) == (b"", True)
    one, _ = channel_pair()
    assert received(one, [one.data_to_send()]) == (b"", True)


def test_the_recorded_stream_of_one_connection_opens_no_other() -> None:
    one, other = channel_pair(1)
    first = one.data_to_send()
    other.receive(first)
    one.receive(other.data_to_send())
    recorded = one.send(b"hello") + one.send(b"pay")
    _, again = channel_pair(2)
    assert again.receive(first) == b"", "the first message alone can't tell"
    assert received(again, [recorded]) == (b"", True)


@pytest.mark.parametrize("size", [*range(TAG_BYTES)])
def test_a_record_shorter_than_its_tag_is_refused_at_once(size: int) -> None:
    for receiver in open_pair():
        with pytest.raises(FrameError, match=f"a record of {size} bytes; 16 to 65,535 are allowed"):
            receiver.receive(size.to_bytes(2, "big"))


def test_after_a_failure_nothing_opens_nor_is_kept() -> None:
    sender, receiver = open_pair()
    record = sender.send(b"text")
    with pytest.raises(FrameError, match="a message does not open"):
        receiver.receive(record[:-1] + bytes([record[-1] ^ 1]) + bytes(1000))
    assert not receiver.is_open
    assert not receiver.is_amid_record
    with pytest.raises(FrameError, match="failed before"):
        receiver.receive(record)


# ---- before the peer is known


def test_an_acceptor_holds_few_bytes_of_a_peer_that_may_be_a_replay() -> None:
    one, other = channel_pair()
    carry_handshake(one, other)
    with pytest.raises(FrameError, match="a record of 4,097 bytes; 16 to 4,096 are allowed"):
        other.receive((FIRST_RECORD_BYTES + 1).to_bytes(2, "big"))


@pytest.mark.parametrize("receiver", range(2))
def test_after_its_first_record_each_side_takes_long_ones(receiver: int) -> None:
    channels = channel_pair()
    carry_handshake(*channels)
    if receiver == 1:
        channels[1].receive(channels[0].send(bytes(FIRST_RECORD_BYTES - TAG_BYTES)))
    assert len(channels[receiver].receive(channels[1 - receiver].send(bytes(65_000)))) == 65_000


@pytest.mark.parametrize(
    "strangers",
    [key(psk=bytes(32)), key(cluster="b cluster"), key(cluster=""), key(cluster="a cluster\0")],
    ids=["psk", "name", "no name", "longer name"],
)
def test_a_channel_of_another_key_or_cluster_does_not_open(strangers: NoiseKey) -> None:
    one = key().new_channel(b"preface", is_initiator=True)
    stranger = strangers.new_channel(b"preface", is_initiator=False)
    with pytest.raises(FrameError, match="its cluster key or its cluster's name is not this node's"):
        stranger.receive(one.data_to_send())


def test_a_channel_of_another_preface_does_not_open() -> None:
    one = key().new_channel(b"preface", is_initiator=True)
    with pytest.raises(FrameError, match="its cluster key or its cluster's name is not this node's"):
        key().new_channel(b"prefacf", is_initiator=False).receive(one.data_to_send())


@pytest.mark.parametrize(("psk", "key_id"), [(bytes(31), b"key1"), (b"", b"key1"), (PSK, b"key"), (PSK, b"5 key")])
def test_a_key_has_32_bytes_and_its_id_4(psk: bytes, key_id: bytes) -> None:
    with pytest.raises(ValueError, match="bytes, not"):
        key(psk=psk, key_id=key_id)


def test_no_repr_shows_a_key() -> None:
    made = key()
    for shown in (repr(made), str(made), repr(made.new_channel(b"", is_initiator=True)), repr(open_pair())):
        assert not any(part in shown for part in (PSK.hex(), repr(PSK)[2:-1], "psk"))


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_no_key_and_no_channel_can_be_pickled_or_copied(copied: Callable[[object], object]) -> None:
    """A copied cipher would use its nonces a second time."""
    handshake = HandshakeState(is_initiator=True, psk=PSK, prologue=b"", ephemeral=PSK)
    for each in (key(), *channel_pair(), *open_pair(), handshake, CipherState(PSK)):
        with pytest.raises(EncodeError, match="holds key material"):
            copied(each)


# ---- new keys


def test_a_rekey_is_due_after_so_many_bytes_or_so_many_seconds_from_the_first_question() -> None:
    one, other = open_pair(rekey_bytes=1000, rekey_s=10)
    assert not one.rekey_due(100)
    assert not one.rekey_due(109)
    assert one.rekey_due(110)
    one.send(bytes(995))  # and five before
    assert one.rekey_due(101)
    one.rekey(110)
    assert not one.rekey_due(119)
    assert one.rekey_due(120)
    one.send(bytes(999))
    assert not one.rekey_due(111)
    one.send(bytes(1))
    assert one.rekey_due(111)
    assert not other.rekey_due(111), "each direction counts its own"


def test_the_usual_limits_are_far_within_those_of_the_cipher() -> None:
    assert (REKEY_BYTES, REKEY_S) == (2**38, 3600)


def test_after_a_rekey_nothing_is_sealed_with_the_key_before_it() -> None:
    one, other = open_pair()
    twin, _ = open_pair()
    one.rekey(0)
    assert one.is_open
    change, after = split_records(one.send(b"after"))
    assert split_records(twin.send(b"x"))[0][2:] != change[2:]
    assert split_records(twin.send(b"after"))[0] != after
    assert other.receive(change + after) == b"after"
    assert one.receive(other.send(b"the other direction keeps its key")) == b"the other direction keeps its key"
    one.rekey(0)
    one.rekey(0)
    assert other.receive(one.send(b"again")) == b"again"


def test_a_node_without_a_key_does_not_load_the_cipher() -> None:
    code = "import sys, trionet; sys.exit('cryptography' in sys.modules or 'trionet.security.keys' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_ephemeral_key_is_drawn_anew_for_each_channel() -> None:
    drawn = list[int]()

    def random_bytes(size: int) -> bytes:
        drawn.append(size)
        return bytes([len(drawn)]) * size

    made = key(random_bytes=random_bytes)
    messages = {made.new_channel(b"", is_initiator=True).data_to_send() for _ in range(3)}
    assert drawn == [KEY_BYTES] * 3
    assert len(messages) == 3
