"""The head of a request as ASGI has it, whoever answers it: Quart's app, or the layer in front of it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ABORT", "NO_HEADERS", "ON_PROVEN", "Headers"]

ABORT: Final = "trionet.abort"
"""The key, in the ASGI state of a connection, of a weak reference to what closes it at once."""

ON_PROVEN: Final = "trionet.on_proven"
"""The key, in the ASGI state of a connection, of what is called once its client has proven itself."""


class Headers:
    """The headers of a request; of several with one name, the first counts."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Read `pairs` of names and values; ASGI has the names in lower case."""
        self._pairs: Sequence[tuple[bytes, bytes]] = list(pairs)
        self._first = dict(reversed(self._pairs))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the first value with a name, in any case; `default` without one."""
        value = self._first.get(_key(name))
        return default if value is None else value.decode("latin-1")

    def getlist(self, name: str) -> list[str]:
        """Return all values with a name, in any case."""
        key = _key(name)
        if key not in self._first:
            return []
        return [value.decode("latin-1") for found, value in self._pairs if found == key]


@lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    return name.lower().encode("latin-1")


NO_HEADERS: Final = Headers(())
