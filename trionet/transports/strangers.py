"""The connections of peers that have not proven that they hold the cluster key: few, in all and per address.

Invariant: there are at most `most` of them, and `most_per_address` from one address, those apart whose request is being
answered. At a bound the oldest one goes, not the newest: who holds the key proves it within milliseconds, so old ones
are probably an attacker's.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Stranger(Protocol):
        """A connection of a peer that may be anybody."""

        @property
        def is_waiting(self) -> bool:
            """Whether the peer is to send something."""


__all__ = ["MOST", "MOST_PER_ADDRESS", "Strangers"]

MOST: Final = 1024
MOST_PER_ADDRESS: Final = 256
"""A hundred nodes of one machine may start at the same time."""


class Strangers:
    """The connections of one node to unproven peers.

    Attributes:
        refused: the number of connections that had to go, for newer ones or because they were silent.
    """

    def __init__(self, most: int = MOST, most_per_address: int = MOST_PER_ADDRESS) -> None:
        self.refused: int = 0
        self._most = most
        self._most_per_address = most_per_address
        self._ips: dict[Stranger, str] = {}
        self._by_ip: dict[str, dict[Stranger, None]] = {}

    def __len__(self) -> int:
        return len(self._ips)

    def add(self, one: Stranger, ip: str) -> Stranger | None:
        """Add a connection from `ip`; return the one that must go for it, which is removed."""
        before = self._by_ip.get(ip, {})
        leaving = None
        if len(before) >= self._most_per_address:
            leaving = _oldest_waiting(before)
        if leaving is None and len(self._ips) >= self._most:
            leaving = _oldest_waiting(self._ips)
        if leaving is not None:
            self.refused += 1
            self.remove(leaving)
        self._ips[one] = ip
        self._by_ip.setdefault(ip, {})[one] = None
        return leaving

    def remover(self, one: Stranger) -> Callable[[], None]:
        """Return a function that removes a connection, and does not keep it alive: a cycle would outlive it."""
        known = weakref.ref(one)

        def remove() -> None:
            if (found := known()) is not None:
                self.remove(found)

        return remove

    def remove(self, one: Stranger) -> None:
        """Handle that a connection has ended, or that its peer is proven."""
        ip = self._ips.pop(one, None)
        if ip is not None:
            of_ip = self._by_ip[ip]
            del of_ip[one]
            if not of_ip:
                del self._by_ip[ip]


def _oldest_waiting(of: Iterable[Stranger]) -> Stranger | None:
    return next((one for one in of if one.is_waiting), None)
