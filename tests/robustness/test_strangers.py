"""What a stranger's datagrams get from a node, on real sockets: little, and no connection."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeConfig, open_node
from trionet.protocols.gossip_messages import Answer, Query, Rumor, Want
from trionet.protocols.proofs import FACTOR
from trionet.protocols.swim_messages import Ping, SyncDigest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Self

_ID, _END = b"rumor number", b"nothing more"


class Stranger:
    """Someone on this machine that is no node, who counts what comes to it: datagrams and connections."""

    def __init__(self, node: Node) -> None:
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen()
        self.listening.setblocking(False)
        port = self.listening.getsockname()[1]
        self.name = f"127.0.0.1:{port}"
        self._to = ("127.0.0.1", node.address.port)
        self.sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._port = port
        self.came: list[bytes] = []

    async def __aenter__(self) -> Self:
        await self.sock.bind(("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()
        self.listening.close()

    async def ask(self, *messages: Any, name: str | None = None) -> int:
        """Send a packet; return its size."""
        data = msgspec.msgpack.encode([1, name or self.name, messages])
        assert len(data) <= 1400
        await self.sock.sendto(data, self._to)
        return len(data)

    async def receive_all(self) -> int:
        """Take what comes up to the answer to a last question; return its size without that."""
        await self.ask(Query("all", _END))
        size = 0
        with trio.fail_after(DEADLINE_S):
            while True:
                data = await self.sock.recv(65_535)
                self.came.append(data)
                kinds = [(one[0], one[2] if len(one) > 2 else None) for one in msgspec.msgpack.decode(data)[2]]
                if ("y", _END) in kinds:
                    return size
                size += len(data)

    def is_called(self) -> bool:
        """Whether somebody has connected."""
        try:
            self.listening.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
async def node() -> AsyncGenerator[Node]:
    async with open_node(NodeConfig(join=[])) as node:
        yield node


@pytest.mark.parametrize(
    "messages",
    [
        [SyncDigest((), is_join=True)],
        [SyncDigest((), is_join=True)] * 80,
        [Ping(1, is_reliable=True)],
        [Ping(seq, is_reliable=True) for seq in range(90)],
        [Want("all", _ID * 80), Want("all", _ID * 25)],
        [Want("all", _ID)],
        [["state", "127.0.0.1:9", 1, 0, 5], ["sync", [], list(range(64))]],
    ],
    ids=["a digest", "digests", "a reliable ping", "reliable pings", "wants", "a want", "a view"],
)
async def test_a_stranger_gets_three_times_what_it_sends_and_no_connection(node: Node, messages: list[Any]) -> None:
    async with Stranger(node) as stranger:
        await stranger.ask(Rumor("all", _ID, "127.0.0.1:9", 0, 0, b"x" * 1200), name="127.0.0.1:9")
        size = await stranger.ask(*messages)
        assert await stranger.receive_all() <= FACTOR * size
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not stranger.is_called()


async def test_a_stranger_that_says_it_is_a_member_is_none_before_it_has_shown_that_it_is_there(node: Node) -> None:
    async with Stranger(node) as stranger:
        await stranger.ask(["state", stranger.name, 1, 0, 5])
        await stranger.receive_all()
        assert [str(member.node) for member in node.members()] == [str(node.address)]
        (challenge,) = [
            one for data in stranger.came for one in msgspec.msgpack.decode(data)[2] if one[0] == "?" and one[2]
        ]
        await stranger.ask(["!", challenge[1]], ["state", stranger.name, 1, 0, 5])
        await wait_until(lambda: len(node.members()) == 2)


async def test_a_packet_of_junk_rumors_is_one_line_in_the_log(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Stranger(node) as stranger:
        await stranger.ask(*(Rumor("all", bytes([number]) * 12, "127.0.0.1:9", 0, 0, b"?") for number in range(30)))
        await stranger.receive_all()
    (record,) = [record for record in caplog.records if "failed here" in record.getMessage()]
    assert "29 more" in record.getMessage()
    assert node.local.gossip.failed == 30


def test_answers_are_what_the_stranger_understands() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Answer("all", _END, has=False)))[:3] == ["y", "all", _END]
