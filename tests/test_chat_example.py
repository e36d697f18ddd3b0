"""The chat among the examples, as a browser uses it: its page, and its WebSocket on a real connection."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import runpy
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

import trionet
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wsproto.events import Event

CHAT = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "chat.py"))


@asynccontextmanager
async def visiting(node: trionet.Node) -> AsyncGenerator[Visitor]:
    async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
        yield Visitor(stream, node)


class Visitor:
    """A client of the WebSocket."""

    def __init__(self, stream: trio.SocketStream, node: trionet.Node) -> None:
        self.stream = stream
        self.socket = WSConnection(ConnectionType.CLIENT)
        self.host = str(node.address)

    async def request(self, origin: str | None = None) -> Event:
        headers = [(b"Origin", (origin or f"http://{self.host}").encode())]
        asked = Request(host=self.host, target="/chat/socket", extra_headers=headers)
        await self.stream.send_all(self.socket.send(asked))
        return await self.receive()

    async def say(self, line: Any) -> None:
        await self.stream.send_all(self.socket.send(TextMessage(json.dumps(line))))

    async def receive(self) -> Event:
        while True:
            for event in self.socket.events():
                return event
            data = await self.stream.receive_some()
            self.socket.receive_data(data or None)

    async def hear(self) -> Any:
        event = await self.receive()
        assert isinstance(event, TextMessage)
        return json.loads(event.data)


def config(*seeds: trionet.Node) -> trionet.NodeConfig:
    return trionet.NodeConfig(join=[str(seed.address) for seed in seeds], on_start=CHAT["begin"], profile="local")


async def test_visitors_of_two_nodes_hear_each_other() -> None:
    with trio.fail_after(DEADLINE_S):
        async with (
            trionet.open_node(config()) as first,
            trionet.open_node(config(first)) as second,
            visiting(first) as ada,
            visiting(second) as bob,
        ):
            for visitor in (ada, bob):
                assert isinstance(await visitor.request(), AcceptConnection)
            for visitor in (ada, bob):
                await visitor.say({"author": "ada", "text": "<b>hello</b>"})
                for each in (ada, bob):
                    assert await each.hear() == {"author": "ada", "text": "<b>hello</b>"}


@pytest.mark.parametrize(
    "nonsense", [{"author": "eve"}, 5, {"author": "eve", "text": ""}, {"author": "e", "text": 501 * "x"}]
)
async def test_what_is_no_line_ends_that_visit_only(nonsense: Any) -> None:
    with trio.fail_after(DEADLINE_S):
        async with trionet.open_node(config()) as node, visiting(node) as ada, visiting(node) as eve:
            await ada.request()
            await eve.request()
            await eve.say(nonsense)
            assert isinstance(await eve.receive(), CloseConnection)
            await ada.say({"author": "ada", "text": "still here"})
            assert await ada.hear() == {"author": "ada", "text": "still here"}


async def test_a_foreign_page_has_no_part_in_the_chat() -> None:
    with trio.fail_after(DEADLINE_S):
        async with trionet.open_node(config()) as node, visiting(node) as eve:
            assert isinstance(await eve.request("https://example.com"), RejectConnection)


async def test_the_page_permits_what_it_is_made_of_and_nothing_else() -> None:
    async with trionet.open_node(config()) as node, httpx.AsyncClient() as client:
        response = await client.get(f"http://{node.address}/chat")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for name in ("script", "style"):
        texts = re.findall(rf"<{name}>(.*?)</{name}>", response.text, re.DOTALL)
        [digest] = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not re.findall(r"\s(?:on\w+|style)=|innerHTML =|src=|href=", response.text)
