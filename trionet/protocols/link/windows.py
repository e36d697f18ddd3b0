"""Flow control: a window of bytes for long frames, which bounds a link's memory."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ["ByteWindow"]

T = TypeVar("T")


class ByteWindow(Generic[T]):
    """A bound on the bytes in flight, granted in order of request.

    Invariants: the bytes in flight never exceed `size`. The oldest request is granted first, so that small requests
    don't starve a large one.
    """

    __slots__ = ("_free", "_waiting", "size")

    def __init__(self, size: int) -> None:
        self.size: int = size
        self._free = size
        self._waiting: deque[tuple[int, T]] = deque()

    def is_free(self, count: int) -> bool:
        """Whether a request of `count` bytes would be granted at once."""
        return not self._waiting and count <= self._free

    def request(self, count: int, item: T) -> bool:
        """Request `count` bytes, at most `size`, for `item`; return whether they are granted at once.

        If not, a later `release` or `withdraw` returns `item`.
        """
        assert count <= self.size
        if self.is_free(count):
            self._free -= count
            return True
        self._waiting.append((count, item))
        return False

    def withdraw(self, item: T) -> list[T]:
        """Withdraw a waiting request; return the items that are granted now."""
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not item)
        return self.release(0)

    def release(self, count: int) -> list[T]:
        """Release `count` granted bytes; return the items that are granted now."""
        self._free = min(self.size, self._free + count)
        granted = []
        while self._waiting and self._waiting[0][0] <= self._free:
            size, item = self._waiting.popleft()
            self._free -= size
            granted.append(item)
        return granted

    def clear(self) -> list[T]:
        """Drop all waiting requests, and return their items."""
        waiting, self._waiting = self._waiting, deque()
        return [item for _, item in waiting]
