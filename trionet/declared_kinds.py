"""The classes of errors that are marked with ``trionet.error``, by class and by name.

Invariant: a name is that of one class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class DeclaredKind(Protocol):
        """A class whose errors travel by name and arguments.

        Attributes:
            name: its name on the wire.
        """

        name: str

        def arguments_of(self, exc: BaseException) -> str | None:
            """Return the arguments that the constructor was given, as JSON; None if they can't travel."""

        def revived(self, error: Any) -> Any:
            """Return the error that a `RemoteError` describes; None if its arguments don't fit."""

        def arriving(self, set_state: Callable[[type, Any], object]) -> Callable[[type, Any], type]:
            """Return what gives the class its state where it arrives as code, and declares it there."""


__all__ = ["declare", "declared_kind", "kind_named"]


_by_class: dict[type, DeclaredKind] = {}
_by_name: dict[str, DeclaredKind] = {}


def declare(cls: type, kind: DeclaredKind) -> None:
    """Have errors of exactly `cls` travel as `kind` says."""
    _by_class[cls] = _by_name[kind.name] = kind


def declared_kind(cls: type) -> DeclaredKind | None:
    """Return what is declared of a class; None if nothing is."""
    return _by_class.get(cls)


def kind_named(name: object) -> DeclaredKind | None:
    """Return what is declared under a name; None if nothing is."""
    return _by_name.get(name) if isinstance(name, str) else None
