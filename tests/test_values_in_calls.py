"""What travels comes back as it was through real calls, too."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.travelling import is_same, values
from tests.waiting import DEADLINE_S
from trionet import Aggregate, CallTimeout, Done, NodeConfig, Remote, Replies, open_node
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from trionet import Node

SERVICE = "mirror"


def open_nodes(transport: str) -> AbstractAsyncContextManager[tuple[Node, Node]]:
    if transport == "memory":
        return _open_two(NodeConfig(), MemoryFabric())
    return _open_two(msgspec.convert({"transport": transport}, NodeConfig), None)


@asynccontextmanager
async def _open_two(config: NodeConfig, fabric: MemoryFabric | None) -> AsyncGenerator[tuple[Node, Node]]:
    async with open_node(config, fabric=fabric) as one, open_node(config, fabric=fabric) as other:
        yield one, other


over_each_transport = pytest.mark.parametrize("transport", ["http", "link", "memory"])


async def echo(value: Any) -> Any:
    return value


async def echo_all(*args: Any) -> Any:
    return args


async def ask(caller: Node, node: Node, method: str, *args: Any) -> Any:
    return await caller.local.comm.send(list(args), Remote(node=node.address, service=SERVICE, method=method))


@pytest.mark.slow
@over_each_transport
@settings(max_examples=15, suppress_health_check=[HealthCheck.data_too_large])
@given(several=st.lists(values, min_size=1, max_size=8))
async def test_what_travels_comes_back(transport: str, several: list[Any]) -> None:
    """Each example is a Trio run of its own with its own nodes, and carries several values."""
    with trio.fail_after(DEADLINE_S):
        async with open_nodes(transport) as (one, other):
            await other.local.routes.put({"echo": echo, "echo_all": echo_all}, SERVICE)
            await one.local.groups.put("mirrors", [other])
            for value in several:
                assert is_same(await ask(one, other, "echo", value), value)
            replies = await one.group("mirrors").comm.send(several, Remote(service=SERVICE, method="echo_all"))
            assert not replies.errors
            assert is_same(replies.values, {other.sid: tuple(several)})


@over_each_transport
async def test_a_nodes_call_to_itself_passes_through_the_codec(transport: str) -> None:
    received: list[Any] = []

    def keep(value: Any) -> Any:
        received.append(value)
        return value

    async with open_nodes(transport) as (node, _):
        await node.local.routes.put({"keep": keep}, SERVICE)
        sent = [1, (2,), {"a": {3}}]
        answer = await ask(node, node, "keep", sent)
    assert is_same(received, [sent])
    assert is_same(answer, sent)
    assert received[0] is not sent
    assert answer is not received[0]


@over_each_transport
@pytest.mark.parametrize(
    "value",
    [
        Replies({"b": 1}, {"a": CallTimeout("late")}),
        Aggregate((3,), {"a": 3}, {}),
        Done((1, 2), 0, "b", 2, CallTimeout("late"), is_error=True),
        {"values": 1, "error": 2},
        {"error": {"code": 0, "text": "no error, but a value that looks like one"}},
    ],
    ids=["replies", "aggregate", "one of a map", "like replies", "like an error"],
)
async def test_the_replies_of_a_group_come_back_as_what_they_are(transport: str, value: Any) -> None:
    """The HTTP face shows them in a form of its own at the top of an answer; inside a value they have a tag."""
    async with open_nodes(transport) as (one, other):
        await other.local.routes.put({"get": lambda: value, "get_inside": lambda: [value]}, SERVICE)
        assert is_same(await ask(one, other, "get"), value)
        assert is_same(await ask(one, other, "get_inside"), [value])
