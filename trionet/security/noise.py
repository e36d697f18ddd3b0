"""Noise_NNpsk0_25519_AESGCM_SHA256: a handshake of two messages, after which both sides share fresh keys.

    -> psk, e
    <- e, ee

Both sides hold the same pre-shared key (PSK) and know the same prologue; nothing else identifies them. A message opens
only with both, so the first one shows that its author held the PSK, but not when: it may be a replay. The second one
answers a fresh ephemeral key, and the initiator's first transport message answers the responder's. Both ephemeral keys
are forgotten, so that a PSK that leaks later opens no recorded connection.

Invariants: nothing is returned that is not authenticated. A key encrypts at most once with each nonce.

Source: Trevor Perrin, The Noise Protocol Framework, revision 34 (https://noiseprotocol.org/noise.html). The names are
the specification's, and the sections are its.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .holds_secrets import HoldsSecrets

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "KEY_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_NONCE",
    "MESSAGE_BYTES",
    "PROTOCOL_NAME",
    "TAG_BYTES",
    "UNOPENED",
    "CipherState",
    "HandshakeState",
    "NoiseError",
    "SymmetricState",
]

PROTOCOL_NAME: Final = b"Noise_NNpsk0_25519_AESGCM_SHA256"
KEY_BYTES: Final = 32
"""The size of a PSK, of both halves of a DH key pair, of cipher keys and of hashes."""

TAG_BYTES: Final = 16
MAX_MESSAGE_BYTES: Final = 65_535
"""Section 3: "All Noise messages are less than or equal to 65535 bytes in length"."""

MESSAGE_BYTES: Final = KEY_BYTES + TAG_BYTES
"""The size of either handshake message with an empty payload."""

MAX_NONCE: Final = 2**64 - 1
"""Section 5.1: it is reserved for `CipherState.rekey`."""

UNOPENED: Final = "a message does not open"
"""The text of the error."""

_AEAD = Callable[[bytes, "bytes | memoryview", bytes | None], bytes]
_Token = Literal["psk", "e", "ee"]

_PATTERN: Final[tuple[tuple[_Token, ...], ...]] = (("psk", "e"), ("e", "ee"))
_pack_nonce: Callable[[int], bytes] = struct.Struct(">4xQ").pack
"""Section 12.4: the nonce of AESGCM is 32 bits of zeros, and a big-endian 64-bit number."""


class NoiseError(Exception):
    """A message does not open, or a key is used up. The connection is unusable."""


class CipherState(HoldsSecrets):
    """A key, and the numbers of its messages (section 5.1).

    `encrypt` and `decrypt` are the specification's functions. Whoever handles each record of a link takes their parts
    instead, because a call of a function costs a tenth of the encryption of a short record.

    Attributes:
        seal, unseal: AES-GCM with the key: ``(nonce, data, associated)``; see `AESGCM`.
        nonces: the nonce of the next message, and so on; at their end a `NoiseError`.
    """

    __slots__ = ("nonces", "seal", "unseal")

    def __init__(self, key: bytes) -> None:
        self.set_nonce(0)
        self._initialize(key)

    def _initialize(self, key: bytes) -> None:
        cipher = AESGCM(key)
        self.seal: _AEAD = cipher.encrypt
        self.unseal: _AEAD = cipher.decrypt

    def set_nonce(self, nonce: int) -> None:
        """Set the number of the next message."""
        self.nonces: Iterator[bytes] = chain(map(_pack_nonce, range(nonce, MAX_NONCE)), _UsedUp())

    def encrypt(self, plaintext: bytes | memoryview, associated: bytes | None = None) -> bytes:
        """Return the ciphertext and tag of the next message ("EncryptWithAd").

        Raises:
            NoiseError: all nonces are used.
        """
        return self.seal(next(self.nonces), plaintext, associated)

    def decrypt(self, ciphertext: bytes | memoryview, associated: bytes | None = None) -> bytes:
        """Return the plaintext of the next message ("DecryptWithAd").

        Raises:
            NoiseError: it does not open, or all nonces are used.
        """
        nonce = next(self.nonces)
        try:
            return self.unseal(nonce, ciphertext, associated)
        except InvalidTag:
            self.nonces = chain((nonce,), self.nonces)  # "n is not incremented"
            raise NoiseError(UNOPENED) from None

    def rekey(self) -> None:
        """Replace the key by one that does not reveal it ("Rekey", section 4.2). The nonce stays."""
        self._initialize(self.seal(_pack_nonce(MAX_NONCE), bytes(KEY_BYTES), None)[:KEY_BYTES])


class _UsedUp:
    """The end of all nonces, however often it is asked."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        raise NoiseError("the key of this connection is used up")


class SymmetricState(HoldsSecrets):
    """The chaining key, and the hash of all that both sides have seen (section 5.2).

    The cipher has a key from the pattern's first token on, so that the case "k is empty" doesn't arise.

    Attributes:
        handshake_hash: "h"; after the handshake it identifies the connection (section 11.2).
    """

    __slots__ = ("_chaining_key", "_cipher", "handshake_hash")

    def __init__(self) -> None:
        self.handshake_hash: bytes = PROTOCOL_NAME  # of HASHLEN bytes, so that it needs neither hash nor padding
        self._chaining_key = self.handshake_hash
        self._cipher: CipherState | None = None

    def mix_hash(self, data: bytes) -> None:
        """Hash what both sides have seen."""
        self.handshake_hash = sha256(self.handshake_hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        """Derive a new key from a public or shared one."""
        self._chaining_key, key = self._derived(material, 2)
        self._cipher = CipherState(key)

    def mix_key_and_hash(self, material: bytes) -> None:
        """Derive a new key from a PSK."""
        self._chaining_key, hashed, key = self._derived(material, 3)
        self.mix_hash(hashed)
        self._cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Return an encrypted payload."""
        assert self._cipher is not None
        ciphertext = self._cipher.encrypt(plaintext, self.handshake_hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Return the payload of a ciphertext.

        Raises:
            NoiseError: it does not open.
        """
        assert self._cipher is not None
        plaintext = self._cipher.decrypt(ciphertext, self.handshake_hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers of the initiator's and of the responder's messages."""
        ours, theirs = self._derived(b"", 2)
        return CipherState(ours), CipherState(theirs)

    def _derived(self, material: bytes, outputs: int) -> list[bytes]:
        """Return so many keys: section 4.3's HKDF is RFC 5869's with the chaining key as salt, without info."""
        size = KEY_BYTES * outputs
        derived = HKDF(SHA256(), size, salt=self._chaining_key, info=None).derive(material)
        return [derived[start : start + KEY_BYTES] for start in range(0, size, KEY_BYTES)]


class HandshakeState(HoldsSecrets):
    """One side of the handshake (section 5.3): `write_message` and `read_message` in turn, then `split`.

    Args:
        psk: 32 secret bytes that both sides hold.
        prologue: what both sides already know; it must be the same.
        ephemeral: 32 random bytes, never used before: this connection's private key.
    """

    __slots__ = ("_ephemeral", "_is_initiator", "_messages", "_psk", "_remote", "_symmetric")

    def __init__(self, *, is_initiator: bool, psk: bytes, prologue: bytes, ephemeral: bytes) -> None:
        if len(psk) != KEY_BYTES:
            raise ValueError(f"a PSK has {KEY_BYTES} bytes, not {len(psk)}")
        self._is_initiator = is_initiator
        self._psk = psk
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._remote: X25519PublicKey | None = None
        self._messages = 0
        self._symmetric = SymmetricState()
        self._symmetric.mix_hash(prologue)

    @property
    def handshake_hash(self) -> bytes:
        """The hash of all that was exchanged."""
        return self._symmetric.handshake_hash

    @property
    def is_complete(self) -> bool:
        """Whether both messages were exchanged."""
        return self._messages == len(_PATTERN)

    @property
    def is_own_turn(self) -> bool:
        """Whether this side writes the next message."""
        return not self.is_complete and self._is_initiator == (self._messages % 2 == 0)

    def write_message(self, payload: bytes = b"") -> bytes:
        """Return the next message."""
        assert self.is_own_turn
        message = b""
        for token in _PATTERN[self._messages]:
            if token == "e":  # noqa: S105  a token of a Noise pattern
                public = self._ephemeral.public_key().public_bytes_raw()
                message += public
                self._mix_ephemeral(public)
            else:
                self._mix(token)
        self._messages += 1
        return message + self._symmetric.encrypt_and_hash(payload)

    def read_message(self, message: bytes) -> bytes:
        """Return the payload of the peer's next message.

        Raises:
            NoiseError: it does not open: the peer holds another PSK, or knows another prologue.
        """
        assert not self.is_complete
        assert not self.is_own_turn
        if not MESSAGE_BYTES <= len(message) <= MAX_MESSAGE_BYTES:
            raise NoiseError(f"a handshake message of {len(message)} bytes")
        for token in _PATTERN[self._messages]:
            if token == "e":  # noqa: S105  a token of a Noise pattern
                public, message = message[:KEY_BYTES], message[KEY_BYTES:]
                self._remote = X25519PublicKey.from_public_bytes(public)
                self._mix_ephemeral(public)
            else:
                self._mix(token)
        self._messages += 1
        return self._symmetric.decrypt_and_hash(message)

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers of what this side sends, and of what it receives."""
        assert self.is_complete
        initiators, responders = self._symmetric.split()
        return (initiators, responders) if self._is_initiator else (responders, initiators)

    def _mix_ephemeral(self, public: bytes) -> None:
        """Section 9.2: with a PSK, public keys are mixed into the key too, so that it differs for each connection."""
        self._symmetric.mix_hash(public)
        self._symmetric.mix_key(public)

    def _mix(self, token: Literal["psk", "ee"]) -> None:
        if token == "psk":  # noqa: S105  a token of a Noise pattern
            self._symmetric.mix_key_and_hash(self._psk)
            return
        assert self._remote is not None
        try:
            shared = self._ephemeral.exchange(self._remote)
        except ValueError:  # all zeros, whatever the private key
            raise NoiseError("the peer's public key has a low order") from None
        self._symmetric.mix_key(shared)
