"""What a group-wide call returns: a node-to-value map and a node-to-error map.

Invariant: no SID is in both maps, and both are in SID order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .errors import TrionetError
    from .identity import SID

__all__ = ["Aggregate", "Replies"]

V = TypeVar("V")


class Replies(Generic[V]):  # noqa: PLW1641  not hashable, because mutable, as a dict is
    """The answers of a group's members.

    Attributes:
        values: what each member that answered returned.
        errors: why each of the others did not.
    """

    __slots__ = ("errors", "values")

    def __init__(self, values: dict[SID, V], errors: dict[SID, TrionetError]) -> None:
        self.values: dict[SID, V] = dict(sorted(values.items()))
        self.errors: dict[SID, TrionetError] = dict(sorted(errors.items()))

    def raise_errors(self) -> None:
        """Raise an ``ExceptionGroup`` with one leaf for each failed member; return if there is none."""
        if self.errors:
            total = len(self.values) + len(self.errors)
            raise ExceptionGroup(f"{len(self.errors)} of {total} nodes failed", list(self.errors.values()))

    def __eq__(self, other: object) -> bool:
        """Equal maps make equal replies."""
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._attributes())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._attributes())})"

    def _attributes(self) -> tuple[str, ...]:
        return ("values", "errors")


class Aggregate(Replies[V]):
    """`Replies` with the members' values put together.

    Attributes:
        value: the sum of `values` for the counting keys, otherwise the list of them in SID order.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any, values: dict[SID, V], errors: dict[SID, TrionetError]) -> None:
        super().__init__(values, errors)
        self.value: Any = value

    def _attributes(self) -> tuple[str, ...]:
        return ("value", "values", "errors")
