"""The nonces of requests: none is accepted twice, in bounded memory, whatever the clock does."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet import MalformedRequest
from trionet.security.nonces import CLOCKS_DIFFER_US, WINDOW_US, NonceStore, nonce_of, time_of

START = 1_800_000_000_000_000


def nonce_at(time_us: int, number: int = 0) -> bytes:
    return nonce_of(time_us, number.to_bytes(16, "big"))


def test_a_nonce_has_the_time_of_its_request() -> None:
    assert time_of(nonce_at(START, 5)) == START
    assert [time_of(wrong) for wrong in (b"", b"x" * 23, b"x" * 25)] == [None] * 3


@pytest.mark.parametrize(("time_us", "rand"), [(-1, bytes(16)), (2**64, bytes(16)), (0, bytes(15)), (0, b"")])
def test_a_nonce_of_wrong_parts_is_not_made(time_us: int, rand: bytes) -> None:
    with pytest.raises(MalformedRequest, match="a nonce is made of"):
        nonce_of(time_us, rand)


def test_a_nonce_is_accepted_once() -> None:
    store = NonceStore(START)
    nonce = nonce_at(START + 5)
    assert store.refusal(nonce, START + 10) is None
    assert store.refusal(nonce, START + 10) == "the request was replayed"
    assert store.refusal(nonce_at(START + 5, 1), START + 10) is None


def test_a_request_has_a_time_after_the_start_and_near_now() -> None:
    store = NonceStore(START)
    now = START + 10 * WINDOW_US
    for time_us, reason in {
        START - 1: "from before this node's start",
        START: "from before this node's start",
    }.items():
        refusal = store.refusal(nonce_at(time_us), START + 1)
        assert refusal is not None
        assert reason in refusal
    for time_us, reason in {
        now - WINDOW_US - 1: "60.0 s old: do the clocks differ?",
        now + CLOCKS_DIFFER_US + 1: "30.0 s in the future: do the clocks differ?",
    }.items():
        refusal = store.refusal(nonce_at(time_us), now)
        assert refusal is not None
        assert reason in refusal
    assert len(store) == 0
    assert store.refusal(nonce_at(now - WINDOW_US), now) is None
    assert store.refusal(nonce_at(now + CLOCKS_DIFFER_US), now) is None
    assert store.refusal(b"short", now) == "the nonce has no time"


_steps = st.lists(
    st.tuples(
        st.integers(-200, 200) | st.just(0),  # how the clock moves, in seconds
        st.integers(-70, 40),  # the time of a request after that of the clock, in seconds
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(_steps, st.integers(1, 8))
def test_no_nonce_is_accepted_twice_whatever_the_clock_does(steps: list[tuple[int, int, int]], most: int) -> None:
    store, accepted, now = NonceStore(START, most), set[bytes](), START
    sent: list[bytes] = []
    for jump, after, number in steps:
        now += jump * 1_000_000
        sent.append(nonce_at(now + after * 1_000_000, number))
        for nonce in sent:
            if store.refusal(nonce, now) is None:
                assert nonce not in accepted
                accepted.add(nonce)
            assert len(store) <= most
    assert all((time_of(nonce) or 0) > START for nonce in accepted)


def test_a_clock_that_was_wrong_for_a_while_does_no_lasting_harm() -> None:
    store, hour = NonceStore(START), 3600 * 1_000_000
    assert store.refusal(nonce_at(START + 1), START + 1) is None
    assert store.refusal(nonce_at(START + hour), START + hour) is None  # both clocks are wrong
    assert store.refusal(nonce_at(START + 2), START + 2) is None
    assert store.refusal(nonce_at(START + 1), START + 2) is not None


def test_a_flood_makes_the_window_shorter_and_lets_no_replay_pass() -> None:
    store, most = NonceStore(START, 100), 100
    nonces = [nonce_at(START + 1 + step) for step in range(1000)]
    assert [store.refusal(nonce, START + 1000) for nonce in nonces] == [None] * 1000
    assert len(store) == most
    assert all(store.refusal(nonce, START + 1000) is not None for nonce in nonces)
    assert store.refusal(nonce_at(START + 1001), START + 1001) is None


def test_old_nonces_are_forgotten_and_memory_is_bounded() -> None:
    store = NonceStore(START)
    for step in range(1000):
        assert store.refusal(nonce_at(START + 1 + step), START + 1000) is None
    later = START + 1000 + 2 * WINDOW_US
    assert store.refusal(nonce_at(later), later) is None
    assert len(store) == 1
    rng = random.Random(1)
    for step in range(70_000):
        store.refusal(nonce_of(later + step, rng.randbytes(16)), later + 70_000)
    assert len(store) == 65_536


@pytest.mark.slow
def test_a_nonce_takes_less_than_200_bytes() -> None:
    tracemalloc.start()
    try:
        store, rng = NonceStore(START), random.Random(1)
        for step in range(10_000):
            assert store.refusal(nonce_of(START + 1 + step, rng.randbytes(16)), START + 10_000) is None
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(store) < 200
