"""Calls that are wrong, too large, or of handlers that fail: each gets its error."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest
import trio

from tests.robustness.wire import CALL, MEGABYTE, Response, Target, Wire, check_refused, request_bytes

HUNDRED_MEGABYTES = 100 * MEGABYTE


# ---------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/nowhere/trouble/echo", "GroupNotFound"),
        ("/local/nobody/echo", "ServiceNotFound"),
        ("/local/trouble/nothing", "MethodNotFound"),
        ("/local/trouble/__init__", "MethodNotFound"),
        ("/local/trouble/begun", "MethodNotFound"),
        ("/local/trouble", "MethodNotFound"),
        ("/local/trouble/echo/more", "MethodNotFound"),
        ("/local/trouble/echo/", "MethodNotFound"),
        ("/", "MethodNotFound"),
        ("/healthz/x", "MethodNotFound"),
        ("/" + "x" * 5000 + "/y/z", "GroupNotFound"),
        ("/%00/%0d%0a/%ff", "GroupNotFound"),
        ("/../../etc/passwd", "MethodNotFound"),
        ("/../etc/passwd", "GroupNotFound"),
        ("?x", "MethodNotFound"),
        ("http://[::1/x", "MethodNotFound"),
        ("nonsense", "MethodNotFound"),
        ("//trouble/echo", "MethodNotFound"),
    ],
)
async def test_what_is_not_there_is_not_found(node: Target, path: str, name: str) -> None:
    error = check_refused(await node.ask(path, "[]"), 404)
    assert error["name"] == name
    assert error["code"] == 10


# ------------------------------------------------------------------------------------------------------ malformed calls


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[1,]", b"[NaN]", b"\xff\xfe[", b"[1", b'["\\ud800"]', b"[1] [2]", b"\x00" * 100, b"[1e999]"],
)
async def test_a_body_that_is_not_json_is_refused(node: Target, body: bytes) -> None:
    assert check_refused(await node.ask(CALL, body), 400)["name"] == "DecodeError"


@pytest.mark.parametrize(
    "body", ["{}", '{"args": []}', '"text"', "5", "null", "true", '{"$set": [1]}', '{"$uuid": "x"}']
)
async def test_arguments_that_are_no_list_are_refused(node: Target, body: str) -> None:
    check_refused(await node.ask(CALL, body), 400)


@pytest.mark.parametrize(
    "body",
    ['[{"$nonsense": 1}]', '[{"$int": []}]', '[{"$map": 5}]', '[{"$type": ["os:system", {}]}]', '[{"$error": {}}]'],
)
async def test_json_of_the_wrong_shape_is_refused(node: Target, body: str) -> None:
    assert check_refused(await node.ask(CALL, body), 400)["name"] == "DecodeError"


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", "[]"),
        ("", "[1, 2, 3]"),
        ("", '["one"]'),
        ("", "[1.5]"),
        ("", "[null]"),
        ("", "[true]"),
        ("", '[1, ["name"]]'),
        ("?colour=1", "[1]"),
        ("?number=2", "[1]"),
        ("?flag=perhaps", "[1]"),
        ("?flag=1", "[1]"),
    ],
)
async def test_arguments_that_do_not_fit_the_signature_are_refused(node: Target, query: str, body: str) -> None:
    error = check_refused(await node.ask(f"/local/trouble/typed{query}", body), 400)
    assert error["name"] == "MalformedRequest"
    assert "typed" in error["text"]


async def test_arguments_that_fit_are_taken_in_any_form(node: Target) -> None:
    for query, body, value in [
        ("", "[1]", [1, "?", False]),
        ("?flag=true", '[1, "a"]', [1, "a", True]),
        ("?name=a&number=7", "[]", [7, "a", False]),
    ]:
        response = await node.ask(f"/local/trouble/typed{query}", body)
        assert (response.status, response.json()) == (200, {"value": value})


@pytest.mark.parametrize("depth", [1_000, 400_000])
@pytest.mark.parametrize(("opening", "ending"), [(b"[", b"]"), (b'{"a":', b"}"), (b'{"$tuple":[', b"]}")])
async def test_deep_nesting_is_refused(node: Target, depth: int, opening: bytes, ending: bytes) -> None:
    error = check_refused(await node.ask(CALL, b"[" + opening * depth + b"1" + ending * depth + b"]"), 400)
    assert "nested" in error["text"]


async def test_a_thousand_deep_nesting_that_is_not_closed_is_refused(node: Target) -> None:
    check_refused(await node.ask(CALL, b"[" * 1_000), 400)


@pytest.mark.parametrize(
    "headers",
    [
        {"Trionet-Timeout": "soon"},
        {"Trionet-Timeout": "nan"},
        {"Trionet-Timeout": "inf"},
        {"Trionet-Timeout": ""},
        {"Trionet-Caller": "nobody"},
        {"Trionet-Caller": "127.0.0.1:99999"},
        {"Trionet-Caller": ""},
        {"Host": "no..name"},
        {"Host": ".:80"},
        {"Host": "x" * 64},
        {"Host": "a." + "x" * 64 + ".b:80"},
    ],
    ids=str,
)
async def test_headers_of_the_wrong_form_are_refused(node: Target, headers: dict[str, str]) -> None:
    check_refused(await node.ask(CALL, "[]", headers=headers), 400)


# ------------------------------------------------------------------------------------------------------------ too large


async def read_while_sending(wire: Wire, head: bytes, parts: int, part: bytes) -> Response:
    """Send a large body, until it is refused or sent."""
    response: Response | None = None
    with trio.CancelScope() as sending:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                nonlocal response
                response = await wire.response()

            try:
                await wire.send(head)
                for _ in range(parts):
                    await wire.send(part)
            except trio.BrokenResourceError:
                pass  # refused, and cut off; the answer is there to be read
    assert not sending.cancelled_caught
    assert response is not None
    return response


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_body_of_100_mb_is_refused_and_the_client_can_read_that(
    node: Target, framing: str, method: str
) -> None:
    headers = {"Host": node.host, "Content-Type": "application/json"}
    part = b"1" * MEGABYTE
    if framing == "chunked":
        headers["Transfer-Encoding"] = "chunked"
        part = b"%x\r\n%b\r\n" % (len(part), part)
    else:
        headers["Content-Length"] = str(HUNDRED_MEGABYTES)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with node.connect() as wire:
        head_bytes = f"{method} {CALL} HTTP/1.1\r\n{head}\r\n".encode()
        response = await read_while_sending(wire, head_bytes, 100, part)
    assert check_refused(response, 413)["name"] == "MessageTooLarge"


@pytest.mark.slow
async def test_a_client_that_reads_only_when_all_is_sent_learns_of_the_refusal(node: Target) -> None:
    """The node reads on for a while: were it to close at once, that would reset the connection under its hands."""
    resets = 0
    for _ in range(10):
        async with node.connect() as wire:
            try:
                await wire.send(request_bytes(CALL, b"1" * (30 * MEGABYTE)))
            except trio.BrokenResourceError:
                resets += 1
            check_refused(await wire.response(), 413)
    assert resets <= 3  # a machine that stalls for longer than "a while" may have some


async def test_a_client_that_expects_100_continue_is_refused_before_it_sends(node: Target) -> None:
    headers = {"Host": node.host, "Content-Length": str(HUNDRED_MEGABYTES), "Expect": "100-continue"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with node.connect() as wire:
        response = await wire.exchange(f"PUT {CALL} HTTP/1.1\r\n{head}\r\n".encode())
    check_refused(response, 413)


async def test_an_announced_length_beyond_all_bounds_is_refused(node: Target) -> None:
    for length in ("9" * 18, str(2**63), "9" * 20):
        async with node.connect() as wire:
            response = await wire.exchange(
                f"PUT {CALL} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
            )
        assert response.status in {400, 413}


@pytest.mark.slow
async def test_a_body_just_within_the_limit_is_taken(node: Target) -> None:
    body = b'["' + b"x" * (16 * MEGABYTE - 4) + b'"]'
    async with node.connect() as wire:
        response = await wire.exchange(request_bytes("/local/trouble/typed", body))
    assert check_refused(response, 400)["name"] == "MalformedRequest"  # it was read, and is no int
    async with node.connect() as wire:
        response = await read_while_sending(wire, request_bytes("/local/trouble/typed", b" " + body), 0, b"")
    check_refused(response, 413)


@pytest.mark.slow
async def test_an_answer_over_the_limit_is_an_error_of_the_handler(node: Target) -> None:
    error = check_refused(await node.ask("/local/trouble/large", json.dumps([17 * MEGABYTE])), 500)
    assert error["name"] == "RemoteError"
    assert error["type_name"].endswith("MessageTooLarge")


# --------------------------------------------------------------------------------------------------- handlers that fail


@pytest.mark.parametrize("method", ["fail", "fail_soon"])
@pytest.mark.parametrize(
    ("kind", "type_name", "message"),
    [
        ("value", "ValueError", "nothing good"),
        ("group", "ExceptionGroup", "several (2 sub-exceptions)"),
        ("base group", "BaseExceptionGroup", "several (1 sub-exception)"),
        ("exit", "SystemExit", "3"),
        ("generator exit", "GeneratorExit", ""),
        ("odd", "tests.robustness.trouble.Odd", "hey"),
    ],
)
async def test_a_handlers_exception_is_a_500_with_its_type_and_message(
    node: Target, method: str, kind: str, type_name: str, message: str
) -> None:
    error = check_refused(await node.ask(f"/local/trouble/{method}", json.dumps([kind])), 500)
    assert (error["name"], error["code"]) == ("RemoteError", 13)
    assert (error["type_name"], error["message"]) == (type_name, message)
    assert "in fail" in error["traceback"]


async def test_a_handler_that_fails_does_not_end_the_connection(node: Target) -> None:
    async with node.connect() as wire:
        for kind in ("value", "exit", "odd"):
            check_refused(await wire.exchange(request_bytes("/local/trouble/fail", json.dumps([kind]))), 500)
        response = await wire.exchange(request_bytes(CALL, "[1]"))
    assert response.json() == {"value": [[1], {}]}


async def test_a_handler_that_never_returns_holds_nobody_else_up(node: Target) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(20):
            wire = await stack.enter_async_context(node.connect())
            await wire.send(request_bytes("/local/trouble/wait", "[]"))
        await node.wait_running(20)
        await node.check()
    await node.wait_running(0)


@pytest.mark.slow
async def test_the_callers_deadline_ends_a_handler_that_never_returns(node: Target) -> None:
    response = await node.ask("/local/trouble/wait", "[]", headers={"Trionet-Timeout": "0.3"})
    assert check_refused(response, 504)["name"] == "CallTimeout"
    assert (await node.call("count"))[1] == 0


async def test_a_call_whose_time_is_over_is_not_started(node: Target) -> None:
    begun = (await node.call("count"))[0]
    for timeout in ("0", "-1", "0.000000"):
        response = await node.ask("/local/trouble/wait", "[]", headers={"Trionet-Timeout": timeout})
        check_refused(response, 504)
    assert (await node.call("count"))[0] == begun
