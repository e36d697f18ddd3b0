"""Between nodes a value has the type that is asked for; in JSON that a person wrote, less is asked for."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec
import pytest
import trio

from tests.test_values_in_calls import open_nodes, over_each_transport
from trionet import MalformedRequest, Remote, open_node, register_type, rpc
from trionet.arguments import Method
from trionet.hashing import MAX_SAME_HASH

NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
ID = uuid.UUID(int=7)


class Colour(enum.Enum):
    RED = "red"


@register_type
class Shape(msgspec.Struct, frozen=True):
    name: str = "?"


@register_type
class Circle(Shape, frozen=True):
    radius: float = 1.0


@register_type
@dataclasses.dataclass
class Animal:
    name: str = "?"


@register_type
@dataclasses.dataclass
class Dog(Animal):
    tricks: list[bytes] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Drawing:
    shapes: list[Shape]
    made: datetime.datetime | None = None


class Tree(msgspec.Struct):
    branches: list[Tree] = []


class Closed(msgspec.Struct, forbid_unknown_fields=True, rename="camel", tag="closed"):
    first_name: str


class Tagged(msgspec.Struct, tag="tagged"):
    pass


class Corner(typing.NamedTuple):
    x: int
    y: int = 0


T = typing.TypeVar("T")
Data = typing.TypeVar("Data", bytes, int)


@dataclasses.dataclass
class Page(typing.Generic[T]):
    items: list[T]
    first: T | None = None


@dataclasses.dataclass
class Numbered(Page[T]):
    number: int = 0


@dataclasses.dataclass
class Picture(Numbered[bytes]):
    width: int = 0


class Reading(typing.TypedDict, typing.Generic[T]):
    value: T


class Signed(Reading[bytes]):
    key: bytes


class Step(typing.NamedTuple, typing.Generic[T]):
    value: T


class Closure(enum.Enum):
    """Values of several types, none of which msgspec makes an enum of."""

    OPEN = b"open"
    HALF = 0.5
    SHUT = None


class Wide(typing.Protocol):
    """No one can be asked whether they fulfil it."""


class Limits(typing.TypedDict, total=False):
    most: set[int]


def bound(annotation: Any, value: Any, *, is_json: bool) -> Any:
    """Return what a handler whose parameter has `annotation` gets for `value`."""

    def handle(value: Any) -> None: ...

    handle.__annotations__ = {"value": annotation}
    args, _ = Method(handle).bind([value], {}, is_json=is_json)
    return args[0]


JSON_ALONE: list[tuple[Any, Any, Any]] = [
    (bytes, "aGk=", b"hi"),
    (bytes | None, "aGk=", b"hi"),
    (list[bytes], ["aGk="], [b"hi"]),
    (dict[str, datetime.datetime], {"a": "2026-11-20T12:00:00Z"}, {"a": NOON}),
    (datetime.datetime, "2026-11-20T12:00:00Z", NOON),
    (uuid.UUID, str(ID), ID),
    (uuid.UUID | int, str(ID), ID),
    (set[int], [1, 1], {1}),
    (frozenset[str], ["a"], frozenset("a")),
    (set, [1], {1}),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, bytes], [1, "aGk="], (1, b"hi")),
    (tuple, [1], (1,)),
    (list[int], (1,), [1]),
    (Drawing, {"shapes": [], "made": "2026-11-20T12:00:00Z"}, Drawing([], NOON)),
    (Dog, {"tricks": ["aGk="]}, Dog(tricks=[b"hi"])),
    (Limits, {"most": [1]}, {"most": {1}}),
    (list[tuple[int, ...] | None], [[1], None], [(1,), None]),
    (Data, "aGk=", b"hi"),
    (Page[bytes], {"items": ["aGk="], "first": "aGk="}, Page([b"hi"], b"hi")),
    (list[Page[bytes]], [{"items": ["aGk="]}], [Page([b"hi"])]),
    (Numbered[bytes], {"items": ["aGk="]}, Numbered([b"hi"])),
    (Picture, {"items": ["aGk="], "width": 1}, Picture([b"hi"], width=1)),
    (Reading[bytes], {"value": "aGk="}, {"value": b"hi"}),
    (Signed, {"value": "aGk=", "key": b""}, {"value": b"hi", "key": b""}),
    (Step[bytes], ["aGk="], Step(b"hi")),
]

EITHER: list[tuple[Any, Any, Any]] = [
    (float, 5, 5.0),
    (list[float], [1, 2.5], [1.0, 2.5]),
    (Colour, "red", Colour.RED),
    (Colour | None, "red", Colour.RED),
    (datetime.date, "2026-11-20", NOON.date()),
    (decimal.Decimal, "1.5", decimal.Decimal("1.5")),
    (Shape, {"name": "dot"}, Shape("dot")),
    (Drawing, {"shapes": [{"name": "dot"}, Circle()]}, Drawing([Shape("dot"), Circle()])),
    (Tree, {"branches": [{}, {"branches": [{}]}]}, Tree([Tree(), Tree([Tree()])])),
    (Closed, {"type": "closed", "firstName": "Ann"}, Closed("Ann")),
    (Corner, [1, 2], Corner(1, 2)),
    (Corner, (1,), Corner(1)),
    (Closure, b"open", Closure.OPEN),
    (Closure, 0.5, Closure.HALF),
    (dict[str, Closure], {"a": None}, {"a": Closure.SHUT}),
    (datetime.timedelta, "PT1.5S", datetime.timedelta(seconds=1.5)),
    (datetime.timedelta, 1.5, datetime.timedelta(seconds=1.5)),
    (memoryview, b"hi", memoryview(b"hi")),
    (decimal.Decimal | float, 1, decimal.Decimal(1)),
    (float | decimal.Decimal, 1, 1.0),
    (Closed | Animal, {"name": "Ann"}, Animal("Ann")),
    (Closed | Animal, {"type": "closed", "firstName": "Ann"}, Closed("Ann")),
    (Animal | Closed, {"type": "closed", "firstName": "Ann"}, Closed("Ann")),
]

REFUSED: list[tuple[Any, Any, str]] = [
    (int, True, "Expected `int`, got `bool`"),
    (int, 1.0, "Expected `int`, got `float`"),
    (int, None, "Expected `int`, got `None`"),
    (float, True, "Expected `float`, got `bool`"),
    (float, 10**400, "too large"),
    (str, b"x", "Expected `str`, got `bytes`"),
    (bytes, 5, "Expected `bytes`, got `int`"),
    (list[str], "ab", "Expected `list`, got `str`"),
    (Sequence[str], "ab", "Expected `Sequence`, got `str`"),
    (dict[str, int], {"a": "x"}, "Expected `int`, got `str` - at `$[...]`"),
    (dict[int, int], {"1": 2}, r"Expected `int`, got `str` - at `$[key]`"),
    (Shape, Animal(), "Expected `Shape`, got `Animal`"),
    (Shape | None, {"name": 5}, "Expected `str`, got `int` - at `$.name`"),
    (Drawing, {}, "missing required field `shapes`"),
    (Closed, {"firstName": "Ann", "x": 1}, "unknown field `x`"),
    (Closed, {"type": "open", "firstName": "Ann"}, "Invalid value 'open' - at `$.type`"),
    (Corner, [1, 2, 3], "of length 2"),
    (tuple[int, int], (1,), "length"),
    (Colour, "blue", "Invalid enum value 'blue'"),
    (Closure, "open", "'open' is not a valid Closure"),
    (Page[int], {"items": ["x"]}, "Expected `int`, got `str` - at `$.items[0]`"),
    (datetime.timedelta, float("nan"), "NaN"),
    (Closed | Tagged, {"firstName": "Ann"}, "Expected `Closed | Tagged`, got `dict`"),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), JSON_ALONE)
def test_what_stands_for_a_value_in_json_is_taken_there_and_refused_between_nodes(
    annotation: Any, value: Any, expected: Any
) -> None:
    got = bound(annotation, value, is_json=True)
    assert (got, type(got)) == (expected, type(expected))
    with pytest.raises(MalformedRequest, match="Expected"):
        bound(annotation, value, is_json=False)
    assert bound(annotation, expected, is_json=False) is expected


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize(("annotation", "value", "expected"), EITHER)
def test_what_cannot_travel_as_itself_is_made_from_what_stands_for_it(
    annotation: Any, value: Any, expected: Any, is_json: bool
) -> None:
    got = bound(annotation, value, is_json=is_json)
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize(("annotation", "value", "reason"), REFUSED)
def test_what_does_not_fit_is_refused_with_its_place(annotation: Any, value: Any, reason: str, is_json: bool) -> None:
    with pytest.raises(MalformedRequest) as caught:
        bound(annotation, value, is_json=is_json)
    assert reason in caught.value.text


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Shape, Circle()),
        (Animal, Dog()),
        (list[Shape], [Shape(), Circle()]),
        (dict[str, Animal], {"a": Dog()}),
        (Shape | None, Circle()),
        (Shape | str, Circle()),
        (Animal | Shape, Circle()),
        (tuple[Animal, ...], (Dog(),)),
        (Sequence[Shape], (Circle(),)),
        (Mapping[str, list[Shape]], {"a": [Circle()]}),
        (set[Shape], {Circle()}),
        (list[Shape | int], [1, Circle()]),
    ],
)
def test_an_instance_of_a_subclass_is_passed_on_as_the_very_object(annotation: Any, value: Any, is_json: bool) -> None:
    assert bound(annotation, value, is_json=is_json) is value


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_text_is_no_binary_of_any_kind_between_nodes(kind: Any) -> None:
    assert bound(kind, "aGk=", is_json=True) == b"hi"
    with pytest.raises(MalformedRequest, match=f"Expected `{kind.__name__}`"):
        bound(kind, "aGk=", is_json=False)


def test_what_is_converted_leaves_the_original_as_it_was() -> None:
    sent = {"shapes": [{"name": "dot"}]}
    bound(Drawing, sent, is_json=False)
    assert sent == {"shapes": [{"name": "dot"}]}


def test_a_set_of_json_takes_linear_time() -> None:
    colliding = [(2**61 - 1) * (2**70 + number) for number in range(MAX_SAME_HASH + 1)]
    with pytest.raises(MalformedRequest, match="share a hash"):
        bound(set[int], colliding, is_json=True)
    assert len(bound(set[int], list(range(10_000)), is_json=True)) == 10_000


def test_an_annotation_that_says_nothing_to_be_checked_takes_anything() -> None:
    for annotation in (Any, object, "Nowhere", Shape | Drawing, typing.TypeVar("T"), Wide, Wide | None):
        assert bound(annotation, "x", is_json=False) == "x"


class Post:
    """Takes values of each kind."""

    @rpc
    def blob(self, data: bytes) -> bytes:
        return data

    @rpc
    def paint(self, colour: Colour, day: datetime.date) -> str:
        return f"{colour.name} {day.year}"

    @rpc
    def measure(self, shapes: list[Shape]) -> list[str]:
        return [type(shape).__name__ for shape in shapes]


@over_each_transport
async def test_over_each_transport_and_to_itself_a_text_is_no_bytes_and_a_subclass_is_itself(transport: str) -> None:
    with trio.fail_after(60):
        async with open_nodes(transport) as (one, other):
            for node in (one, other):
                await node.local.routes.put(Post(), "post")

                async def ask(method: str, *args: Any, node: Any = node, **kwargs: Any) -> Any:
                    return await one.local.comm.send(
                        list(args), Remote(node=node.address, service="post", method=method)
                    )

                with pytest.raises(MalformedRequest, match="Expected `bytes`, got `str`"):
                    await ask("blob", "aGk=")
                assert await ask("blob", b"hi") == b"hi"
                assert await ask("paint", "red", "2026-11-20") == "RED 2026"
                assert await ask("measure", [Shape(), Circle(radius=2.0)]) == ["Shape", "Circle"]


async def test_json_is_a_persons_where_no_calling_node_is_named() -> None:
    async with open_node() as node, httpx.AsyncClient(base_url=f"http://{node.address}") as client:
        await node.local.routes.put(Post(), "post")
        answer = await client.put("/local/post/blob", json=["aGk="])
        assert answer.json() == {"value": {"$bytes": "aGk="}}
        answer = await client.put("/local/post/blob?data=aGk%3D", json=[])
        assert answer.json() == {"value": {"$bytes": "aGk="}}
        answer = await client.put("/local/post/blob", json=["aGk="], headers={"Trionet-Caller": "127.0.0.1:9"})
        assert answer.status_code == 400
        assert "Expected `bytes`, got `str`" in answer.json()["error"]["text"]
