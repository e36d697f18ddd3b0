"""Sealed channels and their keys, with reproducible randomness."""

from __future__ import annotations

import itertools
import random
import struct
from typing import TYPE_CHECKING, Any

from trionet.security.noise_channel import NoiseChannel
from trionet.security.noise_key import NoiseKey

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "PSK",
    "WatchedChannel",
    "WatchedKey",
    "carry_handshake",
    "channel_pair",
    "key",
    "open_pair",
    "split_records",
]

PSK = bytes(range(32))
_SEEDS = itertools.count()


def key(
    *,
    psk: bytes = PSK,
    key_id: bytes = b"key1",
    cluster: str = "a cluster",
    random_bytes: Callable[[int], bytes] | None = None,
) -> NoiseKey:
    """Return a key."""
    random_bytes = random_bytes or random.Random(next(_SEEDS)).randbytes
    return NoiseKey(psk=psk, key_id=key_id, cluster=cluster, random_bytes=random_bytes)


class WatchedChannel(NoiseChannel):
    """A channel that changes its key as soon as that is due.

    Attributes:
        read_bytes: of plaintext that have come.
        rekeys: how often it has changed the key of what it sends.
    """

    __slots__ = ("read_bytes", "rekeys")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.read_bytes = self.rekeys = 0

    def receive(self, data: bytes) -> bytes:
        plaintext = super().receive(data)
        self.read_bytes += len(plaintext)
        return plaintext

    def send(self, data: bytes) -> bytes:
        if self.rekey_due(0):
            self.rekey(0)
            self.rekeys += 1
        return super().send(data)


class WatchedKey:
    """A key whose channels change theirs after a few bytes.

    Attributes:
        channels: all that it has made.
    """

    def __init__(self, rekey_bytes: int = 500) -> None:
        self.seal = key().seal
        self.channels: list[WatchedChannel] = []
        self._rekey_bytes = rekey_bytes

    def new_channel(self, prologue: bytes, *, is_initiator: bool) -> WatchedChannel:
        channel = WatchedChannel(
            is_initiator=is_initiator,
            psk=PSK,
            prologue=prologue,
            ephemeral=random.Random(next(_SEEDS)).randbytes(32),
            rekey_bytes=self._rekey_bytes,
        )
        self.channels.append(channel)
        return channel


def channel_pair(seed: int = 0, *, rekey_bytes: int = 1000, rekey_s: float = 10.0) -> tuple[NoiseChannel, NoiseChannel]:
    """Return an initiator's and an acceptor's channel."""
    rng = random.Random(seed)
    one, other = (
        NoiseChannel(
            is_initiator=is_initiator,
            psk=PSK,
            prologue=b"prologue",
            ephemeral=rng.randbytes(32),
            rekey_bytes=rekey_bytes,
            rekey_s=rekey_s,
        )
        for is_initiator in (True, False)
    )
    return one, other


def carry_handshake(one: NoiseChannel, other: NoiseChannel) -> None:
    """Open a pair of channels."""
    assert not other.receive(one.data_to_send())
    assert not one.receive(other.data_to_send())
    assert one.is_open
    assert other.is_open


def open_pair(seed: int = 0, *, rekey_bytes: int = 1000, rekey_s: float = 10.0) -> tuple[NoiseChannel, NoiseChannel]:
    """Return an initiator's and an acceptor's channel after their handshake, and the initiator's first record."""
    one, other = channel_pair(seed, rekey_bytes=rekey_bytes, rekey_s=rekey_s)
    carry_handshake(one, other)
    first = one.send(b"hello")
    assert one.sent(len(first)) == 5
    assert other.receive(first) == b"hello"
    return one, other


def split_records(data: bytes) -> list[bytes]:
    """Return the records that bytes consist of."""
    records, start = list[bytes](), 0
    while start < len(data):
        (size,) = struct.unpack_from(">H", data, start)
        records.append(data[start : start + 2 + size])
        start += 2 + size
    assert start == len(data)
    return records
