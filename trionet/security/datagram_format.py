"""Sealed datagrams on the wire.

``kind and version 1 | key id 4 | boot id 8 | counter 8 | AES-GCM ciphertext | tag 16``. The first byte differs from
that of every plain packet, which is the head of an array. The associated data are the head, the cluster and the
receiver: of a packet the receiver's canonical name; of a challenge or an echo, whose sender may know no name yet, the
boot id to which it answers.

Invariants: a nonce is a counter, and a subkey serves one boot id and 2^28 counters, so no nonce repeats under one
subkey. No two texts of associated data are equal unless all their parts are.

Source: RFC 5116, section 3.2 (nonces by a counter); RFC 5869 (HKDF), section 2.3.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from trionet.protocols.mux import DATAGRAM_BYTES

from .keys import KEY_BYTES

__all__ = [
    "BLOCK_BITS",
    "HEAD_BYTES",
    "OVERHEAD_BYTES",
    "PLAINTEXT_BYTES",
    "Head",
    "Kind",
    "encoded_head",
    "head_of",
    "opened",
    "sealed",
    "subkey",
]

BLOCK_BITS: Final = 28
"""A subkey seals 2^28 datagrams, or less than 2^35 blocks of AES: far below the limits of AES-GCM (NIST SP 800-38D)."""

_HEAD: Final = struct.Struct(">B4sQQ")
HEAD_BYTES: Final = _HEAD.size
_TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = HEAD_BYTES + _TAG_BYTES
PLAINTEXT_BYTES: Final = DATAGRAM_BYTES - OVERHEAD_BYTES
"""The most bytes of a packet that is sealed."""

_SUBKEY: Final = struct.Struct(">20sQQ")
_LABEL: Final = b"trionet datagrams v1"
_NONCE: Final = struct.Struct(">IQ")


class Kind(enum.IntEnum):
    """The first byte of a sealed datagram: the version in its low four bits, the kind in the others."""

    PACKET = 0x01
    CHALLENGE = 0x11
    ECHO = 0x21


class Head(msgspec.Struct, frozen=True, gc=False):
    """The clear part of a sealed datagram.

    Attributes:
        encoded: its bytes.
        kind: what the datagram is.
        key_id: names the key.
        boot_id: 64 random bits of the sender's life.
        counter: orders the datagrams of that life; those to all receivers share it.
    """

    encoded: bytes
    kind: Kind
    key_id: bytes
    boot_id: int
    counter: int


_KINDS: Final = {int(kind): kind for kind in Kind}


def head_of(data: bytes) -> Head | None:
    """Return the head of a datagram; None if it can't be a sealed one of this version."""
    if not OVERHEAD_BYTES <= len(data) <= DATAGRAM_BYTES:
        return None
    kind = _KINDS.get(data[0])
    return None if kind is None else Head(data[:HEAD_BYTES], kind, *_HEAD.unpack_from(data)[1:])


def encoded_head(kind: Kind, key_id: bytes, boot_id: int, counter: int) -> bytes:
    """Return the bytes of a head."""
    return _HEAD.pack(kind, key_id, boot_id, counter)


def subkey(key: bytes, boot_id: int, block: int) -> AESGCM:
    """Return the cipher for the counters of `boot_id` whose bits over the lowest 28 are `block`."""
    return AESGCM(HKDFExpand(SHA256(), KEY_BYTES, _SUBKEY.pack(_LABEL, boot_id, block)).derive(key))


def sealed(cipher: AESGCM, head: bytes, counter: int, plaintext: bytes, *, cluster: bytes, to: bytes) -> bytes:
    """Return a sealed datagram."""
    return head + cipher.encrypt(_NONCE.pack(0, counter), plaintext, _associated(head, cluster, to))


def opened(cipher: AESGCM, head: Head, data: bytes, *, cluster: bytes, to: bytes) -> bytes | None:
    """Return the plaintext of a sealed datagram; None if it is not authentic, or for another receiver."""
    associated = _associated(head.encoded, cluster, to)
    try:
        return cipher.decrypt(_NONCE.pack(0, head.counter), data[HEAD_BYTES:], associated)
    except InvalidTag:
        return None


def _associated(head: bytes, cluster: bytes, to: bytes) -> bytes:
    return b"%b%b%b%b" % (head, len(cluster).to_bytes(4, "big"), cluster, to)
