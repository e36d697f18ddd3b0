"""Errors of classes that are marked with `trionet.error` arrive as themselves, by name and arguments."""

from __future__ import annotations

import copy
import enum
import pickle
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

import trionet
from tests.test_calls_by_method import Point
from tests.test_values_in_calls import open_nodes, over_each_transport
from trionet import IndefiniteError, MalformedRequest, Remote, RemoteError, Template, open_node, rpc
from trionet.codec import JSON, MESSAGEPACK
from trionet.error_wire import error_from_wire
from trionet.errors import error_to_wire
from trionet.user_errors import as_answer

if TYPE_CHECKING:
    from collections.abc import Callable


class Shelf(enum.Enum):
    TOP = "top"


@trionet.error
class OutOfStock(RemoteError):
    def __init__(self, item: str, left: int = 0, *, shelf: Shelf | None = None) -> None:
        super().__init__(f"{left} of {item} left")
        self.item, self.left, self.shelf = item, left, shelf


@trionet.error(name="shop.closed")
class Closed(OutOfStock, LookupError):
    pass


@trionet.error
class Plain(RemoteError):
    pass


@trionet.error
class Rich(RemoteError):
    def __init__(self, *things: Any, point: Point) -> None:
        super().__init__("rich")
        self.things, self.point = things, point


class Undeclared(OutOfStock):
    pass


class Shop:
    @rpc
    async def sell(self, item: str, left: int = 0, *, shelf: Shelf | None = None) -> int:
        raise OutOfStock(item, left, shelf=shelf)

    @rpc
    def sell_now(self, item: str) -> int:
        raise Closed(item)

    @rpc
    def fail(self, kind: str) -> None:
        errors: dict[str, Callable[[], Exception]] = {
            "plain": lambda: Plain("no text like this"),
            "rich": lambda: Rich((1, b"2"), {3}, uuid.UUID(int=4), point=Point(5)),
            "unable": lambda: Rich(object(), point=Point(5)),
            "undeclared": lambda: Undeclared("tea"),
            "long": lambda: OutOfStock("tea" * 10_000),
            "chained": lambda: OutOfStock("tea"),
        }
        raise errors[kind]() from ValueError("the cause")

    @rpc
    async def items(self) -> AsyncIterator[int]:
        yield 1
        raise OutOfStock("tea", 1)


class Everywhere(Template):
    @rpc
    async def sell(self) -> Any:
        return await self.context.call(Shop.sell, "tea", 2)


@over_each_transport
@pytest.mark.parametrize("is_self", [False, True], ids=["another", "itself"])
async def test_a_declared_error_is_caught_as_itself(transport: str, *, is_self: bool) -> None:
    async with open_nodes(transport) as (one, other):
        target = one if is_self else other
        await target.local.routes.put(Shop())
        with pytest.raises(OutOfStock) as caught:
            await one.call(target, Shop.sell, "tea", 3, shelf=Shelf.TOP)
        error = caught.value
        assert (error.item, error.left, error.shelf) == ("tea", 3, Shelf.TOP)
        assert isinstance(error, IndefiniteError)
        assert error.node == str(target.address)
        assert str(error) == f"3 of tea left (at {target.address})"
        assert error.type_name.endswith("test_declared_errors.OutOfStock")
        assert error.message == "3 of tea left"
        assert "in sell" in error.traceback
        with pytest.raises(LookupError) as other_caught:
            await one.local.comm.send(["tea"], Remote(node=target.address, service="shop", method="sell_now"))
        assert type(other_caught.value) is Closed
        async with one.stream(target, Shop.items) as items:
            assert await anext(items) == 1
            with pytest.raises(OutOfStock, match="1 of tea left"):
                await anext(items)


@over_each_transport
async def test_rich_arguments_come_back_as_they_were_where_they_travel(transport: str) -> None:
    async with open_nodes(transport) as (one, other):
        await other.local.routes.put(Shop())
        with pytest.raises(Plain, match=r"^no text like this \(at "):
            await one.call(other, Shop.fail, "plain")
        with pytest.raises(Rich) as caught:
            await one.call(other, Shop.fail, "rich")
        assert caught.value.things == ((1, b"2"), {3}, uuid.UUID(int=4))
        assert caught.value.point == Point(5)
        for kind, name in (("unable", "Rich"), ("undeclared", "Undeclared"), ("long", "OutOfStock")):
            with pytest.raises(RemoteError) as plain:
                await one.call(other, Shop.fail, kind)
            assert type(plain.value) is RemoteError
            assert plain.value.type_name == f"{__name__}.{name}"
        with pytest.raises(OutOfStock) as chained:
            await one.call(other, Shop.fail, "chained")
        assert "ValueError: the cause" in chained.value.traceback


async def test_a_group_raises_declared_errors_for_except_star() -> None:
    async with open_node() as one, open_node() as other:
        for node in (one, other):
            await node.local.routes.put(Shop())
            node.register_template("everywhere", Everywhere)
            await node.local.groups.put("pair", [one, other])
        replies = await one.group("pair").call(Shop.sell, "tea", 2)
        caught: list[OutOfStock] = []
        try:
            replies.raise_errors()
        except* OutOfStock as group:
            caught += group.exceptions  # type: ignore[arg-type]
        assert [(error.item, error.left) for error in caught] == [("tea", 2)] * 2
        far = await one.options(gid="pair").call(other, Everywhere.sell)  # the errors are values here
        assert [(type(error), error.item, error.left) for error in far.errors.values()] == [(OutOfStock, "tea", 2)] * 2
        assert {error.node for error in far.errors.values()} == {str(one.address), str(other.address)}


async def test_a_handler_that_lets_the_error_of_another_node_pass_passes_it_on() -> None:
    class Front:
        @rpc
        async def sell(self) -> int:
            return await one.call(other, Shop.sell, "tea", 2)

    async with open_node() as one, open_node() as other:
        await other.local.routes.put(Shop())
        await one.local.routes.put(Front())
        with pytest.raises(OutOfStock, match="2 of tea left") as caught:
            await other.call(one, Front.sell)
        assert caught.value.node == str(one.address)


_WIRE = {"code": 13, "name": "RemoteError", "text": "x", "message": "m", "traceback": "t"}


@pytest.mark.parametrize(
    "arguments",
    ["", "[", "[]", "[1, 2]", '[[], {}, {}]', "[[], {}]", '[["tea", "much"], {}]', '[["tea"], {"more": 1}]', "null",
     '[[{"$type": ["nothing", {}]}], {}]', '[[{"$float": 1}], {}]', "\ud800", '[["tea"], {"self": 1}]', 5, ["tea"], {}],
    ids=lambda value: f"{value!r:.20}",
)  # fmt: skip
@pytest.mark.parametrize("name", ["OutOfStock", "Rich", "Nowhere"])
def test_arguments_that_do_not_fit_make_a_remote_error_with_the_name(name: str, arguments: Any) -> None:
    error = error_from_wire(_WIRE | {"type_name": f"{__name__}.{name}", "arguments": arguments})
    assert type(error) is RemoteError
    assert (error.text, error.type_name, error.message) == ("x", f"{__name__}.{name}", "m")


@pytest.mark.parametrize("name", [None, 5, [], "", "trionet.errors.CallTimeout"], ids=str)
def test_a_strange_name_is_that_of_no_class(name: Any) -> None:
    assert type(error_from_wire(_WIRE | {"type_name": name, "arguments": "[[], {}]"})) is RemoteError


def test_a_constructor_that_fails_or_makes_something_else_cannot_crash_the_caller() -> None:
    @trionet.error(name="test.fails")
    class Fails(RemoteError):
        def __init__(self, text: str) -> None:
            if text == "exit":
                raise SystemExit(5)
            raise LookupError(text)

    @trionet.error(name="test.other")
    class Elsewhere(RemoteError):
        def __new__(cls, *_: object) -> Any:
            return ValueError("another thing")

    @trionet.error(name="test.bare")
    class Bare(RemoteError):
        text = property(lambda self: "computed")

        def __init__(self, number: int) -> None:
            self.number = number

    for name, arguments in (("fails", '[["exit"], {}]'), ("fails", '[["x"], {}]'), ("other", "[[], {}]")):
        error = error_from_wire(_WIRE | {"type_name": f"test.{name}", "arguments": arguments})
        assert type(error) is RemoteError
    bare = error_from_wire(_WIRE | {"type_name": "test.bare", "arguments": "[[5], {}]"})
    assert type(bare) in (Bare, RemoteError)


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
def test_an_error_among_values_travels_as_itself(codec: Any) -> None:
    given = Closed("tea", 4, shelf=Shelf.TOP)
    arrived = codec.decode(codec.encode([given]))[0]
    assert type(arrived) is Closed
    assert (arrived.item, arrived.left, arrived.shelf) == ("tea", 4, Shelf.TOP)
    again = codec.decode(codec.encode({"e": arrived}))["e"]
    assert type(again) is Closed
    assert again == arrived


def test_a_node_without_the_class_makes_a_remote_error_of_it() -> None:
    wire = error_to_wire(as_answer(OutOfStock("tea", 2)))
    program = (
        "import json, sys; from trionet.error_wire import error_from_wire; e = error_from_wire(json.load(sys.stdin));"
        "print(type(e).__name__, e.type_name, e.message, e.arguments)"
    )
    text = JSON.encode(wire)
    result = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, check=True, timeout=60)
    assert result.stdout.decode().strip() == (f'RemoteError {__name__}.OutOfStock 2 of tea left [["tea",2],{{}}]')


def test_declared_errors_are_copied_and_pickled() -> None:
    given = OutOfStock("tea", 2, shelf=Shelf.TOP)
    for again in (copy.copy(given), pickle.loads(pickle.dumps(given))):
        assert type(again) is OutOfStock
        assert (again.item, again.left, again.shelf, str(again)) == ("tea", 2, Shelf.TOP, "2 of tea left")


def test_an_error_by_value_is_declared_where_it_arrives() -> None:
    program = """
import sys
from trionet.error_wire import error_from_wire
from trionet.errors import error_to_wire
from trionet.pickling import unpickled

kind = unpickled(sys.stdin.buffer.read(), "a class")
error = error_from_wire(error_to_wire(kind("tea")))
print(type(error) is kind, error.item)
"""

    @trionet.error(name="test.by_value")
    class ByValue(RemoteError):
        def __init__(self, item: str) -> None:
            super().__init__(item)
            self.item = item

    from trionet.pickling import pickled

    result = subprocess.run(
        [sys.executable, "-c", program], input=pickled(ByValue), capture_output=True, check=False, timeout=60
    )
    assert result.stdout.decode().strip() == "True tea", result.stderr.decode()


@pytest.mark.parametrize("thing", [ValueError, IndefiniteError, RemoteError, Shop, len, None, "x", 5], ids=str)
def test_only_subclasses_of_remote_error_are_declared(thing: Any) -> None:
    declaring: Any = trionet.error
    with pytest.raises(MalformedRequest, match=r"subclasses of trionet\.RemoteError|takes|is a text"):
        declaring(name="x")(thing)


def test_a_name_is_that_of_one_class() -> None:
    class Other(RemoteError):
        pass

    with pytest.raises(MalformedRequest, match=r"'shop\.closed' is the name of another error"):
        trionet.error(name="shop.closed")(Other)
    for name in (5, "", None):
        wrong: Any = name
        if name is not None:
            with pytest.raises(MalformedRequest, match="is a text"):
                trionet.error(name=wrong)(Other)
