"""Objects with keys: they don't travel, and a copy of a cipher would use its nonces a second time."""

from __future__ import annotations

from typing import NoReturn

from trionet.errors import EncodeError

__all__ = ["Uncopied"]


class Uncopied:
    """The base of objects that can be neither pickled nor copied."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise EncodeError(f"a {type(self).__name__} is neither sent nor copied: it holds key material")
