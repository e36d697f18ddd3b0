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
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

__all__ = ["attempt", "described", "is_a", "pass_endings", "shown"]

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

_EXCEPTIONS: Final[Any] = BaseExceptionGroup.exceptions


def pass_endings(exc: BaseException) -> None:
    """Raise what of `exc` is no failure of the user's code, `trio.Cancelled` and `KeyboardInterrupt`; else return."""
    ending = _ending_of(exc)
    if ending is not None:
        try:
            raise ending
        finally:
            del exc, ending  # a frame that is in its own traceback is a cycle


def _ending_of(exc: BaseException) -> BaseException | None:
    """Return `exc`, or a group of those in it, that must pass; None if it is all failure."""
    # Trio isn't imported for it: `protocols` must do without Trio, and imports what imports this.
    trio = sys.modules.get("trio")
    kinds = (KeyboardInterrupt,) if trio is None else (KeyboardInterrupt, trio.Cancelled)
    leaves = _leaves(exc)
    endings = [leaf for leaf in leaves if is_a(leaf, kinds)]
    if len(endings) == len(leaves):
        return exc
    return BaseExceptionGroup("besides failures", endings) if endings else None


def is_a(exc: object, kind: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """Return ``isinstance(exc, kind)`` without asking `exc` itself, which may raise when it is asked for its class."""
    return issubclass(type(exc), kind)


def _leaves(exc: BaseException) -> list[BaseException]:
    """Return the exceptions in a group of groups.

    What the exception's class may define is not asked, such as ``__class__``, ``exceptions`` or ``derive``: it is the
    user's code, too, and might raise.
    """
    if not is_a(exc, BaseExceptionGroup):
        return [exc]
    return [leaf for part in _EXCEPTIONS.__get__(exc) for leaf in _leaves(part)]


def described(exc: BaseException) -> str:
    """Return ``str(exc)``, which is the user's code, too, or say that there is none."""
    return attempt(str, exc, default="(its description could not be made)")


def attempt(function: Callable[..., T], *args: Any, default: T) -> T:
    """Return ``function(*args)``, or `default` where the user's code in it fails."""
    try:
        return function(*args)
    except BaseException as exc:
        pass_endings(exc)
        return default


def shown(value: object, longest: int = 100) -> str:
    """Return as much of ``repr(value)`` as a text for a person has room for, or of what type it is."""
    try:
        return f"{value!r:.{longest}}"
    except BaseException as failure:  # an int of more digits than Python shows, or a repr of the user's that raises
        pass_endings(failure)
        return f"a {type(value).__name__:.{longest}}"
