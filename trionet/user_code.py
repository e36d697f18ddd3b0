"""Exceptions that the user's code raises when a node calls it.

Invariant: such an exception is a failure of that code, whatever it derives from, and never ends the node: the caller of
the code reports it. That includes `SystemExit`, `GeneratorExit` and ``asyncio.CancelledError``. Two propagate, alone or
in a group: `trio.Cancelled`, since the node itself cancels, and `KeyboardInterrupt`, which is for the program.

All calls of the user's code follow this rule: handlers (`router`), constructors and fields of values that travel
(`codec`), listeners (`events`), modules imported by name (`import_paths`), periodic tasks and ``subset`` functions
(`services`), nodes in this process (`launchers`), invariants, scenarios and programs of trials (`simulation`), handlers
of Maelstrom's messages, and views of the web app.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

__all__ = ["attempt", "attribute", "described", "failure_in", "is_a", "leaves", "pass_endings", "shown"]

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

_MESSAGE: Final[Any] = BaseExceptionGroup.message
_EXCEPTIONS: Final[Any] = BaseExceptionGroup.exceptions


def pass_endings(exc: BaseException) -> None:
    """Raise the `trio.Cancelled` and `KeyboardInterrupt` in `exc`, if any; else return."""
    ending = _ending_of(exc)
    if ending is not None:
        try:
            raise ending
        finally:
            del exc, ending  # a frame that is in its own traceback is a cycle


def _ending_of(exc: BaseException) -> BaseException | None:
    """Return `exc`, or a group of those in it, that must pass; None if it is all failure."""
    # Trio isn't imported here: `protocols` must not depend on it, and depends on this module.
    trio = sys.modules.get("trio")
    kinds = (KeyboardInterrupt,) if trio is None else (KeyboardInterrupt, trio.Cancelled)
    found = leaves(exc)
    endings = [leaf for leaf in found if is_a(leaf, kinds)]
    if len(endings) == len(found):
        return exc
    return BaseExceptionGroup("besides failures", endings) if endings else None


def failure_in(exc: BaseException) -> BaseException:
    """Return the failures in a group that has cancellations, too; else `exc`, which is all of one kind."""
    found = leaves(exc)
    trio = sys.modules.get("trio")
    failures = found if trio is None else [leaf for leaf in found if not is_a(leaf, trio.Cancelled)]
    if not 0 < len(failures) < len(found):
        return exc
    return BaseExceptionGroup(_MESSAGE.__get__(exc), failures)


def is_a(exc: object, kind: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """Return ``isinstance(exc, kind)`` without ``exc.__class__``, which may raise."""
    return issubclass(type(exc), kind)


def leaves(exc: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, at all depths; else the exception itself.

    Attributes that the exception's class may define are not used, such as ``__class__``, ``exceptions`` or ``derive``:
    they are the user's code, too, and might raise.
    """
    if not is_a(exc, BaseExceptionGroup):
        return [exc]
    return [leaf for part in _EXCEPTIONS.__get__(exc) for leaf in leaves(part)]


def described(exc: BaseException) -> str:
    """Return ``str(exc)``, or a substitute if that raises: it is the user's code, too."""
    return attempt(str, exc, default="(its description could not be made)")


def attempt(function: Callable[..., T], *args: Any, default: T) -> T:
    """Return ``function(*args)``, or `default` where the user's code in it fails."""
    try:
        return function(*args)
    except BaseException as exc:
        pass_endings(exc)
        return default


def attribute(thing: Any, name: str) -> Any:
    """Return an attribute of `thing`; None if it has none, or the user's code in it fails."""
    return attempt(getattr, thing, name, None, default=None)


def shown(value: object, longest: int = 100) -> str:
    """Return ``repr(value)``, shortened for a person, or the type of `value` if that raises."""
    # The representation of an int may have more digits than Python shows; and that of the user's may raise.
    return attempt(lambda: f"{value!r:.{longest}}", default=f"a {type(value).__name__:.{longest}}")
