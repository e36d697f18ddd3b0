"""Values that travel by their annotation come back equal, types included; others are left alone."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trionet
from trionet import EncodeError, NodeAddress
from trionet.codec import JSON, MESSAGEPACK
from trionet.conversion import converter_for

T = TypeVar("T")


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Number(enum.IntEnum):
    ONE = 1


class Mixed(enum.Enum):
    TEXT = "1"
    NUMBER = 1


@dataclasses.dataclass(frozen=True)
class Inner:
    color: Color
    day: datetime.date
    again: Inner | None = None


@dataclasses.dataclass
class Outer:
    inner: list[Inner]
    by_name: dict[str, Inner] = dataclasses.field(default_factory=dict)
    made: int = dataclasses.field(default=5, init=False)


class Struct(msgspec.Struct, rename="camel"):
    some_color: Color
    pair: tuple[int, Inner]


class Cat(msgspec.Struct, tag=True):
    color: Color


class Dog(msgspec.Struct, tag=True):
    color: Color


class Pair(NamedTuple):
    first: int
    inner: Inner


class Card(TypedDict, total=False):
    inner: Inner
    price: decimal.Decimal


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


@trionet.register_type
@dataclasses.dataclass
class Registered:
    number: int


@dataclasses.dataclass
class Sub(Outer):
    more: int = 0


Kilo = NewType("Kilo", decimal.Decimal)

INNER = Inner(Color.RED, datetime.date(2026, 11, 29), Inner(Color.GREEN, datetime.date(1, 1, 1)))

TRAVELLING: list[tuple[Any, Any]] = [
    (Color, Color.GREEN),
    (Number, Number.ONE),
    (Mixed, Mixed.TEXT),
    (Mixed, Mixed.NUMBER),
    (Inner, INNER),
    (Outer, Outer([INNER], {"a": INNER})),
    (list[Outer], [Outer([])]),
    (Struct, Struct(Color.RED, (1, INNER))),
    (Cat | Dog, Dog(Color.RED)),
    (Pair, Pair(1, INNER)),
    (Card, {"inner": INNER}),
    (Card, {"price": decimal.Decimal("1.10")}),
    (Box[Color], Box(Color.RED)),
    (Inner | None, INNER),
    (Inner | None, None),
    (set[Color], {Color.RED, Color.GREEN}),
    (frozenset[Mixed], frozenset(Mixed)),
    (dict[Color, Inner], {Color.RED: INNER}),
    (Mapping[str, Sequence[Inner]], {"a": [INNER], "b": (INNER,)}),
    (tuple[Inner, ...], (INNER, INNER)),
    (tuple[Color, int], (Color.RED, 1)),
    (datetime.date, datetime.date(2026, 11, 29)),
    (datetime.time, datetime.time(1, 2, 3)),
    (datetime.timedelta, datetime.timedelta(days=-1, microseconds=1)),
    (decimal.Decimal, decimal.Decimal("0.10")),
    (Kilo, Kilo(decimal.Decimal(2))),
    (Annotated[datetime.date, "a comment"], datetime.date(2026, 1, 1)),
    (int | datetime.date, datetime.date(2026, 1, 1)),
    (int | datetime.date, 5),
    (Registered, Registered(5)),
    (list[Registered], [Registered(5)]),
    (NodeAddress, NodeAddress("127.0.0.1", 1)),
    (uuid.UUID, uuid.UUID(int=1)),
    (bytes, b"1"),
    (Literal["a"], "a"),
    (float, 1.5),
]


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
@pytest.mark.parametrize(("annotation", "value"), TRAVELLING, ids=range(len(TRAVELLING)))
def test_a_value_of_the_annotated_type_comes_back_as_it_was(annotation: Any, value: Any, codec: Any) -> None:
    converter = converter_for(annotation)
    assert converter is not None
    lowered = converter.lower(value) if converter.lowers else value
    arrived = converter.fit(codec.decode(codec.encode([lowered]))[0], is_json=False)
    assert arrived == value
    assert type(arrived) is type(value)


UNABLE: list[tuple[Any, Any]] = [
    (Outer, Sub([])),  # it would lose its own fields
    (Color | str, Color.RED),  # it would come back as a text
    (Inner | dict[str, Any], INNER),
    (int, Color.RED),
    (list[Any], [Color.RED]),
    (set[Inner], {INNER}),  # a dict can't be in a set
    (tuple[Color, int], (Color.RED, 1, 2)),
    (Any, INNER),
    (object, Color.RED),
]


@pytest.mark.parametrize(("annotation", "value"), UNABLE, ids=range(len(UNABLE)))
def test_what_would_come_back_as_another_value_does_not_travel(annotation: Any, value: Any) -> None:
    converter = converter_for(annotation)
    lowered = value if converter is None or not converter.lowers else converter.lower(value)
    with pytest.raises(EncodeError):
        JSON.encode([lowered])


def test_a_value_that_travels_itself_is_the_same_object() -> None:
    for annotation, value in ((list[Registered], [Registered(1)]), (dict[str, int], {"a": 1}), (Card, {}), (Pair, [1])):
        converter = converter_for(annotation)
        assert converter is not None
        assert converter.lower(value) is value


def test_a_value_of_another_type_is_left_alone_and_never_fails() -> None:
    for annotation, _ in TRAVELLING:
        converter = converter_for(annotation)
        assert converter is not None
        for other in (None, 5, "text", [1], {"a": 1}, (1,), {1}, object, INNER, Color.RED):
            converter.lower(other)


_FLAT = st.builds(Inner, st.sampled_from(Color), st.dates())


@given(st.recursive(_FLAT, lambda inner: st.builds(Inner, st.sampled_from(Color), st.dates(), inner), max_leaves=5))
def test_nested_records_come_back_as_they_were(inner: Inner) -> None:
    converter = converter_for(list[Inner])
    assert converter is not None
    assert converter.fit(JSON.decode(JSON.encode([converter.lower([inner])]))[0], is_json=False) == [inner]
