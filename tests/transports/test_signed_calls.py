"""Calls over HTTP between nodes with keys: signed by the caller, verified by both."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.security.keys import key_of
from tests.serving import serving
from tests.transports.keyed_nodes import http_client, open_keyed
from trionet import ConnectionLost, NodeAddress, NodeConfig, NodeUnreachable, NotPermitted, Remote, open_node, rpc
from trionet.security.http_signatures import sign_request
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_statements import KeyState
from trionet.security.keys import derive
from trionet.security.node_keys import NodeKeys
from trionet.security.signature_base import HttpRequest
from trionet.transports.clock import time_us

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trionet import Node

HTTP = NodeConfig(transport="http")
PROBE = NodeConfig(transport="http", services={"probe": "tests.transports.test_signed_calls:Probe"})


class Probe:
    """Notes how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    @rpc
    def count(self, *args: Any, **kwargs: Any) -> int:
        del args, kwargs
        self.calls += 1
        return self.calls

    @rpc
    def fail(self) -> None:
        raise ValueError("bad")


def count_of(node: Node) -> Remote:
    return Remote(node=node.address, service="probe", method="count")


class Signed:
    """A signed request, of which a test changes parts."""

    def __init__(
        self,
        node: Node,
        *,
        seed: int = 1,
        cluster: str = "trionet",
        authority: str = "",
        target: str = "/local/probe/count?a=1",
        age_s: float = 0,
    ) -> None:
        self.url = f"http://{node.address}"
        self.method, self.target, self.body = "PUT", target, b"[1]"
        self.headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Trionet-Caller": "127.0.0.1:9",
            "Trionet-Call-Id": "x",
        }
        head = HttpRequest(list(self.headers.items()), self.method, authority or str(node.address), self.target)
        keys, now_us = derive(key_of(seed), cluster), time_us() - int(age_s * 1e6)
        self.headers |= dict(sign_request(head, self.body, keys, now_us, bytes(16)).headers)

    async def status(self) -> int:
        async with http_client() as client:
            request = client.build_request(self.method, self.url + self.target, content=self.body, headers=self.headers)
            return (await client.send(request)).status_code


@pytest.mark.parametrize("ip", ["127.0.0.1", "localhost", "::1"])
async def test_calls_by_http_are_signed_and_their_answers_verified(ip: str) -> None:
    own = "::1" if ip == "::1" else "127.0.0.1"
    with socket.socket(socket.AF_INET6 if ip == "::1" else socket.AF_INET) as probe:
        try:
            probe.bind((own, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    async with open_keyed(msgspec.structs.replace(PROBE, ip=own)) as node, open_keyed(HTTP) as caller:
        remote = Remote(node=NodeAddress(ip, node.address.port), service="probe", method="count")
        assert await caller.local.comm.send([1], remote, kwargs={"a": "b c&d=ä"}) == 1
        assert node.statistics().requests_refused == 0


async def test_errors_travel_signed() -> None:
    async with open_keyed(PROBE) as node, open_keyed(HTTP) as caller:
        with pytest.raises(Exception, match="bad") as caught:
            await caller.local.comm.send([], Remote(node=node.address, service="probe", method="fail"))
        assert type(caught.value).__name__ == "RemoteError"
        with pytest.raises(Exception, match="no method 'nothing'"):
            await caller.local.comm.send([], Remote(node=node.address, service="probe", method="nothing"))


async def test_a_node_without_the_key_is_refused() -> None:
    async with open_keyed(PROBE) as node, open_node(HTTP) as caller:
        with pytest.raises(NotPermitted, match="Authorization: Bearer"):
            await caller.local.comm.send([], count_of(node))
        assert node.statistics().requests_refused == 1


@pytest.mark.parametrize("other", [{"seed": 2}, {"cluster": "other"}])
async def test_nodes_of_different_keys_or_clusters_refuse_each_other(other: dict[str, Any]) -> None:
    async with open_keyed(PROBE) as node, open_keyed(HTTP, **other) as caller:
        with pytest.raises(ConnectionLost, match="do both nodes have the same key and cluster name"):
            await caller.local.comm.send([], count_of(node))
        assert node.statistics().requests_refused == 1
        assert node.statistics().calls_served == 0


async def test_a_signed_request_is_accepted_once() -> None:
    async with open_keyed(PROBE) as node:
        signed = Signed(node)
        assert [await signed.status() for _ in range(3)] == [200, 401, 401]
        assert node.statistics().requests_refused == 2


async def test_a_signed_request_is_refused_in_the_next_life_of_the_node() -> None:
    async with open_keyed(PROBE) as node:
        signed = Signed(node)
    async with open_keyed(NodeConfig(port=node.address.port, services=PROBE.services)):
        assert await signed.status() == 401


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": "POST"}, "forged"),
        ({"target": "/local/probe/count?a=2"}, "forged"),
        ({"target": "/local/probe/fail?a=1"}, "forged"),
        ({"body": b"[2]"}, "the body of the request is not the signed one"),
        ({"Trionet-Caller": "127.0.0.1:8"}, "forged"),
        ({"Trionet-Depth": "1"}, "does not cover all"),
        ({"Signature": "trionet=:AAAA:"}, "forged"),
        ({"Signature": None}, "must be there once"),
        ({"Signature": None, "Signature-Input": None}, "no token"),
        ({"Content-Digest": None}, "must be there once"),
    ],
)
async def test_a_changed_request_is_refused(
    change: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_keyed(PROBE) as node:
        signed = Signed(node)
        for part, value in change.items():
            if hasattr(signed, part):
                setattr(signed, part, value)
            elif value is None:
                del signed.headers[part]
            else:
                signed.headers[part] = value
        assert await signed.status() == 401
        assert reason in caplog.text
        assert node.statistics().calls_served == 0


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"seed": 2}, "unknown here"),
        ({"cluster": "other"}, "forged, or of another cluster"),
        ({"age_s": 100}, "old: do the clocks differ"),
        ({"age_s": -100}, "in the future"),
        ({"age_s": 30}, "before this node's start"),
        ({"authority": "127.0.0.1:1"}, "forged"),
    ],
)
async def test_a_request_of_another_key_or_time_is_refused(
    how: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_keyed(PROBE) as node:
        assert await Signed(node, **how).status() == 401
        assert reason in caplog.text
        assert node.statistics().calls_served == 0


async def test_a_request_to_one_node_is_of_no_use_to_another(caplog: pytest.LogCaptureFixture) -> None:
    async with open_keyed(PROBE) as node, open_keyed(PROBE) as other:
        signed = Signed(node)
        signed.url = f"http://{other.address}"
        signed.headers["Host"] = str(node.address)
        assert await signed.status() == 401
        assert "which is not this node" in caplog.text


async def test_a_signature_ends_with_its_key(caplog: pytest.LogCaptureFixture) -> None:
    file = KeyFile((KeyEntry.of(key_of(1)), KeyEntry(key_of(2).id, KeyState.RETIRED)))
    async with open_node(PROBE, keys=NodeKeys(file, "trionet")) as node:
        assert await Signed(node, seed=2).status() == 401
        assert "of the signature is retired" in caplog.text


async def test_an_installed_key_opens_and_the_used_one_seals() -> None:
    installed = KeyFile((KeyEntry.of(key_of(1)), KeyEntry.of(key_of(2), KeyState.INSTALLED)))
    async with open_node(PROBE, keys=NodeKeys(installed, "trionet")) as node, open_keyed(HTTP, seed=2) as caller:
        assert await caller.local.comm.send([], count_of(node)) == 1


async def test_a_signature_is_for_calls_only(caplog: pytest.LogCaptureFixture) -> None:
    async with open_keyed(PROBE) as node:
        assert await Signed(node, target="/nothing").status() == 401
        assert "a signature is for calls; this path needs a token" in caplog.text


async def test_streams_are_refused_before_they_are_sent() -> None:
    async with open_keyed(PROBE) as node, open_keyed(HTTP) as caller:
        with pytest.raises(NotPermitted, match=r"go over links only: use NodeConfig\(transport='link'\)"):
            async with caller.local.comm.stream([], count_of(node)):
                pass
        assert node.statistics().calls_served == 0


async def test_no_call_is_sent_to_another_machine() -> None:
    async with open_keyed(HTTP) as caller:
        remote = Remote(node=NodeAddress("192.0.2.1", 80), service="probe", method="count")
        with pytest.raises(NodeUnreachable, match="on another machine"):
            await caller.local.comm.send([], remote)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncGenerator[NodeAddress]:
    """Run a server that gives one answer to everything."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    async with serving(serve) as address:
        yield address


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"value":1}',
        b'HTTP/1.1 404 Not Found\r\nContent-Length: 47\r\n\r\n{"error":{"code":10,"name":"NotFound","text":""}}',
        b'HTTP/1.1 200 OK\r\nSignature-Input: x\r\nSignature: y\r\nContent-Length: 11\r\n\r\n{"value":1}',
    ],
)
async def test_an_unsigned_answer_is_not_believed(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with answering(answer) as peer, open_keyed(HTTP) as caller:
        with pytest.raises(ConnectionLost, match="without a valid signature"):
            await caller.local.comm.send([], Remote(node=peer, service="probe", method="count"))
    assert any(f"an answer of {peer} over HTTP was refused: it has no" in line for line in caplog.messages)


async def test_the_answer_to_another_request_is_not_believed() -> None:
    async with open_keyed(PROBE) as node:
        signed = Signed(node)
        async with http_client() as client:
            answer = await client.put(signed.url + signed.target, content=signed.body, headers=signed.headers)
        assert answer.status_code == 200
        lines = [f"{name}: {value}" for name, value in answer.headers.multi_items()]
        raw = "\r\n".join(["HTTP/1.1 200", *lines, "", answer.text]).encode()
        async with answering(raw) as peer, open_keyed(HTTP) as caller:
            with pytest.raises(ConnectionLost, match="the answer is to another request"):
                await caller.local.comm.send([], Remote(node=peer, service="probe", method="count"))


async def test_a_cluster_that_calls_by_http_forms() -> None:
    first = NodeConfig(transport="http", join=[])
    async with open_keyed(first) as one, open_keyed(NodeConfig(transport="http", join=[str(one.address)])) as other:
        with trio.fail_after(30):
            while len(await one.local.membership.members()) < 2:  # noqa: ASYNC110  membership has its own events
                await trio.sleep(0.01)
        answer = await other.all.comm.send(["nid"], Remote(service="status", method="get"))
        assert set(answer.values.values()) == {one.nid, other.nid}
