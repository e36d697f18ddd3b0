"""Nodes with a cluster key, on real sockets: who gets in, what is refused, and what others see."""

from __future__ import annotations

import itertools
import logging
import re
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clusters import COUNT, Counter
from tests.proxies import open_proxy
from tests.security.attacked import read_to_end
from tests.security.keys import node_keys
from tests.serving import serving
from tests.waiting import DEADLINE_S, wait_until
from trionet import KeyMismatch, Node, NodeAddress, NodeConfig, NodeUnreachable, Remote, open_node
from trionet.protocols.link.frames import PREFACE
from trionet.protocols.packets import VERSION
from trionet.transports.strangers import MOST_PER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.security.node_keys import NodeKeys

    Open = Callable[..., Awaitable[Node]]

GET = "nid"
MARKER = "this text goes by in secret"


@pytest.fixture
def open_(nursery: trio.Nursery) -> Callable[..., Awaitable[Node]]:
    """Start a node with keys, ``await open_(keys, **settings)``; it lives as long as the test."""

    async def serve(keys: NodeKeys | None, config: NodeConfig, *, task_status: trio.TaskStatus[Node]) -> None:
        async with open_node(config, keys=keys) as node:
            await node.local.routes.put(Counter(), "counter")
            task_status.started(node)
            await trio.sleep_forever()

    async def start(keys: NodeKeys | None, **settings: Any) -> Node:
        node: Node = await nursery.start(serve, keys, NodeConfig(**settings))
        return node

    return start


async def _nid(caller: Node, address: NodeAddress) -> Any:
    with trio.fail_after(DEADLINE_S):
        return await caller.local.comm.send([GET], Remote(node=address, service="status", method="get"))


def _member_count(node: Node) -> int:
    return len(node.all.members())


async def test_nodes_with_one_key_join_call_and_gossip(open_: Open) -> None:
    one = await open_(node_keys(), join=[])
    others = [await open_(node_keys(), join=[str(one.address)]) for _ in range(2)]
    nodes = [one, *others]
    await wait_until(lambda: all(_member_count(node) == 3 for node in nodes))
    assert [await _nid(one, node.address) for node in others] == [node.address.nid for node in others]
    await one.all.gossip.send(["a rumor"], COUNT)
    with trio.fail_after(DEADLINE_S):
        while [  # noqa: ASYNC110  the nodes tell nobody
            await one.local.comm.send([], Remote(node=node.address, service="counter", method="total"))
            for node in nodes
        ] != [1, 1, 1]:
            await trio.sleep(0.01)
    assert [node.statistics().datagrams_refused for node in nodes] == [0, 0, 0]


async def test_a_node_that_left_joins_again_under_another_boot_id(open_: Open) -> None:
    one = await open_(node_keys(), join=[])
    other = await open_(node_keys(), join=[str(one.address)])
    for _ in range(2):
        await wait_until(lambda: _member_count(one) == _member_count(other) == 2)
        await other.local.membership.leave()
        await wait_until(lambda: _member_count(one) == 1)
        await other.local.membership.join([one.address])
    await wait_until(lambda: _member_count(one) == _member_count(other) == 2)
    assert one.statistics().datagrams_refused == other.statistics().datagrams_refused == 0


KEYS: dict[str, Callable[[], NodeKeys | None]] = {
    "this key": node_keys,
    "another key": lambda: node_keys(2),
    "another cluster": lambda: node_keys(1, "elsewhere"),
    "no key": lambda: None,
}
PAIRS = list(itertools.permutations(KEYS, 2))


@pytest.mark.parametrize(("caller", "callee"), PAIRS, ids=[f"{one} to {other}" for one, other in PAIRS])
async def test_a_mismatch_of_keys_is_an_error_of_the_caller_and_a_line_in_both_logs(
    open_: Open, caplog: pytest.LogCaptureFixture, caller: str, callee: str
) -> None:
    one, other = await open_(KEYS[caller](), join=[]), await open_(KEYS[callee](), join=[])
    with pytest.raises(KeyMismatch, match=r"give (both nodes|this node) the same") as caught:
        await _nid(one, other.address)
    assert isinstance(caught.value, NodeUnreachable)
    await wait_until(lambda: len(caplog.messages) >= 2)
    assert caught.value.text in caplog.messages
    (there,) = [line for line in caplog.messages if "a connection that began as a link was closed" in line]
    assert there.endswith("(from 127.0.0.1)")
    assert other.statistics().connections_refused == 1
    with pytest.raises(KeyMismatch), trio.fail_after(DEADLINE_S):
        await one.local.membership.join([other.address])
    assert (_member_count(one), _member_count(other)) == (1, 1)
    assert other.statistics().calls_served == 0


async def test_clusters_of_one_key_and_two_names_never_merge_by_a_stale_seed(
    open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    red, blue = node_keys(cluster="red"), node_keys(cluster="blue")
    async with open_node(NodeConfig(join=[]), keys=red) as first:
        stale = first.address
        stays = await open_(red, join=[str(stale)])
        await wait_until(lambda: _member_count(stays) == 2)
    taken = await open_(blue, port=stale.port, join=[])  # the address now belongs to the other cluster
    late = await open_(red, join=[str(stale), str(stays.address)])
    await wait_until(lambda: _member_count(stays) == _member_count(late) == 2)
    lost = await open_(red, join=[str(stale)])
    await wait_until(lambda: any("this node is in no cluster" in line for line in caplog.messages))
    with pytest.raises(KeyMismatch, match="another name"), trio.fail_after(DEADLINE_S):
        await stays.local.membership.join([stale])
    assert [_member_count(node) for node in (taken, late, stays, lost)] == [1, 2, 2, 1]


# ---- who is in the middle


async def test_what_goes_by_shows_no_text_and_a_plain_node_s_does(open_: Open) -> None:
    seen = {}
    for keys in (node_keys(), None):
        one, other = await open_(keys), await open_(keys)
        async with open_proxy(other.address) as proxy:
            await one.local.comm.send([MARKER], Remote(node=proxy.address, service="counter", method="count"))
            seen[keys is None] = proxy.sent + proxy.answered
    assert MARKER.encode() in seen[True]
    assert MARKER.encode() not in seen[False]
    assert b"counter" not in seen[False]


async def test_an_alias_of_a_node_can_be_dialed_and_a_diverted_connection_is_refused(open_: Open) -> None:
    one, other, third = [await open_(node_keys(), join=[]) for _ in range(3)]
    async with open_proxy(other.address) as proxy:
        assert await _nid(one, proxy.address) == other.address.nid  # nobody is known by the proxy's address
    async with open_node(NodeConfig(join=[str(one.address)]), keys=node_keys()) as member:
        await wait_until(lambda: _member_count(one) == 2)
    await wait_until(lambda: _member_count(one) == 1)
    async with open_proxy(third.address, member.address.port):
        with pytest.raises(NodeUnreachable, match=f"another node answers there: {third.address}"):
            await _nid(one, member.address)
    assert third.statistics().calls_served == 0


async def test_a_connection_reflected_to_its_own_node_is_refused(open_: Open, caplog: pytest.LogCaptureFixture) -> None:
    node = await open_(node_keys())
    async with open_proxy(node.address) as proxy:
        with pytest.raises(NodeUnreachable, match="this node's own address"):
            await _nid(node, proxy.address)
    await wait_until(lambda: node.statistics().connections_refused == 2)  # at both of its ends
    assert node.statistics().calls_served == 0
    assert any("as if the connection led back" in line for line in caplog.messages)


@pytest.mark.parametrize("part", ["the first message", "the whole"])
async def test_a_replayed_connection_gets_no_further_than_the_handshake(
    open_: Open, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    one, other = await open_(node_keys()), await open_(node_keys(), connect_timeout_s=0.5)
    async with open_proxy(other.address) as proxy:
        await one.local.comm.send([1], Remote(node=proxy.address, service="counter", method="count"))
        recorded = proxy.sent
    served = other.statistics().calls_served
    first = len(PREFACE) + 5 + 48
    async with await trio.open_tcp_stream(other.address.ip, other.address.port) as stream:
        await stream.send_all(recorded[:first] if part == "the first message" else recorded)
        answer = await read_to_end(stream)
    assert len(answer) <= first
    assert other.statistics().calls_served == served == 1
    await wait_until(lambda: other.statistics().connections_refused == 1)
    assert any("a connection that began as a link was closed" in line for line in caplog.messages)


async def test_each_flipped_bit_of_the_first_bytes_is_refused(open_: Open) -> None:
    one, other = await open_(node_keys()), await open_(node_keys(), connect_timeout_s=1)
    refused = 0
    for place in range(0, len(PREFACE) + 5 + 48 + 40, 11):
        flipped = _Flip(place)
        async with open_proxy(other.address) as proxy:
            proxy.change = flipped
            with pytest.raises(NodeUnreachable), trio.fail_after(DEADLINE_S):
                await _nid(one, proxy.address)
        refused += 1
    assert other.statistics().calls_served == 0
    assert refused == 10


class _Flip:
    """Flips one bit, at a place of a stream."""

    def __init__(self, place: int) -> None:
        self._left = place

    def __call__(self, data: bytes) -> bytes:
        place, self._left = self._left, self._left - len(data)
        if not 0 <= place < len(data):
            return data
        return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


ANSWERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a plain link": PREFACE + b"\0\0\0\x06\x96\0\xc0\x01\x01\x01\x01",
    "an unknown refusal": PREFACE + b"\xfe",
    "a refusal": PREFACE + b"\x82",
    "an older version": PREFACE[:-1] + b"\0",
    "nothing": b"",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_no_answer_makes_a_node_with_a_key_fall_back_to_http_or_plain(open_: Open, answer: bytes) -> None:
    received = []

    async def serve(stream: trio.SocketStream) -> None:
        received.append(bytes(await stream.receive_some()))
        await stream.send_all(answer)

    node = await open_(node_keys(), connect_timeout_s=5)
    async with serving(serve) as address:
        for _ in range(2):
            with pytest.raises(NodeUnreachable):
                await node.local.comm.send([MARKER], Remote(node=address, service="counter", method="count"))
    assert len(received) == 2
    for data in received:
        assert data.startswith(PREFACE + b"\1")
        assert len(data) == len(PREFACE) + 5 + 48


# ---- before authentication


async def test_connections_without_a_proof_are_few_the_oldest_goes_and_members_get_in(
    open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    node = await open_(node_keys(), connect_timeout_s=30)
    other = await open_(node_keys())
    await _nid(other, node.address)  # a link: it stays
    with ExitStack() as stack:
        socks = []
        for number in range(MOST_PER_ADDRESS + 20):
            sock = stack.enter_context(socket.create_connection((node.address.ip, node.address.port)))
            sock.setblocking(False)
            sock.send(PREFACE[: 1 + number % len(PREFACE)])
            socks.append(sock)
        await wait_until(lambda: node.statistics().connections_refused >= 20)
        assert await _nid(other, node.address) == node.address.nid
        newcomer = await open_(node_keys())
        assert await _nid(newcomer, node.address) == node.address.nid
        closed = [_is_closed(sock) for sock in socks]
        assert closed == [True] * 21 + [False] * (MOST_PER_ADDRESS - 1)
    lines = [line for line in caplog.messages if "was closed for a newer one" in line]
    assert 1 <= len(lines) <= 6


def _is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("data", [b"", PREFACE, PREFACE + b"\1"], ids=["nothing", "a preface", "a mode"])
async def test_a_connection_that_stays_silent_is_closed_in_time(open_: Open, data: bytes) -> None:
    node = await open_(node_keys(), connect_timeout_s=0.2)
    async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
        if data:
            await stream.send_all(data)
        assert await read_to_end(stream) == b""


# ---- datagrams


async def test_datagrams_that_do_not_open_are_refused_counted_and_logged(
    open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    node = await open_(node_keys(), join=[])
    plain = b"\x93" + bytes([VERSION]) + b"\xab127.0.0.1:9\x90" + bytes(60)
    unknown = bytes([1]) + bytes(60)
    own_id = node_keys().sealing.key_id
    forged = bytes([1]) + own_id + bytes(60)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for data in (plain, unknown, forged, b"", bytes(2000)):
            sock.sendto(data, (node.address.ip, node.address.port))
        await wait_until(lambda: node.statistics().datagrams_refused == 5)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):  # no answer: nobody learns anything
            sock.recv(2000)
    text = "\n".join(caplog.messages)
    for reason in ("it is not sealed: give its node", "its cluster key is not this node's", "it does not open"):
        assert re.search(f"a datagram from 127.0.0.1:[0-9]+ was refused: {reason}", text)
