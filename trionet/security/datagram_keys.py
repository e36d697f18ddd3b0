"""The datagram keys of one node: several may open, one seals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from trionet.errors import MalformedRequest

from .datagram_format import subkey
from .holds_secrets import HoldsSecrets
from .keys import KEY_BYTES, KEY_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from .keys import DerivedKeys

__all__ = ["DatagramKeys"]


class DatagramKeys(HoldsSecrets):
    """Keys by their ids.

    Attributes:
        sealing: the id of the key that seals.
    """

    __slots__ = ("_keys", "sealing")

    def __init__(self, keys: Mapping[bytes, bytes], sealing: bytes) -> None:
        """Open with any of `keys`, and seal with the one named `sealing`.

        Args:
            keys: the datagram keys, 32 bytes each, derived from cluster keys; by key id, 4 bytes.
            sealing: the id of one of them.

        Raises:
            MalformedRequest: an id or a key has another length, or `sealing` names no key.
        """
        if any(len(key_id) != KEY_ID_BYTES or len(key) != KEY_BYTES for key_id, key in keys.items()):
            raise MalformedRequest(f"a datagram key has {KEY_BYTES} bytes, and its id {KEY_ID_BYTES}")
        if sealing not in keys:
            raise MalformedRequest(f"datagrams can't be sealed with key {sealing.hex()}, which is not among the keys")
        self._keys = dict(keys)
        self.sealing: bytes = sealing

    @classmethod
    def of(cls, keys: Iterable[DerivedKeys], sealing: bytes) -> Self:
        """Open with any of these keys, and seal with that of the cluster key named `sealing`."""
        return cls({one.key_id: one.datagram_key for one in keys}, sealing)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __repr__(self) -> str:
        ids = ", ".join(sorted(key_id.hex() for key_id in self._keys))
        return f"<DatagramKeys {ids}; {self.sealing.hex()} seals>"

    def subkey(self, key_id: bytes, boot_id: int, block: int) -> AESGCM:
        """Return the cipher of the key `key_id` for a boot id and a block of counters."""
        return subkey(self._keys[key_id], boot_id, block)
