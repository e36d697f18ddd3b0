"""What is sealed for one receiver opens there once, and nowhere else."""

from __future__ import annotations

import copy
import math
import pickle
import sys
import time
import tracemalloc
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from tests.security.growth import no_growth
from tests.security.sealed_nodes import BOTH, KEY_ID, KEYS, OTHER_ID, Peer, introduce, packet
from trionet.errors import EncodeError, MalformedRequest, MessageTooLarge
from trionet.protocols.mux import DATAGRAM_BYTES
from trionet.security.cookies import Cookies
from trionet.security.datagram_format import OVERHEAD_BYTES, PLAINTEXT_BYTES, Kind
from trionet.security.datagram_keys import DatagramKeys
from trionet.security.datagram_opener import CHALLENGE_BYTES, DatagramOpener, Refusal
from trionet.security.sealed_datagrams import RECENT_S, DatagramSealer


def pair(seed: int = 1) -> tuple[Peer, Peer]:
    rng = Random(seed)
    one, other = Peer("10.0.0.1:80", rng), Peer("10.0.0.2:80", rng)
    introduce(one, other)
    return one, other


@given(st.binary(max_size=PLAINTEXT_BYTES - 4))
def test_what_is_sealed_is_opened_and_37_bytes_longer(content: bytes) -> None:
    one, other = PAIR
    plain = b"one|" + content
    data = one.sealer.seal(other.name, plain, 0.0)
    assert len(data) == len(plain) + 37 == len(plain) + OVERHEAD_BYTES <= DATAGRAM_BYTES
    assert other.open(data, one.name).plaintext == plain


PAIR = pair()


def test_the_longest_packet_has_1363_bytes() -> None:
    one, other = pair()
    assert len(one.sealer.seal(other.name, bytes(1363), 0.0)) == 1400
    with pytest.raises(MessageTooLarge, match="1364 bytes"):
        one.sealer.seal(other.name, bytes(1364), 0.0)
    assert other.open(bytes(1401), one.name).refused is Refusal.MALFORMED


def test_each_bit_flipped_is_refused_and_changes_nothing() -> None:
    one, other = pair()
    good = one.seal(other.name, "content")
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        opened = other.open(bytes(bad), one.name)
        assert (opened.plaintext, opened.answer) == (None, None)
        assert opened.refused not in (None, Refusal.UNPROVEN)
    counts = other.opener.refused
    assert counts.unasked == 2  # one bit makes a challenge of it, and one an echo
    assert counts.malformed + counts.unknown_key + counts.forged + counts.unasked + counts.replayed == 8 * len(good)
    assert (other.opener.lives, other.opener.held) == (1, 0)
    assert other.open(good, one.name).plaintext is not None


def test_each_bit_flipped_in_a_challenge_and_in_an_echo_is_refused() -> None:
    rng = Random(2)
    one, other = Peer("one", rng), Peer("other", rng)
    challenge = other.open(one.seal("other", "x"), "one").answer
    assert challenge is not None
    for bit in range(8 * len(challenge)):
        bad = (int.from_bytes(challenge, "big") ^ 1 << bit).to_bytes(len(challenge), "big")
        assert one.open(bad, "other").answer is None
    echo = one.open(challenge, "other").answer
    assert echo is not None
    for bit in range(8 * len(echo)):
        bad = (int.from_bytes(echo, "big") ^ 1 << bit).to_bytes(len(echo), "big")
        assert other.open(bad, "one").plaintext is None
    assert other.opener.lives == 0
    assert other.open(echo, "one").plaintext == packet("one", "x")


def test_a_datagram_to_one_receiver_is_no_use_to_another() -> None:
    rng = Random(3)
    one, other, third = (Peer(name, rng) for name in ("one", "other", "third"))
    introduce(one, other)
    introduce(one, third)
    assert third.open(one.seal("other", "x"), "one").refused is Refusal.FORGED


def test_names_and_clusters_are_not_confused_where_they_meet() -> None:
    rng = Random(4)
    one = Peer("one", rng, cluster="ab")
    other = Peer("bc", rng, cluster="a")
    assert other.open(one.seal("c", "x"), "one").refused is Refusal.FORGED


def test_two_clusters_with_one_key_never_accept_each_others_datagrams() -> None:
    rng = Random(5)
    here, there = Peer("here", rng, cluster="blue"), Peer("there", rng, cluster="green")
    native = Peer("native", rng, cluster="green")
    introduce(native, there)
    assert there.open(native.seal("there", "again"), "native").plaintext is not None
    assert there.open(here.seal("there", "x"), "here").refused is Refusal.FORGED
    challenge = here.sealer.seal_for_life(Kind.CHALLENGE, there.sealer.boot_id, bytes(12), 0)
    assert there.open(challenge, "here").refused is Refusal.UNASKED
    assert there.opener.lives == 1


def test_a_node_of_another_key_is_told_apart_from_a_forger() -> None:
    rng = Random(6)
    one, other = Peer("one", rng), Peer("other", rng, keys=DatagramKeys({OTHER_ID: b"o" * 32}, OTHER_ID))
    assert one.open(other.seal("one", "x"), "other").refused is Refusal.UNKNOWN_KEY
    same_id = Peer("third", rng, keys=DatagramKeys({KEY_ID: b"o" * 32}, KEY_ID))
    assert one.open(same_id.seal("one", "x"), "third").refused is Refusal.FORGED


def test_a_reflected_datagram_is_refused() -> None:
    one, other = pair()
    assert one.open(one.seal(other.name, "x"), other.name).refused is Refusal.FORGED
    assert one.open(one.seal(one.name, "x"), other.name).refused is Refusal.FORGED


def test_several_keys_open_and_one_seals() -> None:
    one, other = pair()
    other.opener.use_keys(BOTH)
    assert other.open(one.seal(other.name, "old"), one.name).plaintext is not None
    one.opener.use_keys(BOTH)
    data = one.seal(other.name, "new")
    assert data[1:5] == OTHER_ID
    assert other.open(data, one.name).plaintext is not None


def test_a_key_that_was_taken_away_opens_nothing_though_its_ciphers_were_kept() -> None:
    one, other = pair()
    assert other.open(one.seal(other.name, "x"), one.name).plaintext is not None
    other.opener.use_keys(DatagramKeys({OTHER_ID: b"o" * 32}, OTHER_ID))
    assert other.open(one.seal(other.name, "x"), one.name).refused is Refusal.UNKNOWN_KEY
    other.opener.use_keys(DatagramKeys({KEY_ID: b"n" * 32}, KEY_ID))
    assert other.open(one.seal(other.name, "x"), one.name).refused is Refusal.FORGED


def test_the_counter_goes_on_across_keys_and_blocks_and_never_repeats() -> None:
    one, other = pair()
    seen = set[tuple[bytes, int, bytes]]()
    for start in (0, (1 << 28) - 3, (1 << 40) - 3):
        one.sealer.counter = max(one.sealer.counter, start)
        for index in range(6):
            if index == 3:
                one.sealer.use_keys(KEYS if one.sealer.keys is BOTH else BOTH)
                other.opener.use_keys(BOTH)
            data = one.seal(other.name, "x")
            assert other.open(data, one.name).plaintext is not None
            seen.add((data[1:5], int.from_bytes(data[5:13], "big"), data[13:21]))
    assert len(seen) == 18
    assert len({counter for *_, counter in seen}) == 18


def test_each_block_of_counters_has_a_subkey_of_its_own() -> None:
    nonce, sealed = bytes(12), set[bytes]()
    for key_id, boot_id, block in ((KEY_ID, 1, 0), (KEY_ID, 1, 1), (KEY_ID, 2, 0), (OTHER_ID, 1, 0)):
        cipher = BOTH.subkey(key_id, boot_id, block)
        assert isinstance(cipher, AESGCM)
        sealed.add(cipher.encrypt(nonce, b"x" * 16, b""))
    assert len(sealed) == 4


def test_the_wire_format_is_fixed() -> None:
    sealer = DatagramSealer("10.0.0.1:80", "c", KEYS, 0x0102030405060708)
    data = sealer.seal("10.0.0.2:80", b"packet", 0.0)
    assert data[:21].hex() == "01" + KEY_ID.hex() + "0102030405060708" + "0000000000000000"
    assert data.hex()[42:] == FIXED


FIXED = "c0b84f0260b4e942d2e180e0507f0ce0e73e73336187"


def test_a_new_life_needs_a_new_boot_id() -> None:
    one, _ = pair()
    with pytest.raises(MalformedRequest, match="nonces would repeat"):
        one.sealer.renew(one.sealer.boot_id)
    wrong: Any
    for wrong in (-1, 1 << 64, "7", None, 1.0, True):
        with pytest.raises(MalformedRequest, match="64 random bits"):
            one.sealer.renew(wrong)


def test_datagram_keys_show_no_key_and_do_not_travel() -> None:
    keys = DatagramKeys({KEY_ID: b"secretsecretsecretsecretsecretse"}, KEY_ID)
    assert "secret" not in repr(keys)
    assert KEY_ID.hex() in repr(keys)
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(EncodeError, match="holds key material"):
            travel(keys)


@pytest.mark.parametrize(
    ("keys", "sealing"),
    [({}, KEY_ID), ({KEY_ID: b"short"}, KEY_ID), ({b"id": b"k" * 32}, b"id"), ({KEY_ID: b"k" * 32}, OTHER_ID)],
)
def test_wrong_datagram_keys_are_refused(keys: dict[bytes, bytes], sealing: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        DatagramKeys(keys, sealing)
    assert "short" not in str(caught.value)


def test_strange_bytes_are_refused_and_never_raise() -> None:
    one, other = pair()
    rng = Random(7)
    good = one.seal(other.name, "content" * 20)
    for _ in range(20_000):
        data = mangled(good, rng)
        opened = other.open(data, "anyone")
        assert (opened.plaintext, opened.answer) == (None, None)
    assert (other.opener.lives, other.opener.held) == (1, 0)


def mangled(good: bytes, rng: Random) -> bytes:
    """Return a datagram cut, extended, patched or made of random bytes; never `good`."""
    match rng.randrange(4):
        case 0:
            return good[: rng.randrange(len(good))]
        case 1:
            return good + rng.randbytes(rng.randrange(1, 1400))
        case 2:
            at = rng.randrange(len(good))
            return good[:at] + bytes([good[at] ^ rng.randrange(1, 256)]) + good[at + 1 :]
        case _:
            return rng.choice([b"\x01", b"\x11", b"\x21", b"\x93"]) + KEY_ID + rng.randbytes(rng.randrange(1400))


@given(st.integers(0, (1 << 64) - 1), st.text(), st.floats(-1e9, 1e9), st.floats(0, 30))
def test_a_cookie_is_valid_for_5_to_10_seconds(boot_id: int, source: str, now: float, later: float) -> None:
    cookies = Cookies(b"secret")
    cookie = cookies.cookie(boot_id, source, now)
    is_valid = cookies.is_valid(cookie, boot_id, source, now + later)
    assert is_valid or later > 4.9
    assert not is_valid or later < 10.1
    assert not cookies.is_valid(cookie, boot_id ^ 1, source, now)
    assert not cookies.is_valid(cookie, boot_id, source + "x", now)
    assert not Cookies(b"other").is_valid(cookie, boot_id, source, now)


@given(st.lists(st.floats(0, 2), max_size=30), st.floats(0, 12))
def test_ages_are_never_too_low_and_hardly_too_high(pauses: list[float], later: float) -> None:
    sealer, now, sent = DatagramSealer("one", "c", KEYS, 1), 0.0, list[float]()
    for pause in pauses:
        now += pause * pause / 20
        sealer.seal("other", b"", now)
        sent.append(now)
    now += later
    for counter, at in enumerate(sent):
        age_s = sealer.age_s(counter, now)
        assert now - at <= age_s
        assert age_s <= now - at + 0.01 or now - at > RECENT_S - 0.01
    assert sealer.age_s(len(sent), now) == sealer.age_s(-1, now) == math.inf


def test_few_times_are_remembered() -> None:
    sealer = DatagramSealer("one", "c", KEYS, 1)
    for index in range(20_000):
        sealer.seal("other", b"", index / 1000)
    assert sys.getsizeof(sealer._marks) < 16_000  # noqa: SLF001  memory has no public measure


def test_a_challenge_has_49_bytes_and_no_packet_is_shorter() -> None:
    assert CHALLENGE_BYTES == 49
    opener = DatagramOpener(DatagramSealer("b", "c", KEYS, 2), Cookies(b"s"), lambda _: "a", 0.0)
    sealer = DatagramSealer("a", "c", KEYS, 1)
    assert opener.open(sealer.seal("b", bytes(11), 0.0), "a", 0.0).answer is None
    assert opener.held == 0
    answer = opener.open(sealer.seal("b", bytes(12), 0.0), "a", 0.0).answer
    assert answer is not None
    assert len(answer) == 49


def attack(known: bytes, good: list[bytes], rng: Random, count: int = 250) -> list[bytes]:
    """Return forged datagrams: of unknown boot ids, of a known one, replayed, and mangled; so many of each."""
    tail = rng.randbytes(110)
    return [
        *(b"\x01" + KEY_ID + rng.randbytes(16) + tail for _ in range(count)),
        *(known[:13] + rng.randrange(1 << 40).to_bytes(8, "big") + tail for _ in range(count)),
        *(rng.choice(good) for _ in range(count)),
        *(mangled(known, rng) for _ in range(count)),
    ]


def test_forged_datagrams_leave_no_trace() -> None:
    one, other = pair()
    rng = Random(9)
    good = [one.seal(other.name, "content" * 10) for _ in range(100)]
    assert all(other.open(data, one.name).plaintext is not None for data in good)
    batch = attack(good[0], good, rng)
    tracemalloc.start()
    try:
        assert all(other.open(data, "attacker").plaintext is None for data in batch)
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()
    assert (other.opener.lives, other.opener.held) == (1, 0)
    assert other.open(one.seal(other.name, "still here"), one.name).plaintext is not None


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_million_forged_datagrams_are_refused_and_the_cost_of_one_is_shown() -> None:
    one, other = pair()
    rng = Random(8)
    good = [one.seal(other.name, "content" * 10) for _ in range(1000)]
    assert all(other.open(data, one.name).plaintext is not None for data in good)
    spent_s = 0.0
    with no_growth():
        for _ in range(1000):
            batch = attack(rng.choice(good), good, rng)
            started = time.process_time()
            outcomes = [other.open(data, "attacker") for data in batch]
            spent_s += time.process_time() - started
            assert all((opened.plaintext, opened.answer) == (None, None) for opened in outcomes)
        del batch, outcomes
    assert (other.opener.lives, other.opener.held) == (1, 0)
    assert other.open(one.seal(other.name, "still here"), one.name).plaintext is not None
    # The figure is what this test is run for.
    print(f"{spent_s:.1f} us of processor time for each datagram; {other.opener.refused}")  # noqa: T201
