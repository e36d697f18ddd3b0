"""Requests that are answered before their body has come."""

from __future__ import annotations

import pytest
import trio

from tests.transports.keyed_nodes import open_keyed, token
from tests.waiting import DEADLINE_S
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
