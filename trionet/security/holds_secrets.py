"""Objects that hold key material.

Invariant: key material leaves such an object only by an attribute or a method that is named for it. Not by `repr` or
`str`, by pickling, by an encoder of fields, or by the local variables that a report of an error may show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex

from trionet.errors import EncodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HoldsSecrets"]


class HoldsSecrets:
    """The base of immutable objects that hold key material. None is seen half-made: `__new__` makes it whole."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__slots__" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} needs __slots__: vars() would show its secrets")

    @classmethod
    def _holding(cls, values: Mapping[str, Any]) -> Self:
        """Return an object with these attributes."""
        self = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} can't be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} can't be changed")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str, /) -> str:
        return format(repr(self), spec)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        self._refuse()

    def __reduce__(self) -> NoReturn:
        self._refuse()

    def __getstate__(self) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise EncodeError(f"a {type(self).__name__} does not travel: it holds key material")
