"""Seals the datagrams of one node.

A sealer belongs to one life of a node: to one boot id. It counts its datagrams, and remembers for a few seconds when it
sent which: whoever names a recent counter has heard of this node a moment ago.

Invariants: no nonce is used twice under one subkey, because the counter only rises, and each life has a boot id of its
own. Nothing is sealed that is longer than a datagram. `age_s` is never too low, and at most `_APART_S` too high.

Source: RFC 5116, section 3.2.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from trionet.errors import MalformedRequest, MessageTooLarge

from .datagram_format import BLOCK_BITS, OVERHEAD_BYTES, PLAINTEXT_BYTES, Kind, encoded_head, sealed
from .holds_secrets import HoldsSecrets

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from .datagram_keys import DatagramKeys

__all__ = ["RECENT_S", "DatagramSealer"]

RECENT_S: Final = 5.0
"""How long the time of a datagram is remembered."""

_APART_S: Final = 0.01
_MOST_BOOT_ID: Final = (1 << 64) - 1


class DatagramSealer(HoldsSecrets):
    """Seals what one node sends. One thread uses it.

    Attributes:
        name: the node's canonical name.
        cluster: the cluster's name, encoded.
        keys: the keys; `use_keys` replaces them.
        boot_id: names the node's life.
        counter: that of the next datagram.
    """

    __slots__ = ("_cipher", "_cipher_place", "_marks", "boot_id", "cluster", "counter", "keys", "name")

    def __init__(self, name: str, cluster: str, keys: DatagramKeys, boot_id: int) -> None:
        """Seal the datagrams of `name`.

        Args:
            name: the node's canonical name, by which others seal for it.
            cluster: the cluster's name: nothing that is sealed in another one opens here.
            keys: the datagram keys.
            boot_id: 64 bits of the system's randomness, drawn at this start; seeded ones are for simulation only.

        Raises:
            MalformedRequest: the boot id is no number of 64 bits.
        """
        self.name: str = name
        self.cluster: bytes = cluster.encode()
        self.keys: DatagramKeys = keys
        self._cipher: AESGCM | None = None
        self._cipher_place = (b"", 0)
        self._begin(boot_id)

    def renew(self, boot_id: int) -> None:
        """Begin another life, after a fork or a rejoin, with a boot id drawn anew.

        Raises:
            MalformedRequest: the boot id is no number of 64 bits, or that of the life that ends.
        """
        if boot_id == self.boot_id:
            raise MalformedRequest("a new life needs a new boot id: with the old one nonces would repeat")
        self._begin(boot_id)

    def _begin(self, boot_id: int) -> None:
        if type(boot_id) is not int or not 0 <= boot_id <= _MOST_BOOT_ID:
            raise MalformedRequest("a boot id is 64 random bits")
        self.boot_id: int = boot_id
        self.counter: int = 0
        self._cipher = None
        self._marks = deque[tuple[float, int]]()  # times, and the first counters that were sent then

    def use_keys(self, keys: DatagramKeys) -> None:
        """Seal with other keys from now on; the counter goes on."""
        self.keys = keys
        self._cipher = None

    def seal(self, to: str, plaintext: bytes, now: float) -> bytes:
        """Return a datagram for the node `to` with a packet, 37 bytes longer than the packet.

        Args:
            to: the receiver's canonical name.
            plaintext: the packet.
            now: the time in seconds, on a monotonic clock.

        Raises:
            MessageTooLarge: the packet is longer than 1,363 bytes.
        """
        if len(plaintext) > PLAINTEXT_BYTES:
            raise MessageTooLarge(
                f"a packet of {len(plaintext)} bytes can't be sealed: with {OVERHEAD_BYTES} more it is no datagram"
            )
        return self._seal(Kind.PACKET, to.encode(errors="surrogatepass"), plaintext, now)

    def seal_for_life(self, kind: Kind, boot_id: int, plaintext: bytes, now: float) -> bytes:
        """Return a challenge or an echo for the life `boot_id`."""
        return self._seal(kind, boot_id.to_bytes(8, "big"), plaintext, now)

    def age_s(self, counter: int, now: float) -> float:
        """Return how long ago, at most, the datagram with `counter` was sent; ``math.inf`` if it is not recent."""
        if counter < self.counter:
            for at, first in reversed(self._marks):
                if first <= counter:
                    return now - at if now - at <= RECENT_S else math.inf
        return math.inf

    def _seal(self, kind: Kind, to: bytes, plaintext: bytes, now: float) -> bytes:
        counter, key_id, marks = self.counter, self.keys.sealing, self._marks
        if not marks or now >= marks[-1][0] + _APART_S:
            marks.append((now, counter))
            while marks[0][0] < now - RECENT_S:
                marks.popleft()
        self.counter += 1
        place = (key_id, counter >> BLOCK_BITS)
        if self._cipher is None or place != self._cipher_place:
            self._cipher = self.keys.subkey(key_id, self.boot_id, place[1])
            self._cipher_place = place
        head = encoded_head(kind, key_id, self.boot_id, counter)
        return sealed(self._cipher, head, counter, plaintext, cluster=self.cluster, to=to)
