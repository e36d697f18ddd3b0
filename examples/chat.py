"""A chat in the browser, over a cluster: a line said at one node is heard at all of them.

The page speaks WebSocket with the node that served it; the nodes pass lines on by gossip. So no node is the server, and
one that dies takes only its own visitors along, whose pages connect again. Each node keeps the latest lines, in memory,
in the order in which it heard them; that may differ between nodes. Run some, and open http://127.0.0.1:8080/chat::

    trionet-node --port 8080 --config '{"join": []}' --on-start chat:begin
    trionet-node --port 8081 --join 127.0.0.1:8080 --on-start chat:begin
    curl -X PUT http://127.0.0.1:8081/local/room/listen -d '[]'

By itself it lets two visitors talk, each at a node of its own. It prints::

    bob hears ada: is anybody here?
    ada hears bob: I am
    carol comes later, and sees 2 lines
    a line in the terminal: ada: is anybody here?
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from quart import Response, websocket

import trionet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PAGE = Path(__file__).with_name("chat.html").read_text(encoding="utf-8")


def content_security_policy(page: str) -> str:
    """Permit what the page is made of, by its hashes, and nothing else: no other script, no other host."""
    sources = {}
    for name in ("script", "style"):
        [text] = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
        sources[name] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{sources['script']}'; style-src 'sha256-{sources['style']}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@dataclass(frozen=True)
class Line:
    """What somebody says."""

    author: str
    text: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.author) <= 40 or not 1 <= len(self.text) <= 500:
            raise ValueError("a name has 1 to 40 characters, and a line 1 to 500")


class Room:
    """The chat, as one node hears it."""

    def __init__(self, group: trionet.Group) -> None:
        self.group = group
        self.latest: deque[Line] = deque(maxlen=100)
        self.listeners: set[trio.MemorySendChannel[Line]] = set()

    async def say(self, line: Line) -> None:
        """Let every node of the group hear a line, this one included."""
        await self.group.gossip.call(Room.hear, line)

    @trionet.rpc
    def hear(self, line: Line) -> None:
        """Pass a line to those who listen here."""
        self.latest.append(line)
        for listener in list(self.listeners):
            try:
                listener.send_nowait(line)
            except trio.WouldBlock:  # too slow: it may connect again, and has the latest lines then
                listener.close()
                self.listeners.discard(listener)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[trio.MemoryReceiveChannel[Line]]:
        """Hear the latest lines, and all later ones, for the time of the block."""
        send, receive = trio.open_memory_channel[Line](200)
        for line in self.latest:
            send.send_nowait(line)
        self.listeners.add(send)
        try:
            yield receive
        finally:
            self.listeners.discard(send)

    @trionet.rpc(read=True)
    async def listen(self) -> AsyncIterator[Line]:
        """Yield the latest lines, and all later ones: for programs, and for curl."""
        async with self.listening() as lines:
            async for line in lines:
                yield line


async def begin(node: trionet.Node) -> None:
    """Open the chat on a node: the `on_start` of each."""
    room = Room(node.all)
    await node.local.routes.put(room)
    assert node.app is not None  # it is None in simulations only

    @node.app.get("/chat")
    async def page() -> Response:
        return Response(PAGE, headers={"Content-Security-Policy": content_security_policy(PAGE)})

    @node.app.websocket("/chat/socket")
    async def socket() -> None:
        async def write() -> None:
            async for line in lines:
                await websocket.send(json.dumps(asdict(line)))
            nursery.cancel_scope.cancel()  # it was too slow

        async with room.listening() as lines, trio.open_nursery() as nursery:
            nursery.start_soon(write)
            while True:  # until the visitor goes: then Quart cancels this
                try:
                    said = json.loads(await websocket.receive())
                    line = Line(str(said["author"]), str(said["text"]))
                except (KeyError, TypeError, ValueError):  # what the page doesn't send
                    nursery.cancel_scope.cancel()
                    break
                await room.say(line)


async def main() -> None:
    """Let visitors talk at two nodes."""
    async with (
        trionet.open_node(trionet.NodeConfig(join=[], on_start=begin)) as first,
        trionet.open_node(trionet.NodeConfig(join=[str(first.address)], on_start=begin)) as second,
    ):
        apps = [node.app for node in (first, second, second) if node.app is not None]
        visitors = [app.test_client().websocket("/chat/socket") for app in apps]
        async with visitors[0] as ada, visitors[1] as bob:
            await ada.send_json({"author": "ada", "text": "is anybody here?"})
            await ada.receive_json()
            print("bob hears {author}: {text}".format(**await bob.receive_json()))
            await bob.send_json({"author": "bob", "text": "I am"})
            print("ada hears {author}: {text}".format(**await ada.receive_json()))
            await bob.receive_json()
            async with visitors[2] as carol:
                lines = [await carol.receive_json() for _ in range(2)]
                print(f"carol comes later, and sees {len(lines)} lines")
        async with first.stream(second.address, Room.listen) as heard:
            async for line in heard:
                print(f"a line in the terminal: {line.author}: {line.text}")
                break


if __name__ == "__main__":
    trio.run(main)
