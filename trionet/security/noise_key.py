"""A cluster key as the links see it: what names it in the clear, and the channels that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from .holds_secrets import HoldsSecrets
from .keys import KEY_ID_BYTES
from .noise import KEY_BYTES
from .noise_channel import REKEY_BYTES, REKEY_S, NoiseChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from .keys import DerivedKeys

__all__ = ["NOISE_MODE", "NoiseKey"]

NOISE_MODE: Final = 1
"""The mode of links that are sealed with a cluster key."""


class NoiseKey(HoldsSecrets):
    """A `LinkKey` of one cluster: fulfilled by Noise_NNpsk0.

    Args:
        psk: 32 secret bytes.
        key_id: the 4 bytes by which an acceptor finds the key among its own.
        cluster: the name of the cluster; links between clusters of different names don't open.
        random_bytes: returns so many bytes that nobody can foresee, for example `os.urandom`.
        rekey_bytes, rekey_s: see `NoiseChannel`.
    """

    __slots__ = ("_cluster", "_psk", "_random_bytes", "_rekey_bytes", "_rekey_s", "seal")

    def __init__(
        self,
        *,
        psk: bytes,
        key_id: bytes,
        cluster: str,
        random_bytes: Callable[[int], bytes],
        rekey_bytes: int = REKEY_BYTES,
        rekey_s: float = REKEY_S,
    ) -> None:
        if len(key_id) != KEY_ID_BYTES:
            raise ValueError(f"a key's id has {KEY_ID_BYTES} bytes, not {len(key_id)}")
        if len(psk) != KEY_BYTES:
            raise ValueError(f"a PSK has {KEY_BYTES} bytes, not {len(psk)}")
        self._psk = psk
        self._cluster = cluster.encode()
        self._random_bytes = random_bytes
        self._rekey_bytes = rekey_bytes
        self._rekey_s = rekey_s
        self.seal: bytes = bytes([NOISE_MODE]) + key_id

    @classmethod
    def of(cls, keys: DerivedKeys, random_bytes: Callable[[int], bytes]) -> Self:
        """Return the key of the links that are sealed with these keys."""
        return cls(psk=keys.link_psk, key_id=keys.key_id, cluster=keys.cluster, random_bytes=random_bytes)

    def new_channel(self, prologue: bytes, *, is_initiator: bool) -> NoiseChannel:
        """Return the channel of a new connection; see `LinkKey.new_channel`.

        The clear preface has a fixed size, so that the name after it can't be taken for a part of it.
        """
        return NoiseChannel(
            is_initiator=is_initiator,
            psk=self._psk,
            prologue=prologue + self._cluster,
            ephemeral=self._random_bytes(KEY_BYTES),
            rekey_bytes=self._rekey_bytes,
            rekey_s=self._rekey_s,
        )
