"""The HTTP face as people see it: paths, status codes, and bodies."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet import CallTimeout, NodeConfig, TemporarilyUnavailable
from trionet.nesting import current_depth

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


METHODS = {"count_to": count_to, "fail": fail, "wait": wait, "echo": echo, "add": add, "large": lambda size: "x" * size}


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
