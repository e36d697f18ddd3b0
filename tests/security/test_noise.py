"""Noise_NNpsk0_25519_AESGCM_SHA256 against published vectors, and against messages that it must not open."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trionet.security.noise import (
    KEY_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_NONCE,
    MESSAGE_BYTES,
    PROTOCOL_NAME,
    CipherState,
    HandshakeState,
    NoiseError,
)

VECTORS: Final[list[dict[str, Any]]] = json.loads(Path(__file__).with_name("noise_vectors.json").read_text())

PSK: Final = bytes(range(KEY_BYTES))
LOW_ORDER: Final = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
"""The encodings of the points of low order, from https://cr.yp.to/ecdh.html."""


def side(*, is_initiator: bool, psk: bytes = PSK, prologue: bytes = b"prologue", seed: int = 0) -> HandshakeState:
    ephemeral = random.Random(2 * seed + is_initiator).randbytes(KEY_BYTES)
    return HandshakeState(is_initiator=is_initiator, psk=psk, prologue=prologue, ephemeral=ephemeral)


def opened() -> tuple[HandshakeState, HandshakeState]:
    one, other = side(is_initiator=True), side(is_initiator=False)
    other.read_message(one.write_message())
    one.read_message(other.write_message())
    return one, other


# ---- vectors


def test_the_vectors_are_of_several_sources_and_have_prologues_and_payloads() -> None:
    assert len({vector["source"] for vector in VECTORS}) == 2
    kinds = {(bool(vector["prologue"]), bool(vector["messages"][0]["payload"])) for vector in VECTORS}
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_both_sides_write_and_read_the_messages_of_the_published_vectors(vector: dict[str, Any]) -> None:
    one, other = (
        HandshakeState(
            is_initiator=role == "initiator",
            psk=bytes.fromhex(vector["psk"]),
            prologue=bytes.fromhex(vector["prologue"]),
            ephemeral=bytes.fromhex(vector[f"{role}_ephemeral"]),
        )
        for role in ("initiator", "responder")
    )
    messages = [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])) for message in vector["messages"]
    ]
    for writer, reader, (payload, ciphertext) in ((one, other, messages[0]), (other, one, messages[1])):
        assert (writer.is_own_turn, reader.is_own_turn) == (True, False)
        assert writer.write_message(payload) == ciphertext
        assert reader.read_message(ciphertext) == payload
    assert one.is_complete
    assert other.is_complete
    assert one.handshake_hash == other.handshake_hash
    assert vector["handshake_hash"] in (None, one.handshake_hash.hex())
    ciphers = (one.split(), other.split())
    for number, (payload, ciphertext) in enumerate(messages[2:]):
        (sending, _), (_, receiving) = ciphers if number % 2 == 0 else ciphers[::-1]
        assert sending.encrypt(payload) == ciphertext
        assert receiving.decrypt(ciphertext) == payload


def test_the_protocols_name_needs_no_padding() -> None:
    assert len(PROTOCOL_NAME) == KEY_BYTES


# ---- messages that don't open


@pytest.mark.parametrize("place", range(2))
def test_no_message_of_the_handshake_with_a_flipped_bit_is_read(place: int) -> None:
    for bit in range(8 * MESSAGE_BYTES):
        one, other = side(is_initiator=True), side(is_initiator=False)
        message = one.write_message()
        if place == 1:
            other.read_message(message)
            message = other.write_message()
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NoiseError):
            (one if place else other).read_message(bytes(flipped))


@pytest.mark.parametrize("size", [0, 31, 32, 47, MAX_MESSAGE_BYTES + 1])
def test_a_message_of_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(NoiseError, match=f"a handshake message of {size} bytes"):
        side(is_initiator=False).read_message(bytes(size))


@pytest.mark.parametrize(("psk", "prologue"), [(bytes(32), b"prologue"), (PSK, b"prologuf"), (PSK, b"")])
def test_another_psk_or_prologue_opens_no_message(psk: bytes, prologue: bytes) -> None:
    with pytest.raises(NoiseError):
        side(is_initiator=False, psk=psk, prologue=prologue).read_message(side(is_initiator=True).write_message())


def test_the_second_message_answers_one_first_message_alone() -> None:
    one, again, other = side(is_initiator=True), side(is_initiator=True, seed=1), side(is_initiator=False)
    again.write_message()
    other.read_message(one.write_message())
    answer = other.write_message()
    with pytest.raises(NoiseError):
        again.read_message(answer)


def test_the_first_message_sent_back_is_not_read_as_its_answer() -> None:
    one = side(is_initiator=True)
    message = one.write_message()
    with pytest.raises(NoiseError):
        one.read_message(message)


@pytest.mark.parametrize("public", LOW_ORDER, ids=range(len(LOW_ORDER)))
def test_a_holder_of_the_psk_with_a_public_key_of_low_order_is_refused(public: bytes) -> None:
    class Low(HandshakeState):
        __slots__ = ()

        def write_message(self, payload: bytes = b"") -> bytes:
            self._symmetric.mix_key_and_hash(PSK)
            self._mix_ephemeral(public)
            return public + self._symmetric.encrypt_and_hash(payload)

    low, other = Low(is_initiator=True, psk=PSK, prologue=b"", ephemeral=PSK), side(is_initiator=False, prologue=b"")
    other.read_message(low.write_message())
    with pytest.raises(NoiseError, match="low order"):
        other.write_message()


@pytest.mark.parametrize("psk", [b"", bytes(31), bytes(33)])
def test_a_psk_has_32_bytes(psk: bytes) -> None:
    with pytest.raises(ValueError, match="a PSK has 32 bytes"):
        side(is_initiator=True, psk=psk)


# ---- ciphers


def test_the_two_directions_and_each_connection_have_different_keys() -> None:
    one, other = opened()
    (sending, receiving), (others_sending, _) = one.split(), other.split()
    ciphertext = sending.encrypt(b"text")
    with pytest.raises(NoiseError):
        receiving.decrypt(ciphertext)
    assert others_sending.encrypt(b"text") != ciphertext


def test_a_ciphertext_opens_once_and_in_order() -> None:
    sending, receiving = CipherState(PSK), CipherState(PSK)
    first, second = sending.encrypt(b"first"), sending.encrypt(b"second")
    with pytest.raises(NoiseError):
        receiving.decrypt(second)
    assert receiving.decrypt(first) == b"first"
    with pytest.raises(NoiseError):
        receiving.decrypt(first)
    assert receiving.decrypt(second) == b"second"


def test_the_last_nonce_is_not_used() -> None:
    """Section 5.1: 2^64-1 is reserved, and the state must signal an error instead."""
    sending, receiving = CipherState(PSK), CipherState(PSK)
    for cipher in (sending, receiving):
        cipher.set_nonce(MAX_NONCE - 1)
    assert receiving.decrypt(sending.encrypt(b"the last")) == b"the last"
    with pytest.raises(NoiseError, match="used up"):
        sending.encrypt(b"one more")
    with pytest.raises(NoiseError, match="used up"):
        receiving.decrypt(bytes(20))


def test_a_rekey_takes_the_key_from_the_reserved_nonce_and_goes_on_counting() -> None:
    """Section 4.2: REKEY(k) is the first 32 bytes of ENCRYPT(k, 2^64-1, zerolen, zeros)."""
    sending, receiving = CipherState(PSK), CipherState(PSK)
    receiving.decrypt(sending.encrypt(b"before"))
    sending.rekey()
    receiving.rekey()
    ciphertext = sending.encrypt(b"after")
    key = AESGCM(PSK).encrypt(bytes(4) + b"\xff" * 8, bytes(32), None)[:32]
    assert ciphertext == AESGCM(key).encrypt(bytes(11) + b"\x01", b"after", None)
    assert receiving.decrypt(ciphertext) == b"after"
