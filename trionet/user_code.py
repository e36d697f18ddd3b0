"""What becomes of an exception that the user's code raises where a node calls it.

Invariant: it is that code's failure, whatever it derives from, and never the end of the node: whoever calls the code
reports it. That goes for `SystemExit`, `GeneratorExit` and ``asyncio.CancelledError``, too. Two pass, alone or in a
group: `trio.Cancelled`, since the node itself cancels, and `KeyboardInterrupt`, which is for the program.

Every place that calls the user's code goes by this: handlers (`router`), constructors and fields of values that travel
(`codec`), listeners (`events`), modules that are imported by name (`config`), periodic tasks and ``subset`` functions
(`services`), nodes in this process (`launchers`), invariants, scenarios and programs of trials (`simulation`), handlers
of Maelstrom's messages, and views of the web app.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, TypeGuard

__all__ = ["UserCode", "described", "is_a", "pass_endings", "shown"]

E = TypeVar("E", bound=BaseException)


class UserCode:
    """A block that runs the user's code, and keeps what that raises.

    ::

        with UserCode() as code:
            value = function()
        if code.failure is not None:
            ...  # report it

    Attributes:
        failure: what was raised.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if exc is None:
            return False
        ending = _ending_of(exc)
        if ending is None:
            self.failure = exc
        elif ending is not exc:
            raise ending
        return ending is None


def pass_endings(exc: BaseException) -> None:
    """Raise what of `exc` is no failure of the user's code, `trio.Cancelled` and `KeyboardInterrupt`; else return."""
    ending = _ending_of(exc)
    if ending is not None:
        raise ending


def _ending_of(exc: BaseException) -> BaseException | None:
    """Return `exc`, or the part of a group, that must pass; None if it is all failure."""
    # Trio isn't imported for it: `protocols` must do without Trio, and imports what imports this.
    trio = sys.modules.get("trio")
    endings = (KeyboardInterrupt,) if trio is None else (KeyboardInterrupt, trio.Cancelled)
    if not is_a(exc, BaseExceptionGroup):
        return exc if is_a(exc, endings) else None
    found = [leaf for leaf in _leaves(exc) if is_a(leaf, endings)]
    if not found:
        return None
    try:
        passing: BaseException | None = exc.split(endings)[0]
    except BaseException:  # a `derive` of the user's, and these must pass whatever it raises
        return BaseExceptionGroup("of a group that can't be split", found)
    return passing


def is_a(exc: object, kind: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """Return ``isinstance(exc, kind)`` without asking `exc` itself, which may raise when it is asked for its class."""
    return issubclass(type(exc), kind)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves, rest = [], [*group.exceptions]
    while rest:
        exc = rest.pop()
        if is_a(exc, BaseExceptionGroup):
            rest += exc.exceptions
        else:
            leaves.append(exc)
    return leaves


def described(exc: BaseException) -> str:
    """Return ``str(exc)``, which is the user's code, too, or say that there is none."""
    try:
        return str(exc)
    except BaseException as failure:
        pass_endings(failure)
        return "(its description could not be made)"


def shown(value: object, longest: int = 100) -> str:
    """Return as much of ``repr(value)`` as a text for a person has room for, or of what type it is."""
    try:
        return f"{value!r:.{longest}}"
    except BaseException as failure:  # an int of more digits than Python shows, or a repr of the user's that raises
        pass_endings(failure)
        return f"a {type(value).__name__:.{longest}}"
