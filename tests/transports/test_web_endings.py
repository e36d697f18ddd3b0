"""Requests that are answered before their body has come."""

from __future__ import annotations

import pytest
import trio

from tests.transports.keyed_nodes import open_keyed, token
from tests.transports.link.ends import Hold
from tests.waiting import DEADLINE_S, wait_until
from trionet import open_node
from trionet.security.token_scope import Scope

BODY = b"[]"


async def answer(stream: trio.SocketStream) -> bytes:
    """Return the head of the next answer, and its body."""
    data = b""
    while b"}" not in data:
        data += await stream.receive_some()
    return data


@pytest.mark.parametrize("path", ["local/status/nothing", "all/nothing/get", "local/status/stop"])
async def test_an_answer_before_the_body_says_that_the_connection_ends(path: str) -> None:
    async with open_keyed() as node:
        head = (
            f"POST /{path} HTTP/1.1\r\nHost: {node.address}\r\nContent-Length: {len(BODY)}\r\n"
            f"Authorization: Bearer {token(Scope.CALL)}\r\n\r\n"
        )
        with trio.fail_after(DEADLINE_S):
            async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
                await stream.send_all(head.encode())
                assert b"connection: close\r\n" in await answer(stream)
                await stream.send_all(BODY)
                assert await stream.receive_some() == b""


async def test_an_answer_to_a_whole_request_keeps_the_connection() -> None:
    async with open_keyed() as node:
        common = f"Host: {node.address}\r\nAuthorization: Bearer {token(Scope.CALL)}\r\n"
        read = f"GET /ready HTTP/1.1\r\n{common}\r\n"
        refused = f"POST /local/status/nothing HTTP/1.1\r\n{common}Content-Length: {len(BODY)}\r\n\r\n[]"
        call = f"POST /local/inspection/tags HTTP/1.1\r\n{common}Content-Length: {len(BODY)}\r\n\r\n[]"
        with trio.fail_after(DEADLINE_S):
            async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
                for request in (read, call, refused, refused, read):
                    await stream.send_all(request.encode())
                    assert b"connection: close" not in await answer(stream)


@pytest.mark.parametrize("behind", [b"", b"\r\n", b"PUT /local/status/get HTTP/1.1\r\n" * 9])
@pytest.mark.parametrize("by_app", [True, False])
async def test_a_client_that_goes_away_ends_its_call_even_if_it_has_sent_more(behind: bytes, *, by_app: bool) -> None:
    async with open_node() as node:
        hold = Hold()
        await node.local.routes.put({"hold": hold.handle}, "probe")
        if by_app:
            assert node.app is not None
        stream = await trio.open_tcp_stream(node.address.ip, node.address.port)
        head = f"PUT /local/probe/hold HTTP/1.1\r\nHost: {node.address}\r\nContent-Length: 2\r\n\r\n"
        await stream.send_all(head.encode() + BODY + behind)
        await wait_until(lambda: hold.running == 1)
        await stream.aclose()
        await wait_until(lambda: hold.running == 0)
        await wait_until(lambda: not node._endpoint._listener._connections)  # type: ignore[attr-defined]  # noqa: SLF001
    assert hold.cancelled == 1


async def test_requests_before_the_end_of_what_a_client_sends_are_all_answered() -> None:
    async with open_node() as node:
        one = (
            f"PUT /local/status/get HTTP/1.1\r\nHost: {node.address}\r\nContent-Length: 7\r\n\r\n".encode() + b'["sid"]'
        )
        with trio.fail_after(DEADLINE_S):
            async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
                await stream.send_all(one * 3)
                await stream.send_eof()
                received = b"".join([part async for part in stream])
    assert received.count(b"HTTP/1.1 200") == 3
