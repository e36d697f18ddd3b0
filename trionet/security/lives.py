"""The lives of other nodes: which boot ids are proven to be alive, and what was received from them.

A life is one start of a node, named by its boot id. Invariants: only authenticated input comes here. Each counter of a
proven life is accepted at most once, and none from before the proof. Of one node's name the life that was proven last
is proven; one that it replaced must prove itself again, and with a counter that is new: its window is kept for as long
as the cookies that proved it are valid. The table is bounded, the oldest proof goes first, and only holders of the key
can fill it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .cookies import STEP_S
from .holds_secrets import HoldsSecrets
from .replay import ReplayWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Life", "Lives"]

_MOST_LIVES: Final = 1 << 16
_MOST_CIPHERS: Final = 4
"""Two keys during a rotation, and two blocks of counters each, where one ends."""

_KEPT_S: Final = 2 * STEP_S


class Life(HoldsSecrets):
    """One start of a node.

    Attributes:
        boot_id: its 64 random bits.
        window: the counters that were received.
        name: the node's name, once it is known.
        is_proven: whether it is; False once a later life of the same name is.
    """

    __slots__ = ("_ciphers", "boot_id", "is_proven", "name", "window")

    def __init__(self, boot_id: int, counter: int) -> None:
        """Accept counters over `counter`."""
        self.boot_id: int = boot_id
        self.window: ReplayWindow = ReplayWindow(counter)
        self.name: str | None = None
        self.is_proven: bool = True
        self._ciphers: dict[tuple[bytes, int], AESGCM] = {}

    def cipher(self, key_id: bytes, block: int) -> AESGCM | None:
        """Return the cipher for a key and a block of counters, if it is kept."""
        return self._ciphers.get((key_id, block))

    def keep_cipher(self, key_id: bytes, block: int, cipher: AESGCM) -> None:
        """Keep a cipher with which a datagram was opened."""
        self._ciphers[key_id, block] = cipher
        if len(self._ciphers) > _MOST_CIPHERS:
            del self._ciphers[next(iter(self._ciphers))]

    def drop_ciphers(self, is_kept: Callable[[bytes], bool]) -> None:
        """Drop the ciphers of all keys whose ids are not kept."""
        self._ciphers = {place: cipher for place, cipher in self._ciphers.items() if is_kept(place[0])}


class Lives(HoldsSecrets):
    """The lives that are proven, or were until a moment ago."""

    __slots__ = ("_by_boot_id", "_by_name", "_most", "_replaced")

    def __init__(self, most: int = _MOST_LIVES) -> None:
        """Keep at most `most` lives."""
        self._by_boot_id: dict[int, Life] = {}
        self._by_name: dict[str, Life] = {}
        self._replaced: dict[int, float] = {}  # until when each is kept, the earliest first
        self._most = most

    def __len__(self) -> int:
        return len(self._by_boot_id)

    def get(self, boot_id: int) -> Life | None:
        """Return the life with this boot id, proven or replaced; None if it is not known."""
        return self._by_boot_id.get(boot_id)

    def prove(self, boot_id: int, counter: int, now: float) -> Life:
        """Record that `boot_id` is alive, and sent `counter` a moment ago; return its life.

        A life that is proven stays as it is. What a new one, or a replaced one, sent up to `counter` is never accepted.
        """
        self._drop_replaced(now)
        life = self._by_boot_id.get(boot_id)
        if life is None:
            life = self._by_boot_id[boot_id] = Life(boot_id, counter)
            if len(self._by_boot_id) > self._most:
                self._drop(next(iter(self._by_boot_id)))
        elif not life.is_proven:
            del self._replaced[boot_id]
            life.is_proven = True
            life.window.raise_start(counter)
            if life.name is not None:
                self._replace(life, life.name, now)
        return life

    def bind(self, life: Life, name: str, now: float) -> None:
        """Record the name of a proven life; an earlier life of that name is replaced."""
        if life.name is None:
            life.name = name
            self._replace(life, name, now)

    def forget(self, name: str, now: float) -> None:
        """Require a new proof of the life of `name`, if there is one."""
        life = self._by_name.pop(name, None)
        if life is not None:
            self._retire(life, now)

    def drop_ciphers(self, is_kept: Callable[[bytes], bool]) -> None:
        """Drop the ciphers of all keys whose ids are not kept."""
        for life in self._by_boot_id.values():
            life.drop_ciphers(is_kept)

    def _replace(self, life: Life, name: str, now: float) -> None:
        former = self._by_name.get(name)
        self._by_name[name] = life
        if former is not None and former is not life:
            self._retire(former, now)

    def _retire(self, life: Life, now: float) -> None:
        life.is_proven = False
        life.drop_ciphers(lambda _: False)
        self._replaced[life.boot_id] = now + _KEPT_S

    def _drop_replaced(self, now: float) -> None:
        while self._replaced:
            boot_id, until = next(iter(self._replaced.items()))
            if until > now:
                return
            self._drop(boot_id)

    def _drop(self, boot_id: int) -> None:
        life = self._by_boot_id.pop(boot_id)
        self._replaced.pop(boot_id, None)
        if life.name is not None and self._by_name.get(life.name) is life:
            del self._by_name[life.name]
