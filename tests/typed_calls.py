"""The types of calls by method: `tests.test_typed_checks` has mypy and pyright read this module, and nothing runs it.

Both must refuse the lines with ``type: ignore``, and no others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Never, Protocol, TypeVar, assert_type, overload

import trionet
from trionet import (
    Done,
    Group,
    GroupContext,
    GroupItems,
    Node,
    NodeAddress,
    NodeCalls,
    Receipt,
    Replies,
    Results,
    Template,
    rpc,
)

T = TypeVar("T")


class Counter:
    @rpc
    async def add(self, amount: int = 1) -> int:
        return amount

    @rpc(idempotent=True)
    def name(self, node: str, *, wait: bool = False) -> str:
        return node

    @rpc
    async def watch(self, first: int = 0) -> AsyncIterator[int]:
        yield first

    @rpc
    async def generate(self) -> AsyncGenerator[bytes, None]:
        yield b""

    @rpc
    async def forget(self) -> None: ...

    @classmethod
    def make(cls, amount: int) -> int:
        return amount

    @staticmethod
    def double(amount: int) -> int:
        return amount

    @overload
    def either(self, value: int) -> int: ...
    @overload
    def either(self, value: str) -> str: ...
    @rpc
    def either(self, value: Any) -> Any:
        return value

    @rpc
    def same(self, value: T) -> T:
        return value


@trionet.service("till")
class Till(Counter):
    @rpc
    async def add(self, amount: int = 1) -> int:
        return await super().add(amount)


class Named(Protocol):
    @rpc
    def name(self) -> str: ...


class Box(Generic[T]):
    @rpc
    def take(self) -> T: ...  # type: ignore[empty-body]


class Everywhere(Template):
    @rpc
    async def total(self) -> int:
        replies = assert_type(await self.context.call(Counter.add, 1), Replies[int])
        return sum(replies.values.values())


@trionet.error
class OutOfStock(trionet.RemoteError):
    def __init__(self, item: str) -> None:
        super().__init__(item)
        self.item = item


async def on_a_node(node: Node, address: NodeAddress, counter: Counter) -> None:
    assert_type(await node.call(address, Counter.add), int)
    assert_type(await node.call(address, Counter.add, 5), int)
    assert_type(await node.call(address, Counter.add, amount=5), int)
    assert_type(await node.call("127.0.0.1:8080", Till.add, 5), int)
    assert_type(await node.call(address, Counter.name, "one", wait=True), str)
    assert_type(await node.call(address, Counter.name, node="one"), str)
    assert_type(await node.call(address, Counter.either, 5), int)
    assert_type(await node.call(address, Counter.forget), None)
    assert_type(await node.call(address, Named.name), str)
    assert_type(node.options(service="other", gid="all", orphans="raise"), NodeCalls)
    assert_type(await node.options(service="other").call(address, Counter.add, 5), int)
    assert_type(await counter.add(5), int)
    assert_type(await Counter.add(counter, 5), int)
    await node.call(address, Counter.add, "5")  # type: ignore[call-overload]
    await node.call(address, Counter.add, 5, 6)  # type: ignore[call-overload]
    await node.call(address, Counter.add, much=5)  # type: ignore[call-overload]
    await node.call(address, Counter.make, 5)  # type: ignore[call-overload]
    await node.call(address, Counter.double, 5)  # type: ignore[call-overload]
    await node.call(address, counter.add, 5)  # type: ignore[call-overload]
    await node.call(address, "add", 5)  # type: ignore[call-overload]


async def streams_of_a_node(node: Node, address: NodeAddress) -> None:
    assert_type(node.stream(address, Counter.watch, 1), AbstractAsyncContextManager[AsyncIterator[int]])
    async with node.stream(address, Counter.watch, 1) as items:
        async for item in items:
            assert_type(item, int)
    async with node.stream(address, Counter.generate) as chunks:
        async for chunk in chunks:
            assert_type(chunk, bytes)
    node.stream(address, Counter.add, 1)  # type: ignore[arg-type]
    node.stream(address, Counter.watch, "1")  # type: ignore[arg-type]


async def no_call_of_a_stream(node: Node, address: NodeAddress) -> None:
    assert_type(await node.call(address, Counter.watch), Never)


async def on_a_group(group: Group, counter: Counter) -> None:
    assert_type(await group.call(Counter.add, amount=5), Replies[int])
    assert_type(await group.call(Counter.name, "one"), Replies[str])
    assert_type(await group.call(Counter.forget), Replies[None])
    assert_type(
        await group.options(wait="first", partial=True, orphans="raise", service="o").call(Counter.add), Replies[int]
    )
    assert_type(await group.options(wait=2).call(Counter.name, "one"), Replies[str])
    assert_type(await group.gossip.call(Counter.add, 1), Receipt)
    assert_type(await group.gossip.options(service="other").call(Counter.name, "one"), Receipt)
    assert_type(group[Everywhere], Everywhere)
    assert_type(await group[Everywhere].total(), int)
    await group.call(Counter.add, amount="5")  # type: ignore[call-overload]
    await group.call(Counter.make, 5)  # type: ignore[call-overload]
    await group.call(counter.add, 5)  # type: ignore[call-overload]
    await group.gossip.call(Counter.add, "1")  # type: ignore[arg-type]
    await group.options(wait="none").call(Counter.add)  # type: ignore[arg-type]


async def streams_of_a_group(group: Group, context: GroupContext) -> None:
    async with group.stream(Counter.watch) as items:
        assert_type(items, GroupItems[int])
        async for sid, item in items:
            assert_type(sid, str)
            assert_type(item, int)
    async with group.options(service="other").stream(Counter.watch, 3) as others:
        assert_type(await others.receive(), tuple[str, int])
    assert_type(await context.call(Counter.add), Replies[int])
    group.stream(Counter.add)  # type: ignore[arg-type]


async def no_call_of_a_stream_on_a_group(group: Group) -> None:
    assert_type(await group.call(Counter.watch), Never)


async def maps_of_a_group(group: Group, names: list[str], later: AsyncIterator[str], counter: Counter) -> None:
    async with group.map(Counter.name, names, kwargs={"wait": True}, per_member=2, retries=3) as results:
        assert_type(results, Results[str, str])
        async for done in results:
            assert_type(done, Done[str, str])
            assert_type(done.result(), str)
            assert_type(done.outcome, str | trionet.TrionetError)
            assert_type(done.error, trionet.TrionetError | None)
    async with group.options(service="other").map(Counter.add, [1, 2], ordered=True) as others:
        assert_type(await others.receive(), Done[int, int])
    async with group.map(Counter.name, later) as taken:
        assert_type(taken, Results[str, str])
    async with group.map(trionet.Remote(service="counter", method="name"), names) as untyped:
        assert_type(untyped, Results[str, Any])
    assert_type(group.map(Counter.watch, [1]), AbstractAsyncContextManager[Never])
    group.map(Counter.name, [1, 2])  # type: ignore[arg-type]  # refused
    group.map(Counter.forget, names)  # type: ignore[arg-type]  # refused
    group.map(counter.name, names)  # type: ignore[arg-type]  # refused
    group.map(Counter.double, [1])  # type: ignore[arg-type]  # refused
    group.map(Counter.add, 5)  # type: ignore[call-overload]  # refused


def errors(exc: Exception) -> None:
    if isinstance(exc, OutOfStock):
        assert_type(exc.item, str)
    OutOfStock(5)  # type: ignore[arg-type]
