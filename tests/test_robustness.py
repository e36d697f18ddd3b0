"""What a node withstands: a real process, real sockets, bytes by hand. After each test it still serves everyone else."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import httpx
import pytest
import trio

from tests.waiting import DEADLINE_S
from tests.wire import Response, Target, Wire, open_target, request_bytes
from trionet import NodeConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

MEGABYTE = 1024 * 1024
HUNDRED_MEGABYTES = 100 * MEGABYTE
CALL = "/local/trouble/echo"

only_on_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")


@pytest.fixture(scope="module")
def process() -> Generator[Target]:
    with open_target() as target:
        yield target
        target.process.terminate()
        target.check_end()


@pytest.fixture
async def node(process: Target) -> AsyncGenerator[Target]:
    """A node that must serve after the test as it did before."""
    with trio.fail_after(DEADLINE_S):
        yield process
    await process.check()


async def attack(node: Target, data: bytes) -> bytes:
    """Write `data` on a connection of its own, and return all that comes back until the node closes it."""
    async with node.connect() as wire, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            try:
                await wire.send(data)
                await wire.stream.send_eof()
            except trio.BrokenResourceError:
                pass  # it was cut off

        return await wire.rest()


async def answer_to(node: Target, data: bytes) -> Response | None:
    """Write `data` on a connection of its own, and return the response; None if the node closes without one."""
    async with node.connect() as wire:
        await wire.send(data)
        return await wire.response() if await wire.has_more() else None


def check_refused(response: Response, status: int) -> Any:
    """Check that it is a failure with that status and the body that every failure has; return what the body says."""
    assert response.status == status, response
    error = response.json()["error"]
    assert isinstance(error["code"], int)
    assert isinstance(error["name"], str)
    assert isinstance(error["text"], str)
    assert error["text"]
    return error


# ----------------------------------------------------------------------------------------------------- what is not there


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


# ------------------------------------------------------------------------------------------------------- malformed calls


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[1,]", b"[NaN]", b"\xff\xfe[", b"[1", b'["\\ud800"]', b"[1] [2]", b"\x00" * 100, b"[1e999]"],
)
async def test_a_body_that_is_not_json_is_refused(node: Target, body: bytes) -> None:
    assert check_refused(await node.ask(CALL, body), 400)["name"] == "DecodeError"


@pytest.mark.parametrize("body", ["{}", '{"args": []}', '"text"', "5", "null", "true", '{"$set": [1]}', '{"$uuid": "x"}'])
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


@pytest.mark.parametrize("depth", [1_000, 1_000_000])
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
    ],
    ids=str,
)
async def test_headers_of_the_wrong_form_are_refused(node: Target, headers: dict[str, str]) -> None:
    check_refused(await node.ask(CALL, "[]", headers=headers), 400)


# ------------------------------------------------------------------------------------------------------------- too large


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
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:
        response = await client.put(f"http://{node.host}{CALL}", content=b"1" * HUNDRED_MEGABYTES)
    assert response.status_code == 413
    assert response.json()["error"]["name"] == "MessageTooLarge"


async def test_a_client_that_expects_100_continue_is_refused_before_it_sends(node: Target) -> None:
    headers = {"Host": node.host, "Content-Length": str(HUNDRED_MEGABYTES), "Expect": "100-continue"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with node.connect() as wire:
        response = await wire.exchange(f"PUT {CALL} HTTP/1.1\r\n{head}\r\n".encode())
    check_refused(response, 413)


async def test_an_announced_length_beyond_all_bounds_is_refused(node: Target) -> None:
    for length in ("9" * 18, str(2**63), "9" * 20):
        async with node.connect() as wire:
            response = await wire.exchange(f"PUT {CALL} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
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


# ---------------------------------------------------------------------------------------------------- handlers that fail


@pytest.mark.parametrize("method", ["fail", "fail_soon"])
@pytest.mark.parametrize(
    ("kind", "type_name", "message"),
    [
        ("value", "ValueError", "nothing good"),
        ("group", "ExceptionGroup", "several (2 sub-exceptions)"),
        ("base group", "BaseExceptionGroup", "several (1 sub-exception)"),
        ("exit", "SystemExit", "3"),
        ("generator exit", "GeneratorExit", ""),
        ("odd", "tests.trouble.Odd", "hey"),
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


# ------------------------------------------------------------------------------------------------ clients that disconnect


async def vanish(wire: Wire, how: str) -> None:
    """Go away."""
    if how == "reset":
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.stream.socket.close()


ways_to_go = pytest.mark.parametrize("how", ["close", "reset"])


@ways_to_go
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"P",
        b"PUT /local/trouble/e",
        b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\nContent-Len",
        request_bytes(CALL, "[1, 2, 3]")[:-1],
        request_bytes(CALL, headers={"Content-Length": "1000"}),
        request_bytes(CALL, b"5\r\n[1, 2", headers={"Transfer-Encoding": "chunked", "Content-Length": ""}).replace(
            b"Content-Length: \r\n", b""
        ),
        request_bytes(CALL, "[1]") * 10,
    ],
    ids=["nothing", "a byte", "the first line", "the headers", "the body", "no body", "a chunk", "whole requests"],
)
async def test_a_client_that_disconnects_halfway_harms_nobody(node: Target, sent: bytes, how: str) -> None:
    for _ in range(5):
        async with node.connect() as wire:
            await wire.send(sent)
            await vanish(wire, how)


@ways_to_go
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_handler_is_cancelled_when_its_client_goes_away(node: Target, how: str, method: str) -> None:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(node.connect()) for _ in range(3)]
        for wire in wires:
            await wire.send(request_bytes("/local/trouble/wait", "[]", method=method))
        await node.wait_running(3)
        await vanish(wires[0], how)
        await node.wait_running(2)
        for wire in wires[1:]:
            await vanish(wire, how)
    await node.wait_running(0)


@ways_to_go
async def test_a_stream_ends_when_its_client_goes_away(node: Target, how: str) -> None:
    async with node.connect(receive_buffer=4096) as wire:
        await wire.send(request_bytes("/local/trouble/flow", "[]"))
        await node.wait_running(1)
        await vanish(wire, how)
    await node.wait_running(0)


async def test_a_client_that_closes_its_sending_side_alone_is_taken_to_have_gone(node: Target) -> None:
    """HTTP can't tell the two apart: a handler in progress is cancelled, and an answer that was ready is still sent."""
    async with node.connect() as wire:
        await wire.send(request_bytes("/local/trouble/wait", "[]"))
        await node.wait_running(1)
        await wire.stream.send_eof()
        await node.wait_running(0)


@only_on_linux
@pytest.mark.slow
async def test_a_client_that_has_gone_leaves_nothing_open(node: Target) -> None:
    await node.check()
    before = await node.open_files()
    for sent in (b"", b"PUT /lo", request_bytes(CALL, "[1]"), request_bytes(CALL, "[1]")[:-1]):
        for _ in range(50):
            async with node.connect() as wire:
                await wire.send(sent)
    for _ in range(50):
        async with node.connect() as wire:
            assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
        async with node.connect() as wire:
            await wire.send(request_bytes(CALL, "[1]"))
            await wire.stream.send_eof()
            await wire.rest()
    while await node.open_files() > before + 3:
        await node.check()


# ---------------------------------------------------------------------------------------------------------- slow clients


async def test_a_client_that_dribbles_is_served_in_the_end_and_holds_nobody_up(node: Target) -> None:
    """Between its pieces the node serves others, so that the pieces do arrive one by one."""
    async with node.connect() as wire:
        for byte in request_bytes(CALL, "[1, 2, 3]"):
            await wire.send(bytes([byte]))
            assert await node.call("echo", byte) == [[byte], {}]
        assert (await wire.response()).json() == {"value": [[1, 2, 3], {}]}


@pytest.mark.slow
async def test_clients_that_do_not_read_their_answers_hold_nobody_up(node: Target) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(10):
            wire = await stack.enter_async_context(node.connect(receive_buffer=4096))
            await wire.send(request_bytes("/local/trouble/large", json.dumps([4 * MEGABYTE])) * 5)
        for _ in range(20):
            await node.check()


@pytest.mark.slow
async def test_a_slow_reader_gets_its_whole_answer(node: Target) -> None:
    async with node.connect(receive_buffer=4096) as wire:
        await wire.send(request_bytes("/local/trouble/large", json.dumps([4 * MEGABYTE])))
        await node.check()
        response = await wire.response()
    assert response.json() == {"value": "x" * (4 * MEGABYTE)}


@pytest.mark.slow
async def test_a_head_that_does_not_come_to_its_end_is_cut_off() -> None:
    with open_target(NodeConfig(idle_timeout_s=0.5)) as node, trio.fail_after(DEADLINE_S):
        for sent in (b"", b"P", b"PUT /local/trouble/e", request_bytes(CALL, "[1]")):
            async with node.connect() as wire:
                await wire.send(sent)
                await wire.rest()
        async with node.connect() as wire, trio.open_nursery() as nursery:  # each byte alone is no sign of life

            @nursery.start_soon
            async def dribble() -> None:
                try:
                    await wire.send(b"PUT / HTTP/1.1\r\nX: ")
                    while True:
                        await wire.send(b"x")
                        await node.check()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

            await wire.rest()
        await node.check()
        await node.end()


@pytest.mark.slow
async def test_a_client_that_reads_nothing_of_its_answer_is_cut_off() -> None:
    with open_target(NodeConfig(idle_timeout_s=0.5)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            for _ in range(5):
                wire = await stack.enter_async_context(node.connect(receive_buffer=4096))
                await wire.send(request_bytes("/local/trouble/flow", "[]"))
            while await node.call("count") != [5, 0]:
                pass
            await node.check()
        await node.end()


@pytest.mark.slow
async def test_a_body_that_does_not_come_to_its_end_is_refused() -> None:
    with open_target(NodeConfig(body_timeout_s=0.5)) as node, trio.fail_after(DEADLINE_S):
        async with node.connect() as wire:
            await wire.send(request_bytes(CALL, b"[1", headers={"Content-Length": "1000"}))
            check_refused(await wire.response(), 408)
        await node.check()
        await node.end()


# ------------------------------------------------------------------------------------------------------ many connections


def permit_open_files(count: int) -> None:
    """Let this process have so many files open, or skip the test."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            pytest.skip(f"only {hard} open files are permitted here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@pytest.mark.slow
async def test_a_thousand_idle_connections_hold_nobody_up(node: Target) -> None:
    permit_open_files(2_000)
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(node.connect()) for _ in range(1_000)]
        for wire in wires[:100]:
            await wire.exchange(request_bytes(CALL, "[1]"))
        for wire in wires[100:200]:
            await wire.send(b"PUT /local")
        await node.check()
        for wire in wires[:100]:
            assert (await wire.exchange(request_bytes(CALL, "[2]"))).status == 200


@pytest.mark.slow
async def test_when_there_are_too_many_connections_the_longest_idle_gives_way() -> None:
    with open_target(NodeConfig(max_connections=6)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(node.connect()) for _ in range(6)]
            for wire in (*wires, wires[0]):
                assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            # Now the second has been idle longest, then the third; the last one is in use.
            await wires[5].send(request_bytes("/local/trouble/wait", "[]"))
            await node.wait_running(1)  # takes connections, too: each of its calls made room for itself
            assert await wires[1].rest() == b""
            assert (await wires[0].exchange(request_bytes(CALL, "[2]"))).status == 200
            for _ in range(20):
                await node.check()
            assert (await node.call("count"))[1] == 1
        await node.wait_running(0)
        await node.end()


@pytest.mark.slow
async def test_when_all_connections_are_in_use_a_new_one_is_refused() -> None:
    with open_target(NodeConfig(max_connections=5)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(node.connect()) for _ in range(5)]
            for wire in wires:
                await wire.send(request_bytes("/local/trouble/wait", "[]", headers={"Trionet-Timeout": "100"}))
            refused = False
            while not refused:  # until all five are in use, the others are idle and give way
                async with node.connect() as wire:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await wire.send(request_bytes("/local/trouble/count", "[]"))
                    refused = not await wire.has_more()
        await node.wait_running(0)
        await node.end()


@pytest.mark.slow
async def test_a_burst_of_connections_leaves_no_more_open_than_permitted() -> None:
    with open_target(NodeConfig(max_connections=10)) as node, trio.fail_after(DEADLINE_S):
        closed = 0
        enough_closed = trio.Event()

        async def hold(sent: bytes) -> None:
            nonlocal closed
            try:
                async with node.connect() as wire:
                    await wire.send(sent)
                    await wire.rest()
            except OSError:
                pass
            closed += 1
            if closed == 90:
                enough_closed.set()

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(hold, (b"", b"GET ", request_bytes(CALL, "[1]"))[number % 3])
            await enough_closed.wait()
            await node.check()
            nursery.cancel_scope.cancel()
        await node.end()


# ------------------------------------------------------------------------------------------------------------- stopping


@pytest.mark.slow
async def test_a_node_stops_quickly_whatever_its_clients_do() -> None:
    with open_target() as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:

            async def connect(sent: bytes, count: int = 3) -> None:
                for _ in range(count):
                    wire = await stack.enter_async_context(node.connect(receive_buffer=4096))
                    await wire.send(sent)

            await connect(b"")
            await connect(b"PUT /loc")
            await connect(request_bytes(CALL, "[1]")[:-1])
            await connect(request_bytes(CALL, b"", headers={"Content-Length": "100000"}))
            await connect(request_bytes("/local/trouble/large", json.dumps([8 * MEGABYTE])) * 4)
            await connect(request_bytes("/local/trouble/flow", "[]"))
            await connect(request_bytes("/local/trouble/wait", "[]"))
            await connect(UPGRADE)
            await connect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            await connect(b"\x00" * 100)
            await node.wait_running(6)
            took_s = await node.end()
    assert took_s < 20  # its grace for calls in progress is 2 s; the rest is for a machine that stalls


@pytest.mark.slow
async def test_idle_connections_do_not_delay_the_end_at_all() -> None:
    with open_target(NodeConfig(stop_grace_s=50.0)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(node.connect()) for _ in range(20)]
            for wire in wires[5:]:
                assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            assert await node.end() < 30
            for wire in wires:
                await wire.rest()


@pytest.mark.slow
async def test_a_stopping_node_answers_the_call_in_progress_and_refuses_new_ones() -> None:
    with open_target(NodeConfig(stop_grace_s=50.0)) as node, trio.fail_after(DEADLINE_S):
        async with node.connect() as wire, node.connect() as busy:
            assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            await busy.send(request_bytes(CALL, "[1, 2, 3]")[:-1])
            await busy.send(b"")
            await node.check()
            async with node.connect() as stopper:
                assert (await stopper.exchange(request_bytes("/local/status/stop", "[]"))).status == 200
            await wire.rest()
            with pytest.raises(OSError, match="refused"):
                await node.ask(CALL, "[]")
            await busy.send(b"]")
            check_refused(await busy.response(), 503)
            await busy.rest()
            node.check_end()


# ----------------------------------------------------------------------------------------------------- broken protocols


async def test_header_floods_harm_nobody(node: Target) -> None:
    for header in (b"X: y", b"Host: x", b"Content-Length: 3", b"X" * 100_000 + b": y", b"X: " + b"y" * 100_000, b"X:"):
        flood = (header + b"\r\n") * (500_000 // len(header))
        answer = await attack(node, b"PUT /local/trouble/echo HTTP/1.1\r\n" + flood + b"\r\n[1]")
        assert not answer or answer.startswith(b"HTTP/1.1 4")


async def test_a_few_duplicate_headers_are_no_problem(node: Target) -> None:
    head = b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\n" + b"X-Many: y\r\n" * 500
    async with node.connect() as wire:
        response = await wire.exchange(head + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n[1]")
    assert response.status in {200, 400}


SMUGGLED = b"PUT /local/trouble/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\nContent-Length: 3\r\n",
        b"Content-Length: 3, 0\r\n",
        b"Content-Length: -3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: 3 3\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length:\r\n",
        b"Content-Length : 3\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding\x0b: chunked\r\n",
        b"X: y\rContent-Length: 3\r\n",
        b"X: y\0z\r\n",
        b"Content-Length: 3\r\nHost: two\r\n",
    ],
    ids=lambda framing: framing.decode("latin-1").replace("\r\n", "; "),
)
async def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_runs(
    node: Target, framing: bytes
) -> None:
    begun = (await node.call("count"))[0]
    data = b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n[1]" + SMUGGLED
    async with node.connect() as wire:
        response = await wire.exchange(data)
        assert response.status in {400, 501}
        assert check_refused(response, response.status)["name"] == "MalformedRequest"
        assert await wire.rest() == b""
    assert (await node.call("count"))[0] == begun


@pytest.mark.parametrize(
    "chunks",
    [b"x\r\n[1]\r\n0\r\n\r\n", b"-3\r\n[1]\r\n0\r\n\r\n", b"f" * 20 + b"\r\n[1]", b"3\r\n[1]xx0\r\n\r\n", b"3 3\r\n[1]\r\n"],
)
async def test_chunks_that_are_none_are_refused(node: Target, chunks: bytes) -> None:
    begun = (await node.call("count"))[0]
    head = b"PUT /local/trouble/wait HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await attack(node, head + chunks + SMUGGLED)
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert (await node.call("count"))[0] == begun


async def test_random_garbage_harms_nobody(node: Target) -> None:
    chance = random.Random(1)
    beginnings = (b"", b"GET ", b"PUT /local/trouble/echo HTTP/1.1\r\n", b"\x16\x03\x01", b"\0", b"\r\n\r\n", b"tr")
    for number in range(60):
        await attack(node, beginnings[number % len(beginnings)] + chance.randbytes(chance.choice((1, 10, 1_000, 100_000))))


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" * 1_000 + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET http://example.com/healthz HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x:notaport\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nOrigin: http://[\r\n\r\n",
        b"GET /healthz?%ff=%00&&&=== HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xf0\x9f\x8e\x88 / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%F0%9F%8E%88/%ff/x HTTP/1.1\r\nHost: x\r\nCookie: " + b"a=b;" * 1000 + b"\r\n\r\n",
        b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
async def test_odd_requests_harm_nobody(node: Target, data: bytes) -> None:
    response = await answer_to(node, data)
    assert response is not None
    if response.status != 200:
        assert 400 <= response.status < 500
        check_refused(response, response.status)
    await attack(node, data)


# ------------------------------------------------------------------------------------------- WebSocket, HTTP/2 and links

UPGRADE = (
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    "trailing",
    [b"x", b"\x81", b"\x88\x80\0\0\0\0", b"\x88\x02\x03\xe8", b"\xff" * 1_000, b"\x8f\x00", b"\x81\xfe\xff\xff", UPGRADE],
)
async def test_what_comes_behind_a_websocket_upgrade_harms_nobody(node: Target, trailing: bytes) -> None:
    """Hypercorn's issue 225: one byte there made its server raise, and took down the nursery around it."""
    for _ in range(3):
        await attack(node, UPGRADE + trailing)
        async with node.connect() as wire:
            await wire.send(UPGRADE)
            await wire.send(trailing)
            await node.check()


@ways_to_go
@pytest.mark.parametrize(
    "upgrade",
    [
        UPGRADE,
        UPGRADE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        UPGRADE.replace(b"Version: 13", b"Version: 99"),
        UPGRADE.replace(b"/healthz", b"/local/trouble/wait"),
        UPGRADE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: \xff,,\r\nSec-WebSocket-Extensions: x;=\r\n\r\n"),
    ],
    ids=["good", "no key", "version", "method", "extensions"],
)
async def test_a_websocket_that_breaks_off_harms_nobody(node: Target, upgrade: bytes, how: str) -> None:
    """Like Hypercorn's issue 177: a client that goes away before, in, and after the closing handshake."""
    for frames in (b"", b"\x81", b"\x88\x80\0\0\0\0", b"\x88\x85\0\0\0\0\x00\x01abc", b"\x80" * 50):
        async with node.connect() as wire:
            await wire.send(upgrade + frames)
            await vanish(wire, how)
    answer = await attack(node, upgrade)
    assert not answer or answer.startswith(b"HTTP/1.1 4")


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


@pytest.mark.parametrize(
    "data",
    [
        PREFACE + b"garbage" * 100,
        PREFACE + SETTINGS + b"\xff" * 100,
        PREFACE + SETTINGS + b"\0\0\x05\x01\x05\0\0\0\x01\xff\xff\xff\xff\xff",  # headers that aren't HPACK
        PREFACE + SETTINGS + b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff" * 3,  # windows that overflow
        PREFACE + SETTINGS + b"\0\0\x08\x06\0\0\0\0\0abcdefgh" * 1_000,  # pings
        PREFACE + SETTINGS + SETTINGS * 1_000,
        PREFACE[:-1],
        PREFACE[:10],
        PREFACE * 3,
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"x" * 100,
        b"PRI /nowhere HTTP/2.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: !\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nxxxx",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + PREFACE,
    ],
)
async def test_garbage_in_http_2_harms_nobody(node: Target, data: bytes) -> None:
    for _ in range(2):
        await attack(node, data)
    async with node.connect() as wire:
        await wire.send(data)
        await node.check()


def http_2_client() -> h2.connection.H2Connection:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    return client


def http_2_headers(path: str) -> list[tuple[str, str]]:
    return [(":method", "PUT"), (":path", path), (":scheme", "http"), (":authority", "127.0.0.1")]


async def test_streams_opened_and_reset_by_the_hundred_harm_nobody(node: Target) -> None:
    """The "rapid reset" of CVE-2023-44487."""
    async with node.connect() as wire:
        client = http_2_client()
        for number in range(1, 1_000, 2):
            client.send_headers(number, http_2_headers("/local/trouble/wait"))
            client.send_data(number, b"[]", end_stream=True)
            client.reset_stream(number)
        await wire.send(client.data_to_send())
        await node.check()
    await node.wait_running(0)


async def test_http_2_without_upgrade_is_served_and_ends_with_its_connection(node: Target) -> None:
    async with node.connect() as wire:
        client = http_2_client()
        client.send_headers(1, http_2_headers(CALL))
        client.send_data(1, b"[1]", end_stream=True)
        client.send_headers(3, http_2_headers("/local/trouble/wait"))
        client.send_data(3, b"[]", end_stream=True)
        await wire.send(client.data_to_send())
        body = b""
        while b"]" not in body:
            for event in client.receive_data(bytes(await wire.stream.receive_some(65_536))):
                body += getattr(event, "data", b"") or b""
        assert json.loads(body) == {"value": [[1], {}]}
        await node.wait_running(1)
    await node.wait_running(0)


async def test_garbage_in_links_harms_nobody(node: Target) -> None:
    from trionet.transports.link.frames import PREFACE as LINK_PREFACE

    chance = random.Random(2)
    for trailing in (b"", b"\xff" * 8, b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1", chance.randbytes(10_000)):
        for length in (1, len(LINK_PREFACE) - 1, len(LINK_PREFACE)):
            await attack(node, LINK_PREFACE[:length] + trailing)


if sys.platform == "win32":  # pragma: no cover
    pytest.skip("signals and SO_LINGER are POSIX here", allow_module_level=True)
