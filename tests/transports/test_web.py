"""The HTTP face as people see it: paths, status codes, and bodies."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from quart import websocket

from tests.waiting import DEADLINE_S
from trionet import CallTimeout, NodeConfig, RemoteError, TemporarilyUnavailable
from trionet.nesting import current_depth
from trionet.transports.web_errors import error_body

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]

LIMIT_BYTES = 64 * 1024
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of no use here, but httpx would make one for each client


async def count_to(number: int) -> AsyncGenerator[int]:
    for item in range(number):
        yield item


def fail(kind: str) -> None:
    raise {"value": ValueError("bad"), "busy": TemporarilyUnavailable("busy"), "late": CallTimeout("late")}[kind]


async def wait() -> None:
    await trio.sleep_forever()


def echo(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


def add(one: int, other: int = 1) -> int:
    return one + other


def fail_long(text: str, times: int) -> None:
    raise ValueError(text * times)


async def flow_and_fail_long(text: str, times: int) -> AsyncGenerator[int]:
    yield 1
    raise ValueError(text * times)


def fail_named(length: int) -> None:
    raise type("E" * length, (Exception,), {})


def busy_long(length: int) -> None:
    raise TemporarilyUnavailable("x" * length)


METHODS = {
    "count_to": count_to,
    "fail": fail,
    "wait": wait,
    "echo": echo,
    "add": add,
    "large": lambda size: "x" * size,
    "fail_long": fail_long,
    "flow_and_fail_long": flow_and_fail_long,
    "fail_named": fail_named,
    "busy_long": busy_long,
}


@pytest.fixture
async def node(start_node: StartNode) -> Node:
    node = await start_node(NodeConfig(max_message_bytes=LIMIT_BYTES))
    await node.local.routes.put(METHODS, "shop")
    return node


@pytest.fixture
async def client(node: Node) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"http://{node.address}", trust_env=False, verify=TLS, timeout=DEADLINE_S
    ) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status", "name"),
    [
        ("PUT", "/local/shop/add", "[1]", {}, 200, ""),
        ("POST", "/local/shop/add", "[1]", {}, 200, ""),
        ("GET", "/healthz", "", {}, 200, ""),
        ("PUT", "/local/shop/add", "[1", {}, 400, "DecodeError"),
        ("PUT", "/local/shop/add", "1", {}, 400, "MalformedRequest"),
        ("PUT", "/local/shop/add", "[]", {}, 400, "MalformedRequest"),
        ("PUT", "/local/shop/add", '["a"]', {}, 400, "MalformedRequest"),
        ("PUT", "/local/shop/add?more=1", "[1]", {}, 400, "MalformedRequest"),
        ("PUT", "/local/status/get", '["nonsense"]', {}, 400, "UnknownKey"),
        ("PUT", "/local/shop/add", "[1]", {"Trionet-Timeout": "soon"}, 400, "MalformedRequest"),
        *(
            ("PUT", "/local/shop/add", "[1]", {"Trionet-Depth": depth}, 400, "MalformedRequest")
            for depth in ("", "9", "-1", "+1", "01", "1.0", "1,1", "one")
        ),
        ("PUT", "/local/shop/count_to", "[1]", {"Accept": "application/json"}, 400, "MalformedRequest"),
        ("PUT", "/local/shop/add", "[1]", {"Accept": "application/x-ndjson"}, 400, "MalformedRequest"),
        ("PUT", "/local/shop/add", "[1]", {"Origin": "http://example.com"}, 403, "NotPermitted"),
        ("PUT", "/nowhere/shop/add", "[1]", {}, 404, "GroupNotFound"),
        ("PUT", "/local/nobody/add", "[1]", {}, 404, "ServiceNotFound"),
        ("PUT", "/local/shop/nothing", "[1]", {}, 404, "MethodNotFound"),
        ("PUT", "/elsewhere", "[1]", {}, 404, "MethodNotFound"),
        ("GET", "/", "", {}, 404, "MethodNotFound"),
        ("GET", "/local/shop/add", "", {}, 405, "MalformedRequest"),
        ("DELETE", "/local/shop/add", "", {}, 405, "MalformedRequest"),
        ("PATCH", "/local/shop/add", "[1]", {}, 405, "MalformedRequest"),
        ("PUT", "/healthz", "[1]", {}, 405, "MalformedRequest"),
        ("PUT", "/local/shop/add", " " * (LIMIT_BYTES + 1), {}, 413, "MessageTooLarge"),
        ("PUT", "/local/shop/fail", '["value"]', {}, 500, "RemoteError"),
        ("PUT", "/local/shop/large", f"[{LIMIT_BYTES}]", {}, 500, "RemoteError"),
        ("PUT", "/local/shop/fail", '["busy"]', {}, 503, "TemporarilyUnavailable"),
        ("PUT", "/local/shop/fail", '["late"]', {}, 504, "CallTimeout"),
        ("PUT", "/local/shop/wait", "[]", {"Trionet-Timeout": "0.01"}, 504, "CallTimeout"),
        ("PUT", "/local/shop/add", "[1]", {"Trionet-Timeout": "0"}, 504, "CallTimeout"),
    ],
)
async def test_each_outcome_has_its_status_and_each_failure_the_body_of_failures(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    content: str,
    headers: dict[str, str],
    status: int,
    name: str,
) -> None:
    response = await client.request(method, path, content=content, headers=headers)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    if status == 200:
        assert "error" not in response.json()
        return
    (error,) = response.json().values()
    assert list(response.json()) == ["error"]
    assert error["name"] == name
    assert isinstance(error["code"], int)
    assert error["text"]


@pytest.mark.parametrize(("headers", "inside"), [({}, 1), ({"Trionet-Depth": "0"}, 1), ({"Trionet-Depth": "8"}, 8)])
async def test_the_depth_of_a_call_is_in_a_header_and_a_stranger_has_none(
    node: Node, client: httpx.AsyncClient, headers: dict[str, str], inside: int
) -> None:
    await node.local.routes.put({"depth": current_depth}, "nesting")
    response = await client.put("/local/nesting/depth", json=[], headers=headers)
    assert response.json() == {"value": inside}


async def test_a_body_over_the_limit_is_told_the_limit_and_the_setting(client: httpx.AsyncClient) -> None:
    response = await client.put("/local/shop/add", content=" " * (LIMIT_BYTES + 1))
    assert f"{LIMIT_BYTES:,} bytes: max_message_bytes" in response.json()["error"]["text"]


@pytest.mark.parametrize(
    ("method", "args", "status"),
    [
        ("fail_long", ["x", 12 * 1024 * 1024], 500),
        ("fail_long", ["\x01", LIMIT_BYTES], 500),  # six bytes each in JSON
        ("fail_long", ["\U0001f600", LIMIT_BYTES // 4], 500),
        ("fail_long", ["x", LIMIT_BYTES - 300], 500),
        ("fail_long", ["a\n", 1_000_000], 500),
        ("fail_named", [LIMIT_BYTES], 500),
        ("busy_long", [LIMIT_BYTES], 503),
        ("flow_and_fail_long", ["x", 12 * 1024 * 1024], 200),
    ],
)
async def test_no_body_is_over_the_limit_nor_is_that_of_a_failure(
    client: httpx.AsyncClient, method: str, args: list[Any], status: int
) -> None:
    response = await client.put(f"/local/shop/{method}", json=args)
    assert response.status_code == status
    *_, last = response.text.splitlines()
    assert len(last) <= LIMIT_BYTES
    error = json.loads(last)["error"]
    assert error["name"] == ("TemporarilyUnavailable" if method == "busy_long" else "RemoteError")
    assert error["text"]


async def test_the_end_of_a_long_error_is_told_and_a_limit_of_nothing_leaves_its_name() -> None:
    error = RemoteError("x" * 1000 + "end", type_name="T", message="y" * 1000 + "end", traceback="z" * 1000 + "end")
    for limit_bytes in range(100, 4_000, 50):
        body = error_body(error, limit_bytes)
        assert len(body) <= limit_bytes
        told = json.loads(body)["error"]
        assert (told["code"], told["name"]) == (13, "RemoteError")
        if limit_bytes >= 200:
            assert all(told[name].endswith("end") for name in ("text", "message", "traceback"))
            assert told["type_name"] == "T"
    assert json.loads(error_body(error, 0))["error"] == {"code": 13, "name": "RemoteError", "text": ""}


async def test_a_wrong_http_method_is_told_which_are_right(client: httpx.AsyncClient) -> None:
    for path, methods in (("/local/shop/add", {"PUT", "POST"}), ("/healthz", {"GET", "HEAD"})):
        response = await client.request("DELETE", path)
        assert response.status_code == 405
        assert set(response.headers["Allow"].split(", ")) - {"OPTIONS"} == methods


async def test_a_handlers_exception_shows_its_type_message_and_traceback(client: httpx.AsyncClient) -> None:
    error = (await client.put("/local/shop/fail", json=["value"])).json()["error"]
    assert (error["code"], error["type_name"], error["message"]) == (13, "ValueError", "bad")
    assert error["text"] == "ValueError: bad"
    assert "in fail" in error["traceback"]


async def test_a_value_comes_back_in_the_json_form_of_the_codec(client: httpx.AsyncClient) -> None:
    response = await client.put("/local/shop/echo", content='[{"$tuple": [1]}, {"$bytes": "aGk="}]')
    assert response.json() == {"value": [[{"$tuple": [1]}, {"$bytes": "aGk="}], {}]}


async def test_query_parameters_are_keyword_arguments_in_json_or_a_bare_word(client: httpx.AsyncClient) -> None:
    query = "?a=1&b=word&c=[1,null]&d=%22text%22&e=&f=1.5&g=true&h=a%26b+c&i={%22$tuple%22:[1]}"
    expected = {
        "a": 1,
        "b": "word",
        "c": [1, None],
        "d": "text",
        "e": "",
        "f": 1.5,
        "g": True,
        "h": "a&b c",
        "i": {"$tuple": [1]},
    }
    assert (await client.put(f"/local/shop/echo{query}", content="[]")).json() == {"value": [[], expected]}


@pytest.mark.parametrize("value", ['{"$type":["no.such:Type",{}]}', '{"$set":[[]]}', '{"$unknown":1}'])
async def test_a_query_parameter_in_json_that_is_no_value_is_refused_and_no_text(
    client: httpx.AsyncClient, value: str
) -> None:
    response = await client.put("/local/shop/echo", params={"a": value}, content="[]")
    assert (response.status_code, response.json()["error"]["name"]) == (400, "DecodeError")


async def test_a_group_wide_call_shows_both_maps_and_the_value_where_there_is_one(
    client: httpx.AsyncClient, node: Node
) -> None:
    response = await client.put("/all/status/get", json=["heap_used"])
    answer = response.json()
    assert list(answer) == ["value", "values", "errors"]
    assert answer["values"] == {node.sid: answer["value"]}
    assert answer["errors"] == {}
    remote = {"service": "shop", "method": "fail"}
    answer = (await client.put("/all/comm/send", json=[["value"], remote])).json()
    assert list(answer) == ["values", "errors"]
    assert answer["values"] == {}
    assert answer["errors"][node.sid]["$error"]["type_name"] == "ValueError"


async def test_a_stream_is_lines_of_json(client: httpx.AsyncClient) -> None:
    response = await client.put("/local/shop/count_to", json=[3])
    assert response.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert lines == [{"item": 0}, {"item": 1}, {"item": 2}, {"end": True}]


async def test_a_head_request_has_no_body(client: httpx.AsyncClient) -> None:
    for path, status in (("/healthz", 200), ("/local/shop/add", 405), ("/nowhere", 404)):
        response = await client.head(path)
        assert (response.status_code, response.content) == (status, b"")
    assert (await client.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("origin", "host", "is_permitted"),
    [
        (None, None, True),
        (None, "node.example", True),  # no browser
        ("http://{host}", None, True),
        ("http://localhost:{port}", "localhost:{port}", True),
        ("http://[::1]:{port}", "[::1]:{port}", True),
        ("http://example.com", None, False),
        ("http://127.0.0.1", None, False),  # another port is another origin
        ("http://localhost:{port}", None, False),
        ("http://node.example:{port}", "node.example:{port}", False),  # a name that was rebound to this address
        ("http://127.0.0.1.example:{port}", "127.0.0.1.example:{port}", False),
        ("null", None, False),
        ("", None, False),
        ("file://", None, False),
        ("http://[", "[", False),
        ("nonsense", "nonsense", False),
        ("chrome-extension://127.0.0.1", None, False),
        ("chrome-extension://{host}", None, False),
        ("http://user@{host}", None, False),
    ],
)
@pytest.mark.parametrize("path", ["/local/shop/add", "/healthz", "/nowhere"])
async def test_pages_of_others_are_refused_whatever_they_ask_for(
    client: httpx.AsyncClient, node: Node, path: str, origin: str | None, host: str | None, is_permitted: bool
) -> None:
    names = {"host": str(node.address), "port": node.address.port}
    headers = {name: value.format(**names) for name, value in (("Origin", origin), ("Host", host)) if value is not None}
    response = await client.put(path, content="[1]", headers=headers)
    assert (response.status_code == 403) is not is_permitted
    if not is_permitted:
        assert response.json()["error"]["name"] == "NotPermitted"
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_two_origins_are_none_of_this_node(client: httpx.AsyncClient, node: Node) -> None:
    headers = [("Origin", f"http://{node.address}"), ("Origin", f"http://{node.address}")]
    assert (await client.put("/local/shop/add", content="[1]", headers=headers)).status_code == 403


async def test_a_picture_in_a_foreign_page_is_refused_though_it_has_no_origin(client: httpx.AsyncClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert (await client.get("/healthz", headers=headers)).status_code == 403


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 403), ("PUT", 403)])
async def test_a_reader_may_follow_a_link_to_this_node_and_send_it_no_form(
    client: httpx.AsyncClient, method: str, status: int
) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    path = "/healthz" if method == "GET" else "/local/shop/add"
    assert (await client.request(method, path, content="[1]", headers=headers)).status_code == status


async def test_of_two_sites_that_a_page_is_said_to_be_of_none_counts(client: httpx.AsyncClient) -> None:
    headers = [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]
    assert (await client.put("/local/shop/add", content="[1]", headers=headers)).status_code == 403


async def test_a_websocket_of_a_foreign_page_is_refused(node: Node, client: httpx.AsyncClient) -> None:
    async def mine() -> None:
        await websocket.accept()

    assert node.app is not None
    node.app.add_websocket("/mine", view_func=mine)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    response = await client.get("/mine", headers=upgrade | {"Origin": "http://example.com"})
    assert response.status_code == 403
    async with client.stream("GET", "/mine", headers=upgrade) as accepted:
        assert accepted.status_code == 101


async def test_a_route_that_was_added_and_fails_is_a_failure_like_any_other(
    node: Node, client: httpx.AsyncClient
) -> None:
    async def mine() -> str:
        raise LookupError("nothing here")

    assert node.app is not None
    node.app.add_url_rule("/mine", view_func=mine)
    error = (await client.get("/mine")).json()["error"]
    assert (error["name"], error["type_name"]) == ("RemoteError", "LookupError")


async def test_a_call_that_nobody_waits_for_leaves_the_connection_as_it_was(client: httpx.AsyncClient) -> None:
    with trio.move_on_after(0.05):
        await client.put("/local/shop/wait", json=[])
    assert (await client.put("/local/shop/add", json=[1])).json() == {"value": 2}


async def test_keyword_arguments_of_one_name_count_once(client: httpx.AsyncClient) -> None:
    assert (await client.put("/local/shop/echo?a=1&a=2", content="[]")).json() == {"value": [[], {"a": 1}]}
