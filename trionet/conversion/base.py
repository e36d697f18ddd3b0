"""The base of all converters: their failures, and the conversion of items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.user_code import described, pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Converter", "Misfit", "WrongType", "are_same", "at", "each", "made", "mismatch"]


class Misfit(Exception):
    """A value is not of the expected type. It collects the path to the value while it propagates."""

    def __init__(self, reason: str, place: str = "") -> None:
        self.reason: str = reason
        self.steps: list[str] = [place]

    def __str__(self) -> str:
        place = "".join(reversed(self.steps))
        return f"{self.reason} - at `${place}`" if place else self.reason


class WrongType(Misfit):
    """A value is of an unrelated type."""


class Converter:
    """The conversion to the type of an annotation.

    Attributes:
        expected: the name of the type, for errors.
        kinds: the classes of its values.
        exact: the class whose instances, except for subclasses, need no conversion; or None.
        lowers: whether some values of the type don't travel, and `lower` returns their substitutes.
    """

    exact: type | None = None
    lowers: bool = False

    def __init__(self, expected: str, *kinds: type) -> None:
        self.expected: str = expected
        self.kinds: tuple[type, ...] = kinds

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is of that type by itself, without a look inside."""
        return type(value) in self.kinds

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as that type.

        Args:
            value: any value.
            is_json: whether a person wrote it as JSON.

        Raises:
            Misfit: it can't be converted.
        """
        raise NotImplementedError

    def lower(self, value: Any) -> Any:
        """Return the substitute of `value` that travels, and that `fit` converts back; else `value` itself."""
        return value


def each(items: Any, converter: Converter, is_json: bool, place: str | None = None) -> Any:
    """Return `items` converted: the same object if none of them has changed, else a list."""
    if {converter.exact}.issuperset(map(type, items)):
        return items
    converted = [
        at(f"[{index}]" if place is None else place, converter, item, is_json) for index, item in enumerate(items)
    ]
    return items if are_same(converted, items) else converted


def at(place: str, converter: Converter, value: Any, is_json: bool) -> Any:
    """Return `value`, which is at `place` of its container, converted."""
    try:
        return converter.fit(value, is_json)
    except Misfit as misfit:
        misfit.steps.append(place)
        raise


def are_same(ones: Iterable[Any], others: Iterable[Any]) -> bool:
    """Return whether these are the same objects in the same order."""
    return all(one is other for one, other in zip(ones, others, strict=True))


def made(make: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return ``make(*args, **kwargs)``; its exceptions become a `Misfit`."""
    try:
        return make(*args, **kwargs)
    except BaseException as exc:  # of any type, from a constructor of the user's
        pass_endings(exc)
        raise Misfit(described(exc) or type(exc).__name__) from exc


def mismatch(expected: str, value: Any) -> Misfit:
    """Return the error for a value of another type than `expected`."""
    got = "None" if value is None else type(value).__name__
    return WrongType(f"Expected `{expected}`, got `{got}`")
