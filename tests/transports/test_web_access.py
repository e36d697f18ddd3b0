"""Who may call a node with a key over HTTP: the holders of tokens, within their scopes."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from quart import websocket

from tests.security.keys import key_of
from tests.transports.keyed_nodes import error_in, http_client, open_keyed, request, token
from trionet import ConfigError, NodeConfig, current_call, open_node, rpc
from trionet.message import Call
from trionet.router import Router
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_statements import KeyState
from trionet.security.live_keys import LiveKeys
from trionet.security.node_keys import NodeKeys
from trionet.security.refusals import RequestRefused
from trionet.security.token_scope import Scope
from trionet.services.base import exposed_methods
from trionet.transports.clock import time_us
from trionet.transports.web_access import WebAccess
from trionet.transports.web_refusals import RefusedRequests

if TYPE_CHECKING:
    from trionet import Node

HINT = "this needs the header 'Authorization: Bearer TOKEN' with a valid token of this cluster: make one with "
PROBE = NodeConfig(services={"probe": "tests.transports.test_web_access:Probe"})


class Probe:
    """Methods of a user's."""

    def __init__(self) -> None:
        self.changes = 0

    @rpc(read=True)
    def look(self) -> int:
        return self.changes

    @rpc
    def change(self) -> int:
        self.changes += 1
        return self.changes

    @rpc(read=True)
    async def count(self, number: int) -> AsyncIterator[int]:
        for item in range(number):
            yield item

    @rpc
    def who(self) -> list[Any]:
        call = current_call()
        return [call.caller, call.id]


async def statuses(node: Node, scope: Scope, *calls: tuple[str, str]) -> list[int]:
    """Return the statuses of calls with a token of this scope."""
    return [(await request(node, path, content, bearer=token(scope))).status_code for path, content in calls]


def bad_tokens() -> dict[str, str]:
    good = token()
    return {
        "expired": token(age_s=100, lifetime_s=50),
        "from the future": token(age_s=-1000),
        "another cluster": token(cluster="other"),
        "is unknown here": token(seed=2),
        "forged or damaged": good[:60] + ("A" if good[60] != "A" else "B") + good[61:],
        "malformed": "hello",
        "too long": "x" * 8000,
    }


async def test_without_a_token_each_path_is_refused_but_healthz() -> None:
    async with open_keyed(PROBE) as node:
        for path in (
            "/local/probe/look",
            "/local/status/stop",
            "/nothing/at/all",
            "/dashboard/stream",
            "/favicon.ico",
            "/a/b/c/d",
        ):
            for method in ("PUT", "POST", "GET", "HEAD", "DELETE", "OPTIONS", "TRACE"):
                refused = await request(node, path, method=method)
                assert refused.status_code == 401, (method, path)
                assert refused.headers["WWW-Authenticate"] == 'Bearer realm="trionet"'
                assert method == "HEAD" or error_in(refused)["text"].startswith(HINT)
        assert node.statistics().requests_refused == 6 * 7
        healthy = await request(node, "/healthz", "", method="GET")
        assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})
        assert node.statistics().requests_refused == 6 * 7


@pytest.mark.parametrize("why", sorted(bad_tokens()))
async def test_a_wrong_token_is_refused_and_the_log_alone_says_why(why: str, caplog: pytest.LogCaptureFixture) -> None:
    text = bad_tokens()[why]
    async with open_keyed(PROBE) as node:
        with caplog.at_level(logging.WARNING, "trionet.transports.web_refusals"):
            refused = await request(node, "/local/probe/change", bearer=text)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="trionet"')
            assert error_in(refused)["name"] == "NotPermitted"
            assert error_in(refused)["text"] == error_in(await request(node, "/local/probe/change"))["text"]
        assert why in caplog.messages[0]
        assert "a request of 127.0.0.1 for /local/probe/change over HTTP was refused with status 401" in caplog.text
        assert text not in caplog.text
        assert await statuses(node, Scope.READ, ("/local/probe/look", "[]")) == [200]
        assert (await request(node, "/local/probe/look", bearer=token())).json() == {"value": 0}


@pytest.mark.parametrize("value", ["", "Bearer", "Basic dXNlcjpwYXNz", "bearer", "Token {}", "{}", "Bearer {} x"])
async def test_another_authorization_is_none(value: str) -> None:
    async with open_keyed(PROBE) as node:
        refused = await request(node, "/local/probe/look", Authorization=value.format(token()))
        assert refused.status_code == 401


async def test_the_scheme_is_read_in_any_case() -> None:
    async with open_keyed(PROBE) as node:
        accepted = await request(node, "/local/probe/look", Authorization=f"bEARER   {token()}")
        assert accepted.status_code == 200


async def test_a_token_calls_within_its_scope() -> None:
    look, change = ("/local/probe/look", "[]"), ("/local/probe/change", "[]")
    get, put = ("/local/groups/get", '["all"]'), ("/local/groups/put", '["g", {}]')
    packet, held = ("/local/membership/packet", '["x"]'), ("/local/kept/held", '["a", "b"]')
    async with open_keyed(PROBE) as node:
        calls = (look, get, change, put, packet, held)
        assert await statuses(node, Scope.READ, *calls) == [200, 200, 403, 403, 403, 403]
        assert await statuses(node, Scope.CALL, *calls) == [200, 200, 200, 403, 403, 403]
        assert await statuses(node, Scope.ADMIN, *calls) == [200, 200, 200, 200, 403, 403]
        refused = await request(node, "/local/status/stop", bearer=token(Scope.CALL))
        assert error_in(refused)["text"] == "this needs a token with the scope admin"


async def test_the_scope_is_the_same_for_all_members_of_a_group() -> None:
    async with open_keyed(PROBE) as node:
        calls = (("/all/status/get", '["nid"]'), ("/all/status/stop", "[]"), ("/all/groups/put", '["g", {}]'))
        assert await statuses(node, Scope.CALL, *calls) == [200, 403, 403]


async def test_the_scope_is_checked_before_the_body_is_read() -> None:
    async with open_keyed(PROBE) as node:
        calls = [(path, "no json") for path in ("/local/probe/change", "/local/status/stop", "/local/kept/keep")]
        assert await statuses(node, Scope.READ, *calls) == [403, 403, 403]


async def test_a_detour_needs_the_scope_of_its_destination() -> None:
    async with open_keyed(PROBE) as node:
        own = f'"node": {{"ip": "{node.address.ip}", "port": {node.address.port}}}'
        change, stop = (
            f'{{{own}, "service": "probe", "method": "change"}}',
            f'{{{own}, "service": "status", "method": "stop"}}',
        )
        send = f'{{{own}, "service": "comm", "method": "send"}}'
        everywhere = '{"service": "status", "method": "stop"}'
        packet = f'{{{own}, "service": "membership", "method": "packet"}}'
        refused = [
            ("/local/comm/send", f"[[], {stop}]"),
            ("/local/comm/send", f"[[[], {stop}], {send}]"),
            ("/local/comm/send", f"[[[[], {stop}], {send}], {send}]"),
            ("/local/comm/send", f'[["x"], {packet}]'),
            ("/all/comm/send", f"[[], {everywhere}]"),
            ("/all/gossip/send", f"[[], {everywhere}]"),
            ("/all/gossip/at", f"[0.01, [[], {everywhere}]]"),
            (f"/local/comm/send?remote={stop}".replace(" ", "%20"), "[[]]"),
        ]
        assert await statuses(node, Scope.CALL, ("/local/comm/send", f"[[], {change}]"), *refused) == [200] + [403] * 8
        assert await statuses(node, Scope.READ, ("/local/comm/send", f"[[], {change}]")) == [403]
        assert await statuses(node, Scope.ADMIN, ("/local/comm/send", f'[["x"], {packet}]')) == [403]


async def test_the_headers_of_nodes_are_not_believed_of_a_token_holder() -> None:
    claims = {"Trionet_Caller": "127.0.0.1:9", "Trionet_Call_Id": "mine", "Trionet_Depth": "nonsense"}
    async with open_keyed(PROBE) as node:
        answer = await request(node, "/local/probe/who", bearer=token(), **claims)
        caller, id_ = answer.json()["value"]
    assert caller is None
    assert id_ not in {"", "mine"}  # the node's own, by which the call is found and cancelled


async def test_a_token_holder_gets_streams() -> None:
    async with open_keyed(PROBE) as node:
        answer = await request(node, "/local/probe/count", "[2]", bearer=token(Scope.READ))
        assert answer.text == '{"item":0}\n{"item":1}\n{"end":true}\n'


async def test_the_users_own_routes_need_a_token_too() -> None:
    async with open_keyed(PROBE) as node:

        async def page() -> str:
            return "hello"

        assert node.app is not None
        node.app.add_url_rule("/page", "page", page, methods=["GET", "POST"])
        assert (await request(node, "/page", method="GET")).status_code == 401
        assert (await request(node, "/page", method="GET", bearer=token(Scope.READ))).text == "hello"
        assert (await request(node, "/page", method="POST", bearer=token(Scope.READ))).status_code == 403
        assert (await request(node, "/page", method="POST", bearer=token(Scope.CALL))).text == "hello"
        assert (await request(node, "/nothing", method="GET", bearer=token(Scope.CALL))).status_code == 404


async def test_a_websocket_needs_a_token_for_calls() -> None:
    async with open_keyed(PROBE) as node:

        async def greet() -> None:
            await websocket.send("hello")

        assert node.app is not None
        node.app.add_websocket("/greet", "greet", greet)
        upgrade = {"Connection": "upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        upgrade["Sec_WebSocket_Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        assert (await request(node, "/greet", "", method="GET", **upgrade)).status_code == 401
        assert (await request(node, "/greet", "", method="GET", bearer=token(Scope.READ), **upgrade)).status_code == 403
        assert (await request(node, "/greet", "", method="GET", bearer=token(Scope.CALL), **upgrade)).status_code == 101


async def test_requests_of_http_2_need_a_token_too() -> None:
    async with open_keyed(PROBE) as node, http_client(http2=True) as client:
        url = f"http://{node.address}/local/probe/look"
        assert (await client.put(url, content="[]")).status_code == 401
        accepted = await client.put(url, content="[]", headers={"Authorization": f"Bearer {token()}"})
        assert (accepted.status_code, accepted.http_version) == (200, "HTTP/2")


async def status_of_lines(node: Node, *lines: str) -> int:
    """Return the status of a request with these lines of headers; 0 if the node closes the connection before it."""
    head = "\r\n".join(["PUT /local/probe/look HTTP/1.1", f"Host: {node.address}", "Content-Length: 2", *lines])
    stream = await trio.open_tcp_stream(node.address.ip, node.address.port)
    async with stream:
        try:
            await stream.send_all(f"{head}\r\n\r\n[]".encode())
            return int((await stream.receive_some()).split()[1])
        except (trio.BrokenResourceError, IndexError):
            return 0


async def test_long_and_many_headers_are_refused() -> None:
    good, bad = f"Authorization: Bearer {token()}", "Authorization: Bearer x"
    async with open_keyed(PROBE) as node:
        assert await status_of_lines(node, good) == 200
        for lines in (
            [good, good],
            [good, bad],
            [bad] * 300,
            ["Authorization: Bearer " + "x" * 15_000],
            ["Signature-Input: " + "x" * 10_000, good],
            ["Signature-Input: trionet=()", "Signature: trionet=:AAAA:"] * 100,
            ["Authorization: Bearer \xe4\xff"],
            ["Signature-Input: \xe4\xff"],
        ):
            assert await status_of_lines(node, *lines) == 401
        for lines in (["Authorization: Bearer " + "x" * 1_000_000], [f"X-{n}: y" for n in range(100_000)]):
            assert await status_of_lines(node, *lines) in {0, 400, 431}
        assert await status_of_lines(node, good) == 200


async def test_lines_of_refusals_are_limited_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with open_keyed(PROBE) as node:
        with caplog.at_level(logging.WARNING, "trionet.transports.web_access"):
            for _ in range(30):
                await request(node, "/local/probe/look")
        assert len(caplog.messages) == 6
        assert node.statistics().requests_refused == 30


async def test_a_client_on_another_machine_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent: this selects the address
            ip = sock.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address besides loopback")
    async with open_keyed(NodeConfig(ip=ip, insecure=True, services=PROBE.services)) as node:
        for bearer in (None, token(Scope.ADMIN)):
            refused = await request(node, "/local/probe/look", bearer=bearer)
            assert refused.status_code == 403
            assert "a bearer token can be sniffed: use an ssh tunnel" in error_in(refused)["text"]
        assert (await request(node, "/healthz", "", method="GET")).status_code == 200


async def test_a_token_ends_with_its_key(caplog: pytest.LogCaptureFixture) -> None:
    file = KeyFile((KeyEntry.of(key_of(1)), KeyEntry(key_of(2).id, KeyState.RETIRED)))
    async with open_node(PROBE, keys=NodeKeys(file, "trionet")) as node:
        assert (await request(node, "/local/probe/look", bearer=token(seed=1))).status_code == 200
        assert (await request(node, "/local/probe/look", bearer=token(seed=2))).status_code == 401
        assert "is retired: make a new token" in caplog.text


def head_of(
    headers: list[tuple[bytes, bytes]], path: bytes = b"/", query: bytes = b"", client: str | None = "::1"
) -> Any:
    """Return the head of a request, as Hypercorn has it."""
    return {
        "type": "http",
        "method": "PUT",
        "raw_path": path,
        "path": "/",
        "query_string": query,
        "headers": headers,
        "client": client if client is None else (client, 1),
    }


def access_of_one_key() -> WebAccess:
    return WebAccess(LiveKeys(NodeKeys(KeyFile.of(key_of(1)), "trionet")), ["127.0.0.1:1"], time_us())


def test_the_scope_is_checked_again_once_the_body_has_come() -> None:
    bearer = f"Bearer {token(Scope.READ)}".encode()
    requester, router = access_of_one_key().requester(head_of([(b"authorization", bearer)])), Router()
    router.put("local", "probe", exposed_methods(Probe()))
    requester.check_method(router, "local", "probe", "look")
    router.put("local", "probe", exposed_methods({"look": print}))
    with pytest.raises(RequestRefused, match="scope call"):
        requester.check_call(router, Call(gid="local", service="probe", method="look"))


async def test_without_the_package_for_signatures_a_node_with_a_key_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "http_sf", None)
    with pytest.raises(ConfigError, match=r"pip install 'trionet\[secure\]'"):
        async with open_keyed(PROBE):
            pass


BEARER = b"Bearer " + token().encode()
ANY_HEADER = st.tuples(
    st.sampled_from([b"authorization", b"host", b"signature-input", b"signature", b"content-digest", b"Trionet-x"]),
    st.binary(max_size=40)
    | st.sampled_from([BEARER, b"127.0.0.1:1", b'trionet=("@method");created=1', b"trionet=:AA==:"]),
)
HEADERS = st.lists(ANY_HEADER, max_size=8) | st.lists(ANY_HEADER, max_size=1).map(
    lambda others: [(b"host", b"127.0.0.1:1"), (b"authorization", BEARER), *others]
)
"""Of the latter, more than a tenth are accepted."""


@given(
    headers=HEADERS,
    path=st.binary(max_size=20) | st.just(b"/"),
    query=st.binary(max_size=20),
    client=st.sampled_from(["127.0.0.1", "::1", "127.0.0.1", "::1", None, "10.0.0.1", "unix"]),
)
def test_any_head_is_accepted_or_refused(headers: Any, path: bytes, query: bytes, client: str | None) -> None:
    access, scope = access_of_one_key(), head_of(headers, path, query, client)
    try:
        requester = access.requester(scope)
    except RequestRefused as exc:
        refused = RefusedRequests()
        refused.note(scope, exc.status, exc.reason)
        assert refused.count == 1
    else:
        assert not requester.is_believed
        assert client in {"127.0.0.1", "::1"}
        assert [name for name, _ in headers].count(b"authorization") == 1


async def test_without_a_key_nothing_is_needed() -> None:
    async with open_node(PROBE) as node:
        assert (await request(node, "/local/probe/change")).json() == {"value": 1}
        assert (await request(node, "/local/probe/look", Authorization="Bearer nonsense")).json() == {"value": 1}
        assert node.statistics().requests_refused == 0
