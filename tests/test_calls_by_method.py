"""Calls that name their method by its class: to a node, to a group, as streams and as rumors."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec
import pytest
import trio

import trionet
from tests.clusters import open_cluster
from tests.test_values_in_calls import open_nodes, over_each_transport
from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    CallTimeout,
    EmptyGroup,
    EncodeError,
    GroupNotFound,
    IndefiniteError,
    MalformedRequest,
    MethodNotFound,
    Node,
    NodeConfig,
    NodeUnreachable,
    OrphanedCalls,
    RemoteError,
    ServiceNotFound,
    Template,
    UnexpectedAnswer,
    current_call,
    open_node,
    rpc,
    simulation,
)
from trionet.services.comm import Comm

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


@dataclasses.dataclass
class Point:
    x: int
    color: Color = Color.RED
    others: list[Point] = dataclasses.field(default_factory=list)


class Tea(msgspec.Struct, rename="camel"):
    leaf_kind: str
    brewed: datetime.date


class Pair(NamedTuple):
    first: int
    point: Point


class Card(TypedDict):
    point: Point
    price: decimal.Decimal


class Counter:
    def __init__(self, *, offset: int = 0) -> None:
        self.total = offset
        self.seen: list[Any] = []

    @rpc
    async def add(self, amount: int = 1) -> int:
        self.total += amount
        return self.total

    @rpc(name="gid")
    def where(self, node: str = "", wait: str = "", service: str = "", self_: int = 0) -> str:
        return f"{current_call().gid}{node}{wait}{service}{self_}"

    @rpc(thread=True)
    def block(self, point: Point, *, count: int) -> list[Point]:
        return [dataclasses.replace(point, x=index) for index in range(count)]

    @rpc
    def echo(self, point: Point, by_name: dict[str, Color], tea: Tea | None = None, *more: Pair) -> Card:
        self.seen = [point, by_name, tea, more]
        return {"point": point, "price": decimal.Decimal("1.10")}

    @rpc
    async def pair(self) -> Pair:
        return Pair(1, Point(2))

    @rpc
    async def tea(self) -> Tea | None:
        return Tea("oolong", datetime.date(2026, 11, 29))

    @rpc
    async def choice(self, kind: str) -> Color | str:
        return Color.RED if kind == "color" else kind

    @rpc
    async def watch(self, count: int = 3) -> AsyncIterator[Point]:
        for number in range(count):
            yield Point(self.total + number, Color.GREEN)

    @rpc
    def mix(self, mixed: Mixed, day: datetime.date, ages: dict[str, datetime.timedelta]) -> tuple[Mixed, datetime.date]:
        return mixed, day + ages["one"]

    @rpc
    def lies(self) -> int:
        return "five"  # type: ignore[return-value]

    @rpc
    async def lies_later(self) -> AsyncGenerator[int, None]:
        yield 1
        yield "two"  # type: ignore[misc]
        yield 3

    @rpc
    async def fail(self) -> int:
        raise ValueError("out of beans")

    @rpc
    async def sleep(self) -> int:
        await trio.sleep_forever()
        return 1

    @rpc
    def any_answer(self, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  as a beginner writes it
        return value

    @rpc
    def variadic(self, /, *args: int, **kwargs: int) -> list[int]:
        return [*args, *kwargs.values()]


@trionet.service("other")
class Other(Counter):
    pass


class Everywhere(Template):
    @rpc
    async def total(self, amount: int = 0) -> int:
        replies = await self.context.call(Counter.add, amount)
        replies.raise_errors()
        return sum(replies.values.values())

    @rpc
    async def points(self) -> AsyncIterator[Point]:
        async with self.context.options(service="counter").stream(Counter.watch, 1) as items:
            async for _, point in items:
                yield point


@over_each_transport
@pytest.mark.parametrize("is_self", [False, True], ids=["another", "itself"])
async def test_a_node_calls_a_method_of_another_and_of_itself(transport: str, *, is_self: bool) -> None:
    async with open_nodes(transport) as (one, other):
        target = one if is_self else other
        await target.local.routes.put(Counter())
        assert await one.call(target.address, Counter.add, 5) == 5
        assert await one.call(str(target.address), Counter.add, amount=2) == 7
        assert await one.call(target, Counter.add) == 8
        assert await one.call(target.address, Counter.where, node="n", wait="w", service="s", self_=1) == "localnws1"
        assert await one.call(target.address, Counter.variadic, 1, 2, x=3) == [1, 2, 3]
        red = Point(5, Color.RED, [Point(6)])
        assert await one.call(target.address, Counter.block, red, count=2) == [
            Point(0, others=[Point(6)]),
            Point(1, others=[Point(6)]),
        ]
        assert await one.call(target.address, Counter.any_answer, [1, (2,)]) == [1, (2,)]
        with pytest.raises(RemoteError, match="out of beans") as caught:
            await one.call(target.address, Counter.fail)
        assert caught.value.node == str(target.address)


@over_each_transport
async def test_records_and_enums_travel_where_they_are_annotated_without_being_registered(transport: str) -> None:
    async with open_nodes(transport) as (one, other):
        counter = Counter()
        await other.local.routes.put(counter)
        red = Point(5, Color.GREEN, [Point(6)])
        tea = Tea("oolong", datetime.date(2026, 11, 29))
        card = await one.call(other.address, Counter.echo, red, {"a": Color.RED}, tea, Pair(1, red))
        assert counter.seen == [red, {"a": Color.RED}, tea, (Pair(1, red),)]
        assert card == {"point": red, "price": decimal.Decimal("1.10")}
        assert await one.call(other.address, Counter.pair) == Pair(1, Point(2))
        assert await one.call(other.address, Counter.tea) == tea
        days = datetime.date(2026, 11, 29), datetime.timedelta(days=1, seconds=0.5)
        mixed = await one.call(other.address, Counter.mix, Mixed.TWO, days[0], ages={"one": days[1]})
        assert mixed == (Mixed.TWO, datetime.date(2026, 11, 30))
        async with one.stream(other.address, Counter.watch, count=2) as items:
            assert [item async for item in items] == [Point(0, Color.GREEN), Point(1, Color.GREEN)]


@over_each_transport
async def test_what_would_come_back_as_another_type_does_not_travel(transport: str) -> None:
    async with open_nodes(transport) as (one, other):
        await other.local.routes.put(Counter())
        assert await one.call(other.address, Counter.choice, "text") == "text"
        with pytest.raises(RemoteError, match="Color does not travel"):
            await one.call(other.address, Counter.choice, "color")


@over_each_transport
async def test_an_answer_of_another_type_may_have_happened_and_names_the_method_and_the_node(transport: str) -> None:
    async with open_nodes(transport) as (one, other):
        await other.local.routes.put(Counter())
        with pytest.raises(UnexpectedAnswer) as caught:
            await one.call(other.address, Counter.lies)
        assert isinstance(caught.value, IndefiniteError)
        assert caught.value.text == (
            "Counter.lies has run, and its answer is not of the annotated type: Expected `int`, got `str`"
        )
        assert caught.value.node == str(other.address)
        async with one.stream(other.address, Counter.lies_later) as items:
            assert await anext(items) == 1
            with pytest.raises(UnexpectedAnswer, match=r"lies_later .* Expected `int`, got `str` \(at "):
                await anext(items)


WRONG: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], str]] = {
    "too many": (Counter.add, (1, 2), {}, r"don't fit add\(amount: int = 1\) -> int: too many positional"),
    "unknown": (Counter.add, (), {"much": 1}, r"don't fit add\(amount: int = 1\) -> int: .*'much'"),
    "twice": (Counter.add, (1,), {"amount": 1}, r"don't fit add.* multiple values for argument 'amount'"),
    "missing": (Counter.block, (Point(1),), {}, r"don't fit block\(point: Point, \*, count: int\).* 'count'"),
    "missing first": (Counter.block, (), {"count": 1}, r"don't fit block.* 'point'"),
    "by position": (Counter.block, (Point(1), 1), {}, r"don't fit block.* too many positional"),
    "self": (Counter.add, (), {"self": 1}, r"don't fit add.*'self'"),
    "type": (Counter.add, ("5",), {}, r"argument 'amount' of add.* Expected `int`, got `str`"),
    "type by name": (Counter.add, (), {"amount": None}, r"argument 'amount' of add.* Expected `int`, got `None`"),
    "of many": (Counter.variadic, ("a",), {}, r"argument 'args' of variadic"),
    "stream": (Counter.watch, (), {}, r"Counter\.watch is a stream: async with stream"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_is_an_error_before_anything_is_sent(name: str) -> None:
    method, args, kwargs, text = WRONG[name]
    async with open_node() as node:
        nowhere = trionet.NodeAddress("127.0.0.1", 1)
        for call in (
            node.call(nowhere, method, *args, **kwargs),
            node.all.call(method, *args, **kwargs),
            node.all.gossip.call(method, *args, **kwargs),
        ):
            with pytest.raises(MalformedRequest, match=text):
                await call
        assert node.statistics().calls_served == 0


async def test_a_method_with_a_signature_that_fits_is_not_bound_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_node() as node:
        await node.local.routes.put(Counter())
        await node.call(node, Counter.add, 1)
        plan = trionet.services.typed.reference_of(Counter.add).method
        monkeypatch.setattr(type(plan._plan), "bind", None)  # noqa: SLF001  the slow way
        plan.check((1,), {})
        plan.check((), {"amount": 1})
        plan.check((), {})
        trionet.services.typed.reference_of(Counter.block).method.check((Point(1),), {"count": 1})


async def test_an_argument_that_cannot_travel_is_refused_with_its_place() -> None:
    async with open_node() as node:
        with pytest.raises(EncodeError, match=r"\$\[0\].*object does not travel"):
            await node.call(node, Counter.any_answer, object())


async def test_a_service_and_a_method_that_a_node_lacks_are_named() -> None:
    class Bigger(Counter):
        @rpc
        async def multiply(self, factor: int) -> int:
            return factor

    async with open_node() as node:
        with pytest.raises(ServiceNotFound, match="'counter'"):
            await node.call(node, Counter.add)
        await node.local.routes.put(Counter(), "bigger")
        assert await node.call(node, Bigger.add) == 1
        with pytest.raises(MethodNotFound, match="'multiply'"):
            await node.call(node, Bigger.multiply, 2)


async def test_a_node_is_found_by_its_sid_once_it_is_known() -> None:
    async with open_node() as one, open_node() as other:
        await other.local.routes.put(Counter())
        with pytest.raises(NodeUnreachable, match="give its address"):
            await one.call(other.sid, Counter.add)
        await one.local.groups.put("pair", [one, other])
        assert await one.call(other.sid, Counter.add, 3) == 3
        with pytest.raises(MalformedRequest, match="not a node address"):
            await one.call(5, Counter.add)
        with pytest.raises(MalformedRequest, match="not a node address"):
            await one.call("a:b:c", Counter.add)


async def test_options_select_the_service_the_group_and_what_becomes_of_orphans() -> None:
    async with open_node() as one, open_node() as other:
        await other.local.routes.put(Counter(offset=10), "ten")
        await other.local.routes.put(Other(offset=20))
        for node in (one, other):
            node.register_template("everywhere", Everywhere)
            await node.local.groups.put("pair", [one, other])
        await one.local.routes.put(Counter(), "counter")
        await other.local.routes.put(Counter(), "counter")
        assert await one.options(service="ten").call(other, Counter.add) == 11
        assert await one.call(other, Other.add) == 21
        assert await one.options(service="other").options(orphans="raise").call(other, Counter.add) == 22
        by_group = one.options(gid="pair")
        assert await by_group.call(other, Everywhere.total, 5) == 10
        assert await by_group.options(gid="local").call(other, Counter.where) == "local0"
        async with by_group.stream(other, Everywhere.points) as points:
            assert [point.color async for point in points] == [Color.GREEN] * 2
        with pytest.raises(GroupNotFound):
            await one.options(gid="nowhere").call(other, Everywhere.total)
    for wrong in ({"service": "a b"}, {"gid": ""}, {"orphans": "hide"}, {"service": 5}):
        with pytest.raises(MalformedRequest):
            one.options(**wrong)


async def test_deadlines_and_cancellation_are_those_of_trio() -> None:
    async with open_node() as one, open_node() as other:
        await other.local.routes.put(Counter())
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await one.call(other, Counter.sleep)
        await wait_until(lambda: not other.running_calls())
        with trio.move_on_after(0.05):
            await one.options(orphans="raise").call(other, Counter.sleep)


async def test_orphans_of_a_call_are_raised_where_wanted(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_cluster() as cluster:
        one, other = await cluster.start_many(2)
        await other.local.routes.put(Counter(), "sleeper")
        cluster.network.hanging.add(other.address)
        with pytest.raises(OrphanedCalls), trio.move_on_after(0.05):
            await one.options(service="sleeper", orphans="raise").call(other, Counter.sleep)


@over_each_transport
async def test_a_group_calls_a_method_on_every_member(transport: str) -> None:
    async with open_nodes(transport) as (one, other):
        await one.local.groups.put("pair", [one, other])
        group = one.group("pair")
        await one.local.routes.put(Counter())
        await other.local.routes.put(Counter(offset=10))
        replies = await group.call(Counter.add, amount=5)
        assert replies == trionet.Replies({one.sid: 5, other.sid: 15}, {})
        assert (await group.call(Counter.pair)).values == {one.sid: Pair(1, Point(2)), other.sid: Pair(1, Point(2))}
        first = await group.options(wait="first").call(Counter.add)
        assert (len(first.values), first.errors) == (1, {})
        with pytest.raises(MalformedRequest, match="wait is"):
            await group.options(wait=3).call(Counter.add)
        absent = await group.options(service="absent").call(Counter.add)
        assert {type(error) for error in absent.errors.values()} == {ServiceNotFound}
        with trio.move_on_after(0.3):
            late = await group.options(partial=True).call(Counter.sleep)
        assert {type(error) for error in late.errors.values()} == {CallTimeout}


async def test_a_misfit_is_the_error_of_its_member_and_counts_for_no_quorum() -> None:
    class Honest:
        @rpc
        async def lies(self) -> int:
            await trio.sleep(0.05)
            return 5

    async with open_node() as one, open_node() as other:
        await one.local.groups.put("pair", [one, other])
        await one.local.routes.put(Counter())
        await other.local.routes.put(Honest(), "counter")
        replies = await one.group("pair").options(wait="first").call(Counter.lies)
        assert replies.values == {other.sid: 5}
        error = replies.errors[one.sid]
        assert isinstance(error, UnexpectedAnswer)
        assert error.node == str(one.address)
        with pytest.raises(ExceptionGroup) as caught:
            replies.raise_errors()
        assert caught.group_contains(UnexpectedAnswer)


async def test_the_stream_of_a_group_has_the_items_and_keeps_the_errors_apart() -> None:
    class Half:
        @rpc
        async def watch(self, count: int) -> AsyncIterator[Any]:
            yield {"x": 1, "color": "r"}
            raise ValueError("out of beans")

    async with open_node() as one, open_node() as other:
        await one.local.groups.put("pair", [one, other])
        group = one.group("pair")
        await one.local.routes.put(Counter())
        await other.local.routes.put(Half(), "counter")
        async with group.stream(Counter.watch, 2) as items:
            received = [item async for item in items]
        assert sorted(received, key=lambda item: (item[0] != one.sid, item[1].x)) == [
            (one.sid, Point(0, Color.GREEN)),
            (one.sid, Point(1, Color.GREEN)),
            (other.sid, Point(1)),
        ]
        assert list(items.errors) == [other.sid]
        with pytest.raises(ExceptionGroup, match="the streams of 1 nodes failed") as caught:
            items.raise_errors()
        assert caught.group_contains(RemoteError, match="out of beans")
        async with group.options(service="absent").stream(Counter.watch) as items:
            with pytest.raises(trio.EndOfChannel):
                await items.receive()
        assert {type(error) for error in items.errors.values()} == {ServiceNotFound}
        async with group.stream(Counter.watch, 10_000) as items:
            await items.receive()  # leaving ends the generators
        await wait_until(lambda: not one.running_calls() and not other.running_calls())
        with pytest.raises(MalformedRequest, match="is no stream"):
            async with group.stream(Counter.add):  # type: ignore[arg-type]
                pass


async def test_a_misfitting_item_ends_the_items_of_its_member() -> None:
    async with open_node() as node:
        await node.local.groups.put("alone", [node])
        await node.local.routes.put(Counter())
        async with node.group("alone").stream(Counter.lies_later) as items:
            assert [item async for _, item in items] == [1]
        assert isinstance(items.errors[node.sid], UnexpectedAnswer)
        assert items.errors[node.sid].node == str(node.address)


async def test_an_empty_and_a_deleted_group_are_refused() -> None:
    async with open_node() as node:
        await node.local.groups.put("empty", [])
        group = node.group("empty")
        for call in (group.call(Counter.add), group.gossip.call(Counter.add)):
            with pytest.raises(EmptyGroup):
                await call
        await node.local.groups.del_("empty")
        with pytest.raises(GroupNotFound):
            await group.call(Counter.add)
        with pytest.raises(GroupNotFound):
            group[Everywhere]


async def test_a_rumor_calls_a_method_of_every_member_once(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(3)
        counters = [Counter() for _ in nodes]
        for node, counter in zip(nodes, counters, strict=True):
            await node.local.routes.put(counter, "mine")
        rumors = nodes[0].all.gossip.options(service="mine")
        receipt = await rumors.call(Counter.add, 2)
        await receipt.wait_spread()
        await wait_until(lambda: [counter.total for counter in counters] == [2, 2, 2])
        await rumors.call(Counter.echo, Point(1, Color.GREEN), by_name={"a": Color.RED})
        await wait_until(lambda: all(counter.seen for counter in counters))
        assert counters[2].seen[:2] == [Point(1, Color.GREEN), {"a": Color.RED}]
        with pytest.raises(MalformedRequest, match="service name"):
            nodes[0].all.gossip.options(service="a b")


async def test_a_group_finds_its_template_by_the_class() -> None:
    class Sub(Everywhere):
        pass

    async with open_node() as node:
        await node.local.groups.put("alone", [node])
        await node.local.routes.put(Counter())
        group = node.group("alone")
        with pytest.raises(ServiceNotFound, match=r'Everywhere is not registered .* node\.register_template\("name"'):
            group[Everywhere]
        node.register_template("sub", Sub)
        assert group[Everywhere] is group.service("sub")  # the only one
        node.register_template("everywhere", Everywhere)
        assert group[Everywhere] is group.service("everywhere")
        assert group[Sub] is group.service("sub")
        assert await group[Everywhere].total(3) == 3
        node.register_template("again", Everywhere)
        with pytest.raises(MalformedRequest, match=r"'everywhere' and 'again': group\.service\(name\)"):
            group[Everywhere]
        with pytest.raises(MalformedRequest, match="by its template's class"):
            group["everywhere"]  # type: ignore[index]
        assert node.all[Sub].context.gid == "all"


async def test_a_handler_calls_by_method_under_its_own_deadline() -> None:
    class Front:
        def __init__(self, node: Node, back: Node) -> None:
            self.node, self.back = node, back

        @rpc
        async def add(self, amount: int) -> int:
            assert current_call().deadline < float("inf")
            return await self.node.call(self.back, Counter.add, amount)

        @rpc
        async def sleep(self) -> int:
            return await self.node.call(self.back, Counter.sleep)

    async with open_node() as one, open_node() as other:
        await other.local.routes.put(Counter())
        await one.local.routes.put(Front(one, other))
        with trio.fail_after(DEADLINE_S):
            assert await one.call(one, Front.add, 5) == 5
        with trio.move_on_after(0.05):
            await one.call(one, Front.sleep)
        await wait_until(lambda: not other.running_calls())


async def test_a_service_is_put_under_the_name_of_its_class() -> None:
    class HTTPServer(Counter):
        pass

    class Status(Counter):
        pass

    async with open_node() as node:
        assert await node.local.routes.put(Counter()) == "counter"
        assert await node.local.routes.put(HTTPServer) == "http_server"
        assert await node.local.routes.put("tests.test_calls_by_method:Other") == "other"
        assert await node.call(node, HTTPServer.add, 2) == 2
        await node.local.groups.put("alone", [node])
        group = node.group("alone")
        for service in (Other, "tests.test_calls_by_method:Other", "tests.test_calls_by_method:Everywhere"):
            if service != "tests.test_calls_by_method:Everywhere":
                assert (await group.routes.put(service)).values == {node.sid: "other"}
        with pytest.raises(MalformedRequest, match=r"Status gives its service no name: .* is a built-in service; put"):
            await node.local.routes.put(Status())
        for nameless in ({"add": lambda: 1}, 5):
            with pytest.raises(MalformedRequest, match=r"name of its own: put\(service, \"name\"\)|exposes nothing"):
                await node.local.routes.put(nameless)
        with pytest.raises(MalformedRequest, match="has no name of its own"):
            await group.routes.put({"add": len})
        with pytest.raises(MalformedRequest, match=r"put\('nowhere:Counter', \"name\"\) needs no module|put\('nowhere"):
            await group.routes.put("nowhere:Counter")


async def test_a_call_by_method_is_the_same_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Any] = []
    prepare = Comm.prepare

    def note(self: Comm, *args: Any, **kwargs: Any) -> Any:
        request = prepare(self, *args, **kwargs)
        prepared.append((request.gid, request.service, request.method, request.args, request.kwargs))
        return request

    async with open_node(NodeConfig()) as node:
        await node.local.routes.put(Counter())
        monkeypatch.setattr(Comm, "prepare", note)
        await node.call(node, Counter.add, 5)
        remote = trionet.Remote(node=node.address, service="counter", method="add")
        await node.local.comm.send([5], remote)
        await node.call(node, Counter.add, amount=5)
        await node.local.comm.send([], remote, kwargs={"amount": 5})
    assert prepared[0] == prepared[1]
    assert prepared[2] == prepared[3]


def test_a_simulation_calls_by_method_and_the_same_seed_gives_the_same_answers() -> None:
    async def main() -> list[Any]:
        seen: list[Any] = []
        async with simulation.open_cluster(3, seed=5) as sim:
            for index, node in enumerate(sim.nodes):
                await node.local.routes.put(Counter(offset=index))
            one, other = sim.nodes[0], sim.nodes[1]
            seen.append(await one.call(other.sid, Counter.add, 5))
            seen.append((await one.all.call(Counter.pair)).values)
            async with one.all.stream(Counter.watch, 2) as items:
                seen.append([(sid, item.x) async for sid, item in items])
            with pytest.raises(trio.TooSlowError), trio.fail_after(60):
                await one.call(other, Counter.sleep)
            seen.append(sim.now)
        return seen

    first, second = (simulation.run(main, seed=5) for _ in range(2))
    assert first == second
    assert first[0] == 6


PROGRAM = """
from __future__ import annotations  # texts, which name what does not travel with them
import dataclasses
from typing import TYPE_CHECKING

import trionet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclasses.dataclass
class Note:
    text: str


@dataclasses.dataclass
class Order:
    item: str
    note: Note | None = None


@trionet.error(name="till.closed")
class Closed(trionet.RemoteError):
    def __init__(self, item: str) -> None:
        super().__init__("closed")
        self.item = item


class Till:
    @trionet.rpc
    def sell(self, order: Order) -> Order:
        if order.item == "tea":
            raise Closed(order.item)
        return Order(order.item.upper(), order.note)

    @trionet.rpc
    async def notes(self) -> AsyncIterator[Note]:
        yield Note("no milk")


async def main(node: trionet.Node) -> None:
    child = await node.local.status.spawn(trionet.NodeConfig(services={"till": "till:Till"}))
    print(await node.call(child, Till.sell, Order("milk")))
    try:
        await node.call(child, Till.sell, Order("tea"))
    except Closed as error:
        print("closed for", error.item)
    trusting = await node.local.status.spawn(trionet.NodeConfig(trust_code=True))
    await node.local.groups.put("trusting", [trusting])
    group = node.group("trusting")
    (await group.routes.put(Till)).raise_errors()  # by value: it is the script's own
    (await group.call(Till.sell, Order("milk", Note("cold")))).raise_errors()
    async with group.stream(Till.notes) as notes:
        print(*[note async for _, note in notes])
    replies = await group.call(Till.sell, Order("tea"))
    print(*(type(error).__name__ for error in replies.errors.values()))


if __name__ == "__main__":
    trionet.run(main, trionet.NodeConfig(trust_code=True))
"""


def test_a_script_calls_the_classes_that_it_defines_itself(tmp_path: Path) -> None:
    (tmp_path / "till.py").write_text(PROGRAM, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "till.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout.splitlines() == [
        "Order(item='MILK', note=None)",
        "closed for tea",
        "Note(text='no milk')",
        "Closed",
    ], result.stderr
