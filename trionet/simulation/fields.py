"""Kinds of fields of faults and networks: which values are valid, and how a value shrinks.

A field declares its kind by its annotation: ``node: NodeIndex``, or ``latency_s: Seconds | None = None``. Invariants:
a valid object can be encoded as JSON and decoded again; a class with a field of no kind can't be instantiated.
"""

from __future__ import annotations

import functools
import math
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, get_args, get_type_hints

import msgspec

from trionet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "SHORTEST_S",
    "Chance",
    "Duration",
    "Field",
    "FieldKind",
    "Flag",
    "LatencyName",
    "NodeIndex",
    "NodeIndexes",
    "Positive",
    "Seconds",
    "Sides",
    "check_fields",
    "fields_of",
]

SHORTEST_S: Final = 0.1
"""A shrunk time is no shorter."""

_LEAST_CHANCE: Final = 0.05


class FieldKind(NamedTuple):
    """A kind of field.

    Attributes:
        is_valid: whether a value is valid.
        expected: the valid values in words, for errors.
        weaker: yields weaker values, the weakest first.
        without: returns a value after the node at an index is removed, and those after it move up; None if that leaves
            nothing.
        nodes: returns the indexes of nodes in a value; None where there are none.
    """

    is_valid: Callable[[Any], bool]
    expected: str
    weaker: Callable[[Any], Iterable[Any]] = lambda _: ()
    without: Callable[[Any, int], Any] = lambda value, _: value
    nodes: Callable[[Any], Iterable[int]] | None = None


def _is_number(value: Any, least: float, most: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_time(value: Any) -> bool:
    return _is_number(value, 0) and value < math.inf


def _is_node(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_nodes(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_node, value))


def _less_likely(chance: float) -> Iterable[float]:
    return [round(chance / 2, 2)] if chance > 2 * _LEAST_CHANCE else []


def _shorter(seconds: float) -> Iterable[float]:
    half = [max(SHORTEST_S, round(seconds / 2, 2))] if seconds > SHORTEST_S else []
    return [*half, round(seconds, 1)]


def _without(nodes: list[int], index: int) -> list[int]:
    return [node - (node > index) for node in nodes if node != index]


_LATENCIES = Literal["constant", "uniform", "exponential", "heavy_tail"]
_NAMES: Final = get_args(_LATENCIES)
_TIME: Final = "a number of seconds, at least 0"

Chance = Annotated[float, FieldKind(lambda chance: _is_number(chance, 0, 1), "a chance from 0 to 1", _less_likely)]
Seconds = Annotated[float, FieldKind(_is_time, _TIME, _shorter)]
Duration = Annotated[float, FieldKind(lambda seconds: _is_number(seconds, 0), _TIME)]
Positive = Annotated[float, FieldKind(lambda number: _is_time(number) and number > 0, "a number above 0")]
Flag = Annotated[bool, FieldKind(lambda value: isinstance(value, bool), "True or False")]
LatencyName = Annotated[_LATENCIES, FieldKind(lambda name: name in _NAMES, f"one of {', '.join(_NAMES)}")]
NodeIndex = Annotated[
    int,
    FieldKind(
        _is_node,
        "a node's place, 0 or more",
        without=lambda node, index: None if node == index else node - (node > index),
        nodes=lambda node: [node],
    ),
]
NodeIndexes = Annotated[
    list[int], FieldKind(_are_nodes, "a list of nodes' places, 0 or more", without=_without, nodes=list)
]
Sides = Annotated[
    list[list[int]],
    FieldKind(
        lambda sides: isinstance(sides, list | tuple) and all(map(_are_nodes, sides)),
        "a list of lists of nodes' places, 0 or more",
        without=lambda sides, index: [_without(side, index) for side in sides],
        nodes=lambda sides: [node for places in zip_longest(*sides) for node in places if node is not None],
    ),
]


class Field(NamedTuple):
    """A field of a struct; the default is `msgspec.NODEFAULT` where there is none."""

    name: str
    kind: FieldKind
    default: Any


@functools.cache
def fields_of(struct: type[msgspec.Struct]) -> list[Field]:
    """Return the fields of a struct.

    Raises:
        ConfigError: a field has no kind.
    """
    hints = get_type_hints(struct, include_extras=True)
    found = []
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        data = [data for one in (hint, *get_args(hint)) for data in getattr(one, "__metadata__", ())]
        kind = next((one for one in data if isinstance(one, FieldKind)), None)
        if kind is None:
            raise ConfigError(f"{struct.__name__}: {field.name} needs a kind of trionet.simulation.fields, not {hint}")
        found.append(Field(field.name, kind, field.default))
    return found


def check_fields(made: msgspec.Struct) -> None:
    """Check each field's value by its kind; None is valid where it is the default.

    Raises:
        ConfigError: a value is invalid; the text names the field.
    """
    for name, kind, default in fields_of(type(made)):
        value = getattr(made, name)
        if not kind.is_valid(value) and not (value is None and default is None):
            raise ConfigError(f"{type(made).__name__}: {name} is {kind.expected}, not {value!r:.100}")
