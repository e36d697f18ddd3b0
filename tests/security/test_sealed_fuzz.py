"""Sealed handshakes and records, altered at random on their way: only what was sent comes out, and only once."""

from __future__ import annotations

import os
import random
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import pytest

from tests.protocols.link.cores import encoded, hello
from tests.security.growth import no_growth
from tests.security.sealed import channel_pair, key, open_pair, split_records
from trionet.protocols.link.frames import PREFACE, Bye, FrameError
from trionet.protocols.link.handshake import Handshake, HandshakeError, PeerSpeaksHTTP
from trionet.security.noise import MAX_MESSAGE_BYTES, CipherState

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.security.noise_channel import NoiseChannel

_KEYS: Final = [key(), key(psk=bytes(32), key_id=b"key2")]
_LARGE: Final = bytes(70_000)

# ---- what happens on the way


def _altered(rng: random.Random, data: bytes, spare: list[bytes]) -> bytes:
    """Return bytes with some things wrong; `spare` are bytes that may come instead."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(8):
            case 0 | 1 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 2:
                del changed[place : place + rng.choice((1, 2, 16, 48, 200))]
            case 3:
                changed[place:place] = rng.randbytes(rng.choice((1, 2, 16, 48)))
            case 4:
                begin = rng.randrange(len(changed) + 1)
                changed[place:place] = changed[begin : begin + rng.choice((1, 18, 48, 200))]
            case 5:
                changed[place:place] = rng.choice(spare)
            case 6:
                changed[place : place + 2] = rng.choice((0, 15, 16, 4096, 4097, 0xFFFF)).to_bytes(2, "big")
            case _:
                del changed[place:]
    return bytes(changed)


def _shuffled(rng: random.Random, records: list[bytes], spare: list[bytes]) -> list[bytes]:
    """Return whole records in another order, some of them twice, not at all, or from elsewhere."""
    records = list(records)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(records) + 1)
        match rng.randrange(4):
            case 0 if place < len(records):
                records.insert(rng.randrange(len(records)), records.pop(place))
            case 1 if place < len(records):
                records.insert(rng.randrange(len(records)), records[place])
            case 2 if place < len(records):
                del records[place]
            case _:
                records.insert(place, rng.choice(spare))
    return records


def _pieces(rng: random.Random, data: bytes) -> list[bytes]:
    if rng.random() < 0.05 and len(data) < 300:
        return [data[place : place + 1] for place in range(len(data))]
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
    pieces = [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


# ---- records


def _ciphered(rng: random.Random) -> tuple[NoiseChannel, NoiseChannel]:
    """Return two open channels; their keys are random rather than exchanged, which is most of the time."""
    sender, receiver = _idle()
    ours, theirs = rng.randbytes(32), rng.randbytes(32)
    for channel, sending, receiving in ((sender, ours, theirs), (receiver, theirs, ours)):
        channel._handshake = None  # noqa: SLF001  instead of a handshake
        channel._sending, channel._receiving = CipherState(sending), CipherState(receiving)  # noqa: SLF001
        channel._max_record_bytes = MAX_MESSAGE_BYTES  # noqa: SLF001
    return sender, receiver


def _idle() -> tuple[NoiseChannel, NoiseChannel]:
    (_, sender), (_, receiver) = channel_pair(), channel_pair()
    return sender, receiver


def _attack_records(rng: random.Random) -> bool:
    """Run one case; return whether the receiver has failed."""
    sender, receiver = _ciphered(rng)
    texts, stream = list[bytes](), b""
    for _ in range(rng.randint(1, 5)):
        if rng.random() < 0.2:
            sender.rekey(0)
        text = _LARGE if rng.random() < 0.02 else rng.randbytes(rng.choice((1, 5, 40, 150)))
        texts.append(text)
        stream += sender.send(text)
    spare = [receiver.send(b"its own"), b"\0\x10" + bytes(16), bytes(18)]
    if rng.random() < 0.5:
        stream = _altered(rng, stream, spare)
    else:
        stream = b"".join(_shuffled(rng, split_records(stream), spare))
    plaintext, has_failed = b"", False
    for piece in _pieces(rng, stream):
        try:
            more = receiver.receive(piece)
        except FrameError:
            has_failed = True
            assert not receiver.is_open
        else:
            assert not (has_failed and more), "something came out after a failure"
            plaintext += more
        assert len(receiver._received) < MAX_MESSAGE_BYTES + 2  # noqa: SLF001  a look inside
    assert b"".join(texts).startswith(plaintext)
    return has_failed


# ---- handshakes


def _transcript(seed: int) -> tuple[bytes, bytes, bytes]:
    """Return what an initiator says, what it is answered, and what it says then."""
    one = Handshake(hello(), is_initiator=True, keys=[key(random_bytes=random.Random(seed).randbytes)])
    other = Handshake(hello(), is_initiator=False, keys=_KEYS)
    first = one.data_to_send()
    other.receive(first)
    answer = other.data_to_send()
    one.receive(answer)
    return first, answer, one.data_to_send()


_RECORDED: Final = [_transcript(seed) for seed in range(3)]
_SPARE: Final = [
    *(said for recorded in _RECORDED for said in recorded),
    PREFACE,
    PREFACE + b"\0",
    *(PREFACE + bytes([refusal]) for refusal in range(0x80, 0x86)),
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    encoded(hello()),
    encoded(Bye("any")),
    *(each.seal for each in _KEYS),
]


def _attack_handshake(rng: random.Random) -> bool:
    """Run one case; return whether the handshake has failed."""
    first, answer, second = rng.choice(_RECORDED)
    is_initiator, keys = rng.random() < 0.3, [_KEYS[0]]
    if not is_initiator and rng.random() < 0.3:
        keys = _KEYS
    handshake = Handshake(
        hello(), is_initiator=is_initiator, keys=keys, accepts_plain=rng.random() < 0.2 and not is_initiator
    )
    said = len(handshake.data_to_send())
    stream = rng.choice((answer, first)) if is_initiator else first + rng.choice((b"", second, first))
    if rng.random() < 0.9:
        stream = _altered(rng, stream, _SPARE)
    for piece in _pieces(rng, stream):
        try:
            greeted = handshake.receive(piece)
        except HandshakeError:
            said += len(handshake.data_to_send())
            break
        except PeerSpeaksHTTP:
            raise AssertionError("a node with a key would go on in HTTP") from None
        said += len(handshake.data_to_send())
        assert greeted is None or (greeted.channel is None and not is_initiator and greeted.key is None)
        assert len(handshake._received) < 5000  # noqa: SLF001  a look inside
    else:
        return False
    assert said < 200
    return True


# ---- runs


def _run_case(attack: Callable[[random.Random], bool], case: int) -> bool:
    try:
        return attack(random.Random(case))
    except BaseException as exc:  # a hang is ended by the timeout's own exception
        exc.add_note(f"the case is TRIONET_FUZZ_SEED={case}")
        raise


def _fuzz(attack: Callable[[random.Random], bool], cases: int) -> float:
    """Run so many cases; return how many there were in a second."""
    seed = int(os.environ.get("TRIONET_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
    failed = 0
    begun = time.process_time()
    warm = cases // 10
    for part in (range(seed, seed + warm), range(seed + warm, seed + cases)):
        with nullcontext() if part.start == seed else no_growth():
            failed += sum(_run_case(attack, case) for case in part)
    assert cases / 3 < failed < cases, "the fuzzing has become toothless"
    return cases / (time.process_time() - begun)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [_attack_records, _attack_handshake], ids=["records", "handshake"])
def test_whatever_happens_on_the_way_nothing_comes_out_that_was_not_sent(
    attack: Callable[[random.Random], bool], record_property: Callable[[str, object], None]
) -> None:
    record_property("cases_per_second", round(_fuzz(attack, 2_000)))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("attack", [_attack_records, _attack_handshake], ids=["records", "handshake"])
def test_whatever_happens_on_the_way_in_half_a_million_cases_of_each(
    attack: Callable[[random.Random], bool], record_property: Callable[[str, object], None]
) -> None:
    record_property("cases_per_second", round(_fuzz(attack, 500_000)))


def test_a_channel_of_the_fuzzing_is_one_as_a_handshake_opens_it() -> None:
    """What is set in its place is all that the handshake sets."""
    sender, receiver = _ciphered(random.Random(1))
    opened, _ = open_pair()
    names = type(opened).__slots__
    assert [getattr(opened, name) is None for name in names] == [getattr(sender, name) is None for name in names]
    assert receiver.receive(sender.send(b"text")) == b"text"
