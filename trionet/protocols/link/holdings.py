"""A bound on the bytes of messages that all links of one node hold; at the bound, links are evicted.

Pure. A link holds the chunks of incomplete messages, complete calls until they are answered, and answers until they are
written. Short messages, and a small queue of each link, are not counted.

Invariants: after each change all links together hold at most `limit_bytes`. The link that holds most is evicted, not
the latest one. A single link within its windows, with at most one share of bytes outside chunks, is never evicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Account", "Holding"]

_SHARES: Final = 4
"""One share each for two windows and the answers, and one because a single answer may exceed its share."""


class Holding:
    """The bytes that one link holds.

    Attributes:
        partial_bytes: bytes of incomplete messages.
        whole_bytes: bytes of complete messages that are still in use.
        share_bytes: the bound of each of the link's windows, and of its answers.
    """

    __slots__ = ("_account", "_on_evict", "partial_bytes", "share_bytes", "whole_bytes")

    def __init__(self, account: Account, on_evict: Callable[[str], None]) -> None:
        self._account: Account | None = account
        self._on_evict: Callable[[str], None] | None = on_evict
        self.partial_bytes: int = 0
        self.whole_bytes: int = 0
        self.share_bytes: int = account.share_bytes

    def change(self, *, partial: int = 0, whole: int = 0) -> None:
        """Add to the held bytes, or subtract; above the bound links are evicted at once."""
        account = self._account
        if account is None:  # it is closed
            return
        self.partial_bytes += partial
        self.whole_bytes += whole
        account.partial_bytes += partial
        account.whole_bytes += whole
        if partial + whole > 0:
            account.settle()

    def close(self) -> None:
        """Release all bytes."""
        account, self._account, self._on_evict = self._account, None, None
        if account is not None:
            account.partial_bytes -= self.partial_bytes
            account.whole_bytes -= self.whole_bytes
            self.partial_bytes = self.whole_bytes = 0
            account.forget(self)

    def evict(self, reason: str) -> None:
        """Release all bytes, and call the link's `on_evict`."""
        on_evict = self._on_evict
        self.close()
        if on_evict is not None:
            on_evict(reason)


class Account:
    """The bytes that all links of one node hold.

    Attributes:
        limit_bytes: the bound.
        share_bytes: the bound of each of a link's windows, and of its answers.
        partial_bytes, whole_bytes: the sums over all links.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes: int = limit_bytes
        self.share_bytes: int = limit_bytes // _SHARES
        self.partial_bytes: int = 0
        self.whole_bytes: int = 0
        self._holdings: dict[Holding, None] = {}

    def open(self, on_evict: Callable[[str], None]) -> Holding:
        """Return the holding of a new link; ``on_evict(reason)`` closes that link."""
        holding = Holding(self, on_evict)
        self._holdings[holding] = None
        return holding

    def forget(self, holding: Holding) -> None:
        """Remove a closed holding."""
        del self._holdings[holding]

    def settle(self) -> None:
        """Evict links until the bound is kept."""
        while self.partial_bytes + self.whole_bytes > self.limit_bytes:
            self._largest().evict(
                f"the node's links held more than max_held_bytes, {self.limit_bytes:,}, and this one most of it"
            )

    def _largest(self) -> Holding:
        """Return the link to evict: the one with most incomplete bytes; with most bytes, if more are complete."""
        if self.partial_bytes >= self.whole_bytes:
            return max(self._holdings, key=lambda holding: holding.partial_bytes)
        return max(self._holdings, key=lambda holding: holding.partial_bytes + holding.whole_bytes)
