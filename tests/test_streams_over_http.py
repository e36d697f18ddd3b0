"""Streams of other nodes, for those who call over HTTP: ``comm/stream`` of a node, and of a group."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.transports.keyed_nodes import http_client
from tests.waiting import wait_until
from trionet import Node, NodeConfig, Remote, open_node, rpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

TARGET = {"service": "ticker", "method": "count"}


class Ticker:
    """Counts for those who listen."""

    def __init__(self) -> None:
        self.listeners = 0

    @rpc
    async def count(self, most: int = 1_000_000, *, begin: int = 0) -> AsyncIterator[int]:
        self.listeners += 1
        try:
            for number in range(begin, begin + most):
                yield number
                await trio.lowlevel.checkpoint()
        finally:
            self.listeners -= 1

    @rpc
    async def fail(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError("out of beans")


@asynccontextmanager
async def open_pair() -> AsyncGenerator[tuple[Node, Node, list[Ticker]]]:
    tickers = [Ticker(), Ticker()]
    async with (
        open_node(NodeConfig(join=[], datagrams=False)) as one,
        open_node(NodeConfig(join=[str(one.address)], datagrams=False)) as other,
    ):
        for node, ticker in zip((one, other), tickers, strict=True):
            await node.local.routes.put(ticker, "ticker")
        await wait_until(lambda: len(one.all.members()) == 2)
        yield one, other, tickers


@asynccontextmanager
async def opened(node: Node, path: str, args: list[Any]) -> AsyncGenerator[httpx.Response]:
    async with (
        http_client() as client,
        client.stream("PUT", f"http://{node.address}/{path}", content=json.dumps(args)) as answer,
    ):
        yield answer


async def lines(node: Node, path: str, args: list[Any]) -> list[Any]:
    async with opened(node, path, args) as answer:
        return [json.loads(line) async for line in answer.aiter_lines()]


def remote(node: Node, **more: str) -> dict[str, Any]:
    return {"node": {"ip": node.address.ip, "port": node.address.port}, **TARGET, **more}


async def test_the_items_of_another_node_come_line_by_line() -> None:
    async with open_pair() as (one, other, _):
        found = await lines(one, 'local/comm/stream?kwargs={"begin":5}', [[3], remote(other)])
        assert found == [{"item": 5}, {"item": 6}, {"item": 7}, {"end": True}]
        failed = await lines(one, "local/comm/stream", [[], remote(other, method="fail")])
        assert failed[0] == {"item": 1}
        assert failed[1]["error"]["name"] == "RemoteError"


async def test_the_items_of_a_group_have_their_members_beside_them() -> None:
    async with open_pair() as (one, other, _):
        found = await lines(one, "all/comm/stream", [[2], TARGET])
        assert found.pop() == {"end": True}
        assert sorted(map(str, (line["item"] for line in found))) == sorted(
            str([node.sid, number]) for node in (one, other) for number in range(2)
        )
        failed = await lines(one, "all/comm/stream", [[], TARGET | {"method": "fail"}])
        errors = [line["item"] for line in failed[:-1] if isinstance(line["item"][1], dict)]
        assert {sid: error["$error"]["name"] for sid, error in errors} == {
            one.sid: "RemoteError",
            other.sid: "RemoteError",
        }


async def test_a_client_that_goes_ends_the_generators() -> None:
    async with open_pair() as (one, other, tickers):
        for path, args in (("local/comm/stream", [[], remote(other)]), ("all/comm/stream", [[], TARGET])):
            body = json.dumps(args)
            head = f"PUT /{path} HTTP/1.1\r\nHost: {one.address}\r\nContent-Length: {len(body)}\r\n\r\n"
            async with await trio.open_tcp_stream(one.address.ip, one.address.port) as client:
                await client.send_all((head + body).encode())
                await client.receive_some()
                await wait_until(lambda: tickers[1].listeners == 1)
            await wait_until(lambda: [one.listeners for one in tickers] == [0, 0])


async def test_what_is_no_stream_is_refused() -> None:
    async with open_pair() as (one, other, _):
        async with opened(one, "local/comm/stream", [["nid"], remote(other, service="status", method="get")]) as answer:
            assert "is no stream" in (await answer.aread()).decode()
        async with opened(one, "local/comm/stream", [[], TARGET]) as answer:
            text = (await answer.aread()).decode()
            assert "the remote names no node" in text


async def test_another_node_can_call_it_as_well() -> None:
    async with open_pair() as (one, other, _):
        relay = Remote(node=other.address, service="comm", method="stream")
        async with one.local.comm.stream([[2], remote(one)], relay) as items:
            assert [item async for item in items] == [0, 1]
