"""Objects that hold key material.

Invariants: key material leaves such an object only by an attribute or a method that is named for it. Not by `repr` or
`str`, by pickling, by an encoder of fields, or by the local variables that a report of an error may show. Nothing that
changes is copied: a copy of a cipher would use its nonces a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex

from trionet.errors import EncodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HoldsSecrets", "ImmutableSecrets"]


class HoldsSecrets:
    """The base of all objects that hold key material. They are neither pickled nor copied."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__slots__" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} needs __slots__: vars() would show its secrets")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str, /) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise _stays(self)

    def __reduce__(self) -> NoReturn:
        raise _stays(self)

    def __getstate__(self) -> NoReturn:
        raise _stays(self)


class ImmutableSecrets(HoldsSecrets):
    """The base of those that never change: their copy is the object itself.

    None is seen half-made: `__new__` makes it whole.
    """

    __slots__ = ()

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

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _stays(thing: HoldsSecrets) -> EncodeError:
    return EncodeError(f"a {type(thing).__name__} is neither sent nor copied: it holds key material")
