"""Results of group-wide calls: a node-to-value map and a node-to-error map, or one result for each item.

Invariant: no SID is in both maps, and both are in SID order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import msgspec

from .errors import DecodeError, TrionetError
from .identity import SID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["Aggregate", "Done", "Receipt", "Replies", "Spread", "replies_from"]

V = TypeVar("V")
Item = TypeVar("Item")
R = TypeVar("R")


class Replies(Generic[V]):  # noqa: PLW1641  not hashable, because mutable, as a dict is
    """The answers of a group's members.

    Attributes:
        values: the value of each member that returned one.
        errors: the error of each other member.
    """

    __slots__ = ("errors", "values")
    _fields: ClassVar[tuple[str, ...]] = ("values", "errors")

    def __init__(self, values: dict[SID, V], errors: dict[SID, TrionetError]) -> None:
        self.values: dict[SID, V] = dict(sorted(values.items()))
        self.errors: dict[SID, TrionetError] = dict(sorted(errors.items()))

    def raise_errors(self) -> None:
        """Raise an ``ExceptionGroup`` with one leaf for each failed member, if there are any."""
        if self.errors:
            total = len(self.values) + len(self.errors)
            raise ExceptionGroup(f"{len(self.errors)} of {total} nodes failed", list(self.errors.values()))

    def __eq__(self, other: object) -> bool:
        """Equal maps make equal replies."""
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"


class Aggregate(Replies[V]):
    """`Replies` with an aggregate of the values.

    Attributes:
        value: the sum of `values` for the counting keys, otherwise the list of them in SID order.
    """

    __slots__ = ("value",)
    _fields = ("value", "values", "errors")

    def __init__(self, value: Any, values: dict[SID, V], errors: dict[SID, TrionetError]) -> None:
        super().__init__(values, errors)
        self.value: Any = value


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The spread of a rumor.

    Attributes:
        known: the number of members that have confirmed it, this node included if it is a member.
        members: the number of members of the group, as this node sees it.
        estimate: the estimated number of members that have it; equals `known` after a query of every member.
    """

    known: int
    members: int
    estimate: float


class Receipt(Replies[bool]):
    """The result of `gossip.send`: the rumor's id, and the results of its first hop.

    Attributes:
        id: unique over all nodes and times.
        values: True for each member of the first hop that has received the rumor.
        errors: the error of each other member of the first hop.
    """

    __slots__ = ("_wait", "id")
    _fields = ("id", "values", "errors")

    def __init__(
        self,
        id: str,  # noqa: A002  the API's name for it
        values: dict[SID, bool],
        errors: dict[SID, TrionetError],
        wait: Callable[[float], Awaitable[Spread]] | None = None,
    ) -> None:
        super().__init__(values, errors)
        self.id: str = id
        self._wait = wait

    async def wait_spread(self, fraction: float = 1.0) -> Spread:
        """Wait until at least `fraction` of the members are known to have the rumor.

        Deadlines are Trio's. The sender of the rumor queries members: all of them in a group of up to 128, for an
        exact result; a random sample of the unconfirmed ones in a larger group.

        Args:
            fraction: more than 0, at most 1; of the members of the group at the time of the result.

        Raises:
            GroupNotFound: for some seconds so many members have lacked the group that the fraction can't be reached;
                the text names one. A member that gets the group later gets the rumor, too: wait again.
            KeyDoesNotExist: the group has been deleted here, or the node has sent too many rumors since.
            MalformedRequest: `fraction` is out of range.
            RuntimeError: the receipt came from another node: only the sender can query.
            TemporarilyUnavailable: the node is stopping.
        """
        if self._wait is None:
            raise RuntimeError("only the node that sent a rumor can follow it")
        return await self._wait(fraction)


class Done(msgspec.Struct, Generic[Item, R], frozen=True):
    """The result of one item of `Group.map`.

    Attributes:
        item: the item.
        index: its place in the iterable, from 0.
        sid: the member that it was last sent to; None if it was sent to none.
        attempts: how often it was sent.
        outcome: the value of the method, or an error: the last one after which the item may have run, else that of the
            last attempt.
        is_error: whether the outcome is the error; a method's value may be an error, too.
    """

    item: Item
    index: int
    sid: SID | None
    attempts: int
    outcome: R | TrionetError
    is_error: bool = False

    @property
    def error(self) -> TrionetError | None:
        """The error; None if there is a value."""
        return self.outcome if self.is_error else None  # type: ignore[return-value]  # the flag says which it is

    def result(self) -> R:
        """Return the value, or raise the error.

        Raises:
            DefiniteError: it did not run.
            RemoteError: the handler raised.
            IndefiniteError: it may have run.
        """
        if self.is_error:
            raise self.outcome  # type: ignore[misc]  # as above
        return self.outcome  # type: ignore[return-value]  # as above


def replies_from(fields: Mapping[str, Any]) -> Replies[Any]:
    """Return the replies of the type that has these fields.

    Raises:
        DecodeError: no type has them, or the errors are none.
    """
    values, errors = fields.get("values"), fields.get("errors")
    if type(values) is type(errors) is dict and all(isinstance(error, TrionetError) for error in errors.values()):
        for kind in (Replies, Aggregate, Receipt):
            if fields.keys() == set(kind._fields):
                return kind(**fields)
    raise DecodeError("expected the values and errors of a group")
