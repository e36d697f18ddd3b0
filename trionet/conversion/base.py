"""What every converter has: how it fails, and how it goes into what a value holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from trionet.user_code import described, pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Converter", "Misfit", "WrongType", "are_same", "at", "each", "made", "mismatch"]


class Misfit(Exception):
    """A value is not of the type that is asked for: carries the reason up, gathering the path on the way."""

    def __init__(self, reason: str, place: str = "") -> None:
        self.reason: str = reason
        self.steps: list[str] = [place]

    def __str__(self) -> str:
        place = "".join(reversed(self.steps))
        return f"{self.reason} - at `${place}`" if place else self.reason


class WrongType(Misfit):
    """A value is of another type altogether."""


class Converter(Protocol):
    """What an annotation asks for.

    Attributes:
        expected: its name, for a person.
        exact: the type whose instances, subclasses aside, are taken as they are without a look inside; or None.
    """

    expected: str
    exact: type | None

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is of that type by itself, without a look inside."""
        ...

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as that type.

        Args:
            value: any value.
            is_json: whether a person wrote it as JSON.

        Raises:
            Misfit: it is none.
        """
        ...


def each(items: Any, converter: Converter, is_json: bool, place: str | None = None) -> Any:
    """Return `items` converted: the very object where none of them has changed, else a list."""
    if {converter.exact}.issuperset(map(type, items)):
        return items
    converted = [
        at(f"[{index}]" if place is None else place, converter, item, is_json) for index, item in enumerate(items)
    ]
    return items if are_same(converted, items) else converted


def at(place: str, converter: Converter, value: Any, is_json: bool) -> Any:
    """Return `value`, which is at `place` of what holds it, converted."""
    try:
        return converter.fit(value, is_json)
    except Misfit as misfit:
        misfit.steps.append(place)
        raise


def are_same(ones: Iterable[Any], others: Iterable[Any]) -> bool:
    """Return whether these are the same objects in the same order."""
    return all(one is other for one, other in zip(ones, others, strict=True))


def made(make: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return what `make` makes of the arguments; whatever it raises is a `Misfit`."""
    try:
        return make(*args, **kwargs)
    except BaseException as exc:  # a constructor of the user's may check its values, and raise whatever it likes
        pass_endings(exc)
        raise Misfit(described(exc) or type(exc).__name__) from exc


def mismatch(expected: str, value: Any) -> Misfit:
    """Return what to raise for a value that is of another type than `expected`."""
    got = "None" if value is None else type(value).__name__
    return WrongType(f"Expected `{expected}`, got `{got}`")
