"""The bytes of messages that all links of one node hold, and who pays when they are too many.

Pure. A link holds the chunks of messages that are not complete, complete calls until they have been answered, and
answers until they have been written. What is short, and what little each link may have waiting, does not count.

Invariants: after each change all links together hold at most `limit_bytes`; a link that keeps to its windows, with no
more than a share that is not chunked, and is alone, is never the one that pays; who pays is the greediest, not whoever
came last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Account", "Holding"]

_SHARES: Final = 4
"""Two windows and the answers have a share each, and an answer may go over its share by itself, by one more."""


class Holding:
    """What one link holds.

    Attributes:
        partial_bytes: of messages that are not complete.
        whole_bytes: of complete ones that are not done with.
        share_bytes: what each of the link's windows, and its answers, may take at most.
    """

    __slots__ = ("_account", "_pay", "partial_bytes", "share_bytes", "whole_bytes")

    def __init__(self, account: Account, pay: Callable[[str], None]) -> None:
        self._account: Account | None = account
        self._pay: Callable[[str], None] | None = pay
        self.partial_bytes: int = 0
        self.whole_bytes: int = 0
        self.share_bytes: int = account.share_bytes

    def change(self, *, partial: int = 0, whole: int = 0) -> None:
        """Hold so many bytes more, or less; when all together hold too many, the greediest is made to pay at once."""
        account = self._account
        if account is None:  # it was closed: nothing of it is held
            return
        self.partial_bytes += partial
        self.whole_bytes += whole
        account.partial_bytes += partial
        account.whole_bytes += whole
        if partial + whole > 0:
            account.settle()

    def close(self) -> None:
        """Hold nothing any more."""
        account, self._account, self._pay = self._account, None, None
        if account is not None:
            account.partial_bytes -= self.partial_bytes
            account.whole_bytes -= self.whole_bytes
            self.partial_bytes = self.whole_bytes = 0
            account.forget(self)

    def pay(self, reason: str) -> None:
        """Be made to hold nothing any more."""
        pay = self._pay
        self.close()
        if pay is not None:
            pay(reason)


class Account:
    """What all links of one node hold.

    Attributes:
        limit_bytes: the bound.
        share_bytes: what each of a link's windows, and its answers, may take of it at most.
        partial_bytes, whole_bytes: the sums of what the links hold.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes: int = limit_bytes
        self.share_bytes: int = limit_bytes // _SHARES
        self.partial_bytes: int = 0
        self.whole_bytes: int = 0
        self._holdings: dict[Holding, None] = {}

    def open(self, pay: Callable[[str], None]) -> Holding:
        """Return the holding of another link, for which ``pay(reason)`` is called when it has to give up all."""
        holding = Holding(self, pay)
        self._holdings[holding] = None
        return holding

    def forget(self, holding: Holding) -> None:
        """A link has ended."""
        del self._holdings[holding]

    def settle(self) -> None:
        """Make the greediest pay, for as long as too much is held."""
        while self.partial_bytes + self.whole_bytes > self.limit_bytes:
            self._greediest().pay(
                f"the node's links held more than max_held_bytes, {self.limit_bytes:,}, and this one most of it"
            )

    def _greediest(self) -> Holding:
        """Return who pays: most of what is incomplete, which may never end; unless that is the smaller part of all."""
        if self.partial_bytes >= self.whole_bytes:
            return max(self._holdings, key=lambda holding: holding.partial_bytes)
        return max(self._holdings, key=lambda holding: holding.partial_bytes + holding.whole_bytes)
