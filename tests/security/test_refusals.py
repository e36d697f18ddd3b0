"""The matrix of refusals: each kind of attack on a running node, on real sockets.

Whatever an attacker tries, the attempt is refused, a counter of the node moves, a line of its log says who it was and
why it was refused, the attacker receives nothing but the end of the connection (and one byte), 401 or 403, and the
calls of a bystander go on. A row of the table is one attack; the parts of such attacks are tested where they belong.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import pytest
import trio

from tests.protocols.link.cores import hello
from tests.proxies import open_proxy
from tests.security.attacked import (
    CLUSTER,
    HANDSHAKE_BYTES,
    KeyedSocket,
    Scene,
    answering,
    first_bytes,
    open_scene,
    sent_to,
)
from tests.security.keys import node_keys
from tests.transports.keyed_nodes import http_client, token
from tests.waiting import DEADLINE_S, wait_until
from trionet import ConnectionLost, NodeConfig, NodeUnreachable, Remote, open_node
from trionet.protocols.link.frames import PREFACE
from trionet.protocols.link.handshake import greeting
from trionet.protocols.link.refusals import Refusal
from trionet.protocols.packets import VERSION
from trionet.security.datagram_opener import CHALLENGE_BYTES
from trionet.security.http_signatures import sign_request
from trionet.security.signature_base import HttpRequest
from trionet.security.token_scope import Scope
from trionet.transports.clock import time_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet import NodeAddress

ANOTHER_KEY: Final = node_keys(2, CLUSTER)
ANOTHER_CLUSTER: Final = node_keys(1, "other-shop")


class Row(NamedTuple):
    """An attack, and what becomes of it.

    Attributes:
        attack: makes the attack once; returns all that the attacker received.
        counter: the figure of the node's statistics that counts it.
        reason: a pattern of the reason in the log.
        answers: what the attacker may receive.
        who: a pattern of the attacker in the log.
    """

    attack: Callable[[Scene], Awaitable[list[bytes]]]
    counter: str
    reason: str
    answers: tuple[bytes, ...] = (b"",)
    who: str = r"127\.0\.0\.1"


def _refusal(code: Refusal) -> tuple[bytes]:
    return (PREFACE + bytes([code]),)


# ---- connections to the node


def _connects_with(make: Callable[[], bytes], *, cut: bool = False) -> Callable[[Scene], Awaitable[list[bytes]]]:
    async def attack(scene: Scene) -> list[bytes]:
        return [await sent_to(scene.victim.address, make(), cut=cut)]

    return attack


async def _recorded(scene: Scene) -> bytes:
    """Return all that a member sent on a link with one call."""
    async with open_proxy(scene.victim.address) as proxy, open_node(NodeConfig(), keys=scene.keys) as member:
        remote = Remote(node=proxy.address, service="status", method="get")
        await member.local.comm.send(["nid"], remote)
        return proxy.sent


def _replays(*, only_first: bool) -> Callable[[Scene], Awaitable[list[bytes]]]:
    async def attack(scene: Scene) -> list[bytes]:
        recorded = await _recorded(scene)
        before = scene.statistics.calls_served
        answer = await sent_to(scene.victim.address, recorded[:HANDSHAKE_BYTES] if only_first else recorded)
        assert scene.statistics.calls_served == before
        # The second message opens for nobody without the key and the secret of this handshake.
        return [answer if len(answer) < HANDSHAKE_BYTES else answer[HANDSHAKE_BYTES:]]

    return attack


async def _reflects_on_one_connection(scene: Scene) -> list[bytes]:
    """Send each byte back that the node sends."""
    return await _dialed(scene, None)


async def _reflects_on_another_connection(scene: Scene) -> list[bytes]:
    async with open_proxy(scene.victim.address) as proxy:
        remote = Remote(node=proxy.address, service="guarded", method="tell")
        with pytest.raises(NodeUnreachable, match="as if the connection led back"):
            await scene.victim.local.comm.send(["secret"], remote)
    return []


async def _dialed(scene: Scene, answer: bytes | None) -> list[bytes]:
    """Have the node call an attacker, who answers so."""
    async with answering(answer) as (address, received):
        remote = Remote(node=address, service="guarded", method="tell")
        with pytest.raises(NodeUnreachable), trio.fail_after(DEADLINE_S):
            await scene.victim.local.comm.send(["secret"], remote)
        await wait_until(lambda: bool(received))
    assert [len(data) for data in received] == [HANDSHAKE_BYTES], "it says nothing more, and nothing in the clear"
    return []


def _answers(answer: bytes) -> Callable[[Scene], Awaitable[list[bytes]]]:
    return lambda scene: _dialed(scene, answer)


class _Flip:
    """Flips a bit, at a place of what a member sends."""

    def __init__(self, bit: int) -> None:
        self._place, self._mask = bit // 8, 1 << bit % 8
        self._passed = 0

    def __call__(self, data: bytes) -> bytes:
        place, self._passed = self._place - self._passed, self._passed + len(data)
        if not 0 <= place < len(data):
            return data
        return data[:place] + bytes([data[place] ^ self._mask]) + data[place + 1 :]


async def _flips(scene: Scene, bit: int) -> int:
    """Flip a bit of the frame of a call; return how many bits it has."""
    async with open_proxy(scene.victim.address) as proxy, open_node(NodeConfig(), keys=scene.keys) as member:
        remote = Remote(node=proxy.address, service="status", method="get")
        await member.local.comm.send(["nid"], remote)
        proxy.change, before = _Flip(bit), len(proxy.sent)
        with pytest.raises(ConnectionLost), trio.fail_after(DEADLINE_S):
            await member.local.comm.send(["nid"], Remote(node=proxy.address, service="guarded", method="tell"))
        return 8 * (len(proxy.sent) - before)


async def _flips_a_bit_of_a_frame(scene: Scene) -> list[bytes]:
    await _flips(scene, 164)
    return []


async def _cuts_a_stream(scene: Scene) -> list[bytes]:
    """End a connection within a record: a stream that is read ends with an error, not as if it were complete."""
    async with open_proxy(scene.victim.address) as proxy, open_node(NodeConfig(), keys=scene.keys) as member:
        remote = Remote(node=proxy.address, service="guarded", method="count")

        async def read() -> None:
            async with member.local.comm.stream([1000], remote) as items:
                async for _ in items:
                    await proxy.cut(b"\1")

        with pytest.raises(ConnectionLost), trio.fail_after(DEADLINE_S):
            await read()
    return []


# ---- datagrams to the node


def _plain_packet() -> bytes:
    return msgspec.msgpack.encode([VERSION, "127.0.0.1:9", [bytes(40)]])


async def _sends_plain(scene: Scene) -> list[bytes]:
    async with KeyedSocket(scene.keys, to=scene.victim.address) as sock:
        await sock.send(_plain_packet())
        await _counted(scene, "datagrams_refused", 1)
        sock.drain()
        return sock.received


def _seals_with(keys: Any) -> Callable[[Scene], Awaitable[list[bytes]]]:
    async def attack(scene: Scene) -> list[bytes]:
        async with KeyedSocket(keys, to=scene.victim.address) as sock:
            await sock.send(sock.sealed())
            await _counted(scene, "datagrams_refused", 1)
            sock.drain()
            return sock.received

    return attack


async def _proven(sock: KeyedSocket) -> bytes:
    """Send a packet, and prove to be alive; return the packet."""
    data = sock.sealed()
    await sock.send(data)
    await sock.answer()
    return data


async def _flips_each_bit_of_a_datagram(scene: Scene) -> list[bytes]:
    async with KeyedSocket(scene.keys, to=scene.victim.address) as sock:
        await _proven(sock)
        sock.received.clear()
        good, before = sock.sealed(), _refused_or_late(scene)
        for bit in range(8 * len(good)):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            await sock.send(bytes(bad))
            if bit % 64 == 0:  # the buffer of a socket has an end
                await wait_until(lambda sent=bit: _refused_or_late(scene) > before + sent)  # type: ignore[misc]
        await wait_until(lambda: _refused_or_late(scene) == before + 8 * len(good))
        sock.drain()
        return sock.received


def _refused_or_late(scene: Scene) -> int:
    return scene.statistics.datagrams_refused + scene.statistics.datagrams_replayed


async def _replays_a_datagram(scene: Scene) -> list[bytes]:
    async with KeyedSocket(scene.keys, to=scene.victim.address) as sock:
        await _proven(sock)
        data = sock.sealed()
        sock.received.clear()
        await sock.send(data)
        await sock.send(data)
        await _counted(scene, "datagrams_replayed", 1)
        sock.drain()
        return sock.received


async def _replays_a_datagram_of_a_dead_life(scene: Scene) -> list[bytes]:
    async with KeyedSocket(scene.keys, to=scene.victim.address) as sock:
        data = sock.sealed()
        sock.begin_life()
        await sock.send(data)
        await _counted(scene, "datagrams_replayed", 1)
        sock.drain()
        assert [len(one) for one in sock.received] == [CHALLENGE_BYTES], "a question, which only the key opens"
        return []


async def _sends_a_datagram_for_another(scene: Scene) -> list[bytes]:
    async with KeyedSocket(scene.keys, to=scene.victim.address) as sock:
        await _proven(sock)
        sock.received.clear()
        await sock.send(sock.sealed(scene.bystander.address))
        await _counted(scene, "datagrams_refused", 1)
        sock.drain()
        return sock.received


# ---- requests over HTTP


_HEADERS: Final = {"www-authenticate", "content-type", "content-length", "date"} | {
    # Of an answer to a signed head whose body was changed.
    *("content-digest", "signature", "signature-input"),
}


async def _asked(address: NodeAddress, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    async with http_client() as client:
        answer = await client.put(f"http://{address}{path}", content=body, headers=headers)
    assert set(answer.headers) <= _HEADERS
    found = answer.json()
    assert list(found) == ["error"]
    assert found["error"]["name"] == "NotPermitted"
    return str(answer.status_code).encode()


def _asks(path: str = "/local/guarded/tell", **headers: str) -> Callable[[Scene], Awaitable[list[bytes]]]:
    async def attack(scene: Scene) -> list[bytes]:
        return [await _asked(scene.victim.address, path, b"[]", headers)]

    return attack


def _changed(text: str) -> str:
    """Return a token with another character in its code; the last one has bits that mean nothing."""
    return text[:-5] + ("B" if text[-5] == "A" else "A") + text[-4:]


def _bears(make: Callable[[], str], path: str = "/local/guarded/tell") -> Callable[[Scene], Awaitable[list[bytes]]]:
    async def attack(scene: Scene) -> list[bytes]:
        return [await _asked(scene.victim.address, path, b"[]", {"Authorization": f"Bearer {make()}"})]

    return attack


def _signs(keys: Any = None, **change: Any) -> Callable[[Scene], Awaitable[list[bytes]]]:
    """Send a signed request, changed on the way; without a change, for the second time."""

    async def attack(scene: Scene) -> list[bytes]:
        address, path, body = scene.victim.address, "/local/guarded/look", b"[]"
        own = {"Accept": "application/json", "Content-Type": "application/json"}
        head = HttpRequest(list(own.items()), "PUT", str(address), path)
        signed = sign_request(head, body, (keys or scene.keys).sealing, time_us(), bytes(16))
        headers = own | dict(signed.headers)
        if keys is None and not change:
            async with http_client() as client:
                assert (await client.put(f"http://{address}{path}", content=body, headers=headers)).status_code == 200
        return [await _asked(address, change.get("path", path), change.get("body", body), headers)]

    return attack


def _token(scope: Scope = Scope.ADMIN, **how: Any) -> Callable[[], str]:
    return lambda: token(scope, **{"cluster": CLUSTER} | how)


# ---- the table

CONNECTIONS, REQUESTS = "connections_refused", "requests_refused"
DATAGRAMS, REPLAYED = "datagrams_refused", "datagrams_replayed"
OLDER: Final = PREFACE[:-1] + b"\0"

ROWS: Final = {
    # ---- links
    "a link without a key": Row(
        _connects_with(lambda: first_bytes(None)), CONNECTIONS, "it has no cluster key", _refusal(Refusal.PLAIN)
    ),
    "a link with another key": Row(
        _connects_with(lambda: first_bytes(ANOTHER_KEY)),
        CONNECTIONS,
        "its cluster key is not this node's",
        _refusal(Refusal.UNKNOWN_KEY),
    ),
    "a link with the key of another cluster": Row(
        _connects_with(lambda: first_bytes(ANOTHER_CLUSTER)),
        CONNECTIONS,
        "its cluster has another name, or another key",
        _refusal(Refusal.UNOPENED),
    ),
    "a replayed first message": Row(_replays(only_first=True), CONNECTIONS, r"longer than .* to send its hello"),
    "a replayed connection": Row(
        _replays(only_first=False),
        CONNECTIONS,
        "its cluster has another name, or another key",
        (b"", *_refusal(Refusal.UNOPENED)),
    ),
    "a handshake reflected on its connection": Row(
        _reflects_on_one_connection, CONNECTIONS, "its cluster has another name, or another key"
    ),
    "a handshake reflected on another connection": Row(
        _reflects_on_another_connection, CONNECTIONS, "as if the connection led back to this node"
    ),
    "an answer in the clear": Row(
        _answers(greeting(hello())), CONNECTIONS, "it has no cluster key, and this node has one"
    ),
    "an answer in HTTP": Row(
        _answers(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), CONNECTIONS, "it answers in HTTP, and a node with"
    ),
    "an answer of an older version": Row(_answers(OLDER + bytes(60)), CONNECTIONS, "it speaks version 0 of the link"),
    "a link of an older version": Row(
        _connects_with(lambda: OLDER + bytes(60)),
        CONNECTIONS,
        "it speaks version 0 of the link",
        _refusal(Refusal.VERSION),
    ),
    "a handshake that is cut": Row(
        _connects_with(lambda: first_bytes(node_keys(cluster=CLUSTER))[:-1], cut=True),
        CONNECTIONS,
        "the connection was closed during the handshake",
    ),
    "a connection that stays silent": Row(_connects_with(lambda: b""), CONNECTIONS, "it has sent nothing for"),
    "a flipped bit of a frame": Row(
        _flips_a_bit_of_a_frame, CONNECTIONS, "it broke the protocol", who=r"127\.0\.0\.1:[0-9]+"
    ),
    "a stream that is cut": Row(_cuts_a_stream, CONNECTIONS, "it broke the protocol: it ended in the middle"),
    # ---- datagrams
    "a datagram without a key": Row(_sends_plain, DATAGRAMS, "it is not sealed: give its node"),
    "a datagram with another key": Row(_seals_with(ANOTHER_KEY), DATAGRAMS, "its cluster key is not this node's"),
    "a datagram of another cluster": Row(_seals_with(ANOTHER_CLUSTER), DATAGRAMS, "it does not open"),
    "each flipped bit of a datagram": Row(_flips_each_bit_of_a_datagram, DATAGRAMS, "it does not open"),
    "a replayed datagram": Row(_replays_a_datagram, REPLAYED, "it came before, or is too old"),
    "a replayed datagram of an older life of its sender": Row(
        _replays_a_datagram_of_a_dead_life, REPLAYED, "its sender did not prove that it is alive"
    ),
    "a datagram for another receiver": Row(_sends_a_datagram_for_another, DATAGRAMS, "it does not open: it is for"),
    # ---- HTTP
    "a request without a token": Row(_asks(), REQUESTS, "no token", (b"401",)),
    "a token of another key": Row(_bears(_token(seed=2)), REQUESTS, "of the token is unknown here", (b"401",)),
    "a token of another cluster": Row(
        _bears(_token(cluster="other-shop")), REQUESTS, "the token is of another cluster", (b"401",)
    ),
    "an expired token": Row(
        _bears(_token(age_s=90)), REQUESTS, r"token [0-9a-f]{8} has expired [23]. s ago", (b"401",)
    ),
    "a forged token": Row(
        _bears(lambda: _changed(token(Scope.READ, cluster=CLUSTER))),
        REQUESTS,
        "the token is (forged or damaged|malformed)",
        (b"401",),
    ),
    "a token of too small a scope": Row(
        _bears(_token(Scope.CALL), "/local/status/stop"),
        REQUESTS,
        "has the scope call, not admin",
        (b"403",),
    ),
    "a token where only nodes may call": Row(
        _bears(_token(), "/local/membership/packet"), REQUESTS, "only nodes may call membership/packet", (b"403",)
    ),
    "a replayed request of a node": Row(_signs(), REQUESTS, "the request was replayed", (b"401",)),
    "a signed request with another key": Row(_signs(ANOTHER_KEY), REQUESTS, "is unknown here", (b"401",)),
    "a signed request of another cluster": Row(_signs(ANOTHER_CLUSTER), REQUESTS, "forged, or of another", (b"401",)),
    "a signed request with another path": Row(
        _signs(path="/local/status/stop"), REQUESTS, "the signature is forged", (b"401",)
    ),
    "a signed request with another body": Row(
        _signs(body=b"[1]"), REQUESTS, "the body of the request is not the signed one", (b"401",)
    ),
    "a request of a foreign page": Row(
        _asks(Origin="https://evil.example"), REQUESTS, "evil.example|another site|page", (b"403",)
    ),
}


def _count(scene: Scene, counter: str) -> int:
    found: int = getattr(scene.statistics, counter)
    return found


async def _counted(scene: Scene, counter: str, more_than: int) -> None:
    await wait_until(lambda: _count(scene, counter) >= more_than)


@pytest.mark.parametrize("name", ROWS)
async def test_an_attack_is_refused_counted_and_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    row = ROWS[name]
    caplog.set_level(logging.INFO)
    async with open_scene(connect_timeout_s=0.5) as scene:
        before = _count(scene, row.counter)
        received = await row.attack(scene)
        await wait_until(lambda: _count(scene, row.counter) > before)
        assert all(one in row.answers for one in received), received
        await scene.check()
    pattern = re.compile(f"(?=.*{row.who})(?=.*({row.reason}))", re.DOTALL)
    assert any(pattern.search(line) for line in caplog.messages), caplog.messages


async def test_a_datagram_to_an_earlier_life_of_the_node_is_not_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """Its sender is alive, and proves it; but the datagram is older than the node."""
    caplog.set_level(logging.INFO)
    keys = node_keys(cluster=CLUSTER)
    async with open_node(NodeConfig(join=[]), keys=keys) as earlier:
        pass
    async with KeyedSocket(keys, to=earlier.address) as sock:
        data = sock.sealed()
        async with open_node(NodeConfig(join=[], port=earlier.address.port), keys=keys) as node:
            await sock.send(data)
            await sock.answer()
            await wait_until(lambda: node.statistics().datagrams_replayed == 1)
    assert any("it came before, or is too old" in line for line in caplog.messages)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_each_flipped_bit_of_a_frame_is_refused_and_counted() -> None:
    async with open_scene(connect_timeout_s=0.5) as scene:
        bits = await _flips(scene, 164)
        assert bits > 8 * 60
        for bit in range(bits):
            before = _count(scene, CONNECTIONS)
            await _flips(scene, bit)
            await wait_until(lambda known=before: _count(scene, CONNECTIONS) > known)  # type: ignore[misc]
        await scene.check()
