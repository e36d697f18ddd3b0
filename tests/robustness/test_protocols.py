"""Bytes that are no proper HTTP, WebSocket, HTTP/2 or link: each ends its own connection at most."""

from __future__ import annotations

import json
import random

import h2.config
import h2.connection
import h2.events
import pytest
import trio

from tests.robustness.wire import (
    CALL,
    UPGRADE,
    Target,
    check_refused,
    http_2_request,
    open_target,
    request_bytes,
    ways_to_go,
)
from tests.waiting import DEADLINE_S
from trionet.protocols.link.frames import PREFACE as LINK_PREFACE

# ----------------------------------------------------------------------------------------------------- broken protocols


async def test_header_floods_harm_nobody(node: Target) -> None:
    for header in (b"X: y", b"Host: x", b"Content-Length: 3", b"X" * 100_000 + b": y", b"X: " + b"y" * 100_000, b"X:"):
        flood = (header + b"\r\n") * (500_000 // len(header))
        answer = await node.attack(b"PUT /local/trouble/echo HTTP/1.1\r\n" + flood + b"\r\n[1]")
        assert not answer or answer.startswith(b"HTTP/1.1 4")


async def test_a_few_duplicate_headers_are_no_problem(node: Target) -> None:
    head = b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\n" + b"X-Many: y\r\n" * 500
    async with node.connect() as wire:
        response = await wire.exchange(head + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n[1]")
    assert response.status in {200, 400}


SMUGGLED = b"PUT /local/trouble/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"


REQUEST_LINE = b"PUT /local/trouble/echo HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "head",
    [
        REQUEST_LINE + b"Host: x\r\n" + framing
        for framing in (
            b"Content-Length: 3\r\nContent-Length: 0\r\n",
            b"Content-Length: 0\r\nContent-Length: 3\r\n",
            b"Content-Length: 3, 0\r\n",
            b"Content-Length: 3,\r\n",
            b"Content-Length: -3\r\n",
            b"Content-Length: +3\r\n",
            b"Content-Length: 0x3\r\n",
            b"Content-Length: 3 3\r\n",
            b"Content-Length: 3.0\r\n",
            b"Content-Length: 3_0\r\n",
            b"Content-Length: \xb2\r\n",
            b"Content-Length: 00000000000000000000003\r\n",
            b"Content-Length:\r\n",
            b"Content-Length : 3\r\n",
            b"Content-Length\t: 3\r\n",
            b" Content-Length: 3\r\n",
            b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            b"transfer-encoding: CHUNKED\r\nCONTENT-LENGTH: 3\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
            b"Transfer-Encoding: \r\nContent-Length: 3\r\n",
            b"Transfer-Encoding:\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunkedx\r\n",
            b'Transfer-Encoding: "chunked"\r\n',
            b"Transfer-Encoding: chunked;a=b\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: chunked,\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Transfer-Encoding\x0b: chunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n",
            b"X: y\r\n Content-Length: 3\r\n",
            b"X: y\r\n\tContent-Length: 3\r\nContent-Length: 0\r\n",
            b"X: y\rContent-Length: 3\r\n",
            b"X: y\nContent-Length: 3\r\n",
            b"Content-Length: 3\n",
            b"Content-Length: 3\r\r\n",
            b"X: y\0z\r\n",
            b"Content-Length: 3\r\nHost: two\r\n",
        )
    ]
    + [
        b"PUT /local/trouble/echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
        b"PUT /local/trouble/echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        b"PUT /local/trouble/echo HTTP/1.1\nHost: x\r\nContent-Length: 3\r\n",
        b"PUT /local/trouble/echo  HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n",
        b"\n" + REQUEST_LINE + b"Host: x\r\nContent-Length: 3\r\n",
        REQUEST_LINE + b"Content-Length: 3\r\n",
    ],
    ids=lambda head: head.removeprefix(REQUEST_LINE).decode("latin-1").replace("\r\n", "; "),
)
@pytest.mark.parametrize("body", [b"[1]", b"3\r\n[1]\r\n0\r\n\r\n"], ids=["plain", "chunked"])
async def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_runs(
    node: Target, head: bytes, body: bytes
) -> None:
    begun = (await node.call("count"))[0]
    async with node.connect() as wire:
        response = await wire.exchange(head + b"\r\n" + body + SMUGGLED)
        assert check_refused(response, 400)["name"] == "MalformedRequest"
        assert response.headers["connection"] == "close"
        assert await wire.rest() == b""
    assert (await node.call("count"))[0] == begun


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip,chunked", "deflate\r\nTransfer-Encoding: chunked"])
async def test_a_coding_that_is_not_known_is_refused_as_such(node: Target, coding: str) -> None:
    async with node.connect() as wire:
        response = await wire.exchange(request_bytes(CALL, headers={"Transfer-Encoding": coding}).replace(NO_BODY, b""))
        assert check_refused(response, 501)["name"] == "MalformedRequest"
        assert await wire.rest() == b""


NO_BODY = b"Content-Length: 0\r\n"


@pytest.mark.parametrize(
    "end", [b"0\r\n\n", b"0\r\nX: y\n\n", b"0\r\nX: y\n\r\n", b"0\r\nX: y\r\n z\r\n\r\n", b"0\n\n"]
)
async def test_the_end_of_a_chunked_body_is_as_strict(node: Target, end: bytes) -> None:
    begun = (await node.call("count"))[0]
    head = REQUEST_LINE + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with node.connect() as wire:
        await wire.send(head + b"3\r\n[1]\r\n" + end + SMUGGLED)
        answer = await wire.rest()
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b"HTTP/1.1 200" not in answer
    assert (await node.call("count"))[0] == begun


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 3\r\n", b"[1]"),
        (b"Content-Length:3\r\n", b"[1]"),
        (b"Content-Length: 003\r\n", b"[1]"),
        (b"Content-Length: 3, 3\r\n", b"[1]"),  # RFC 9112, 6.3: processed with that single value
        (b"Transfer-Encoding: chunked\r\n", b"3\r\n[1]\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: Chunked \r\n", b"1;x=y\r\n[\r\n2\r\n1]\r\n0\r\nTrailer: z\r\n\r\n"),
    ],
)
async def test_a_request_whose_end_is_sure_is_served_and_so_is_the_next(
    node: Target, framing: bytes, body: bytes
) -> None:
    data = REQUEST_LINE + b"Host: x\r\n" + framing + b"\r\n" + body
    async with node.connect() as wire:
        await wire.send(data + data)
        for _ in range(2):
            assert (await wire.response()).json() == {"value": [[1], {}]}


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n[1]\r\n0\r\n\r\n",
        b"-3\r\n[1]\r\n0\r\n\r\n",
        b"f" * 20 + b"\r\n[1]",
        b"3\r\n[1]xx0\r\n\r\n",
        b"3 3\r\n[1]\r\n",
    ],
)
async def test_chunks_that_are_none_are_refused(node: Target, chunks: bytes) -> None:
    begun = (await node.call("count"))[0]
    head = b"PUT /local/trouble/wait HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await node.attack(head + chunks + SMUGGLED)
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert (await node.call("count"))[0] == begun


@pytest.mark.slow
async def test_random_garbage_harms_nobody(node: Target) -> None:
    chance = random.Random(1)
    beginnings = (b"", b"GET ", b"PUT /local/trouble/echo HTTP/1.1\r\n", b"\x16\x03\x01", b"\0", b"\r\n\r\n", b"tr")
    for number in range(60):
        garbage = chance.randbytes(chance.choice((1, 10, 1_000, 100_000)))
        await node.attack(beginnings[number % len(beginnings)] + garbage)


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
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
async def test_odd_requests_harm_nobody(node: Target, data: bytes) -> None:
    response = await node.answer_to(data)
    assert response is not None
    if response.status != 200:
        assert 400 <= response.status < 500
        check_refused(response, response.status)
    await node.attack(data)


# ------------------------------------------------------------------------------------------ WebSocket, HTTP/2 and links


@pytest.mark.parametrize(
    "trailing",
    [
        b"x",
        b"\x81",
        b"\x88\x80\0\0\0\0",
        b"\x88\x02\x03\xe8",
        b"\xff" * 1_000,
        b"\x8f\x00",
        b"\x81\xfe\xff\xff",
        UPGRADE,
    ],
)
async def test_what_comes_behind_a_websocket_upgrade_harms_nobody(node: Target, trailing: bytes) -> None:
    """Hypercorn's issue 225: one byte there made its server raise, and took down the nursery around it."""
    for _ in range(3):
        await node.attack(UPGRADE + trailing)
        async with node.connect() as wire:
            await wire.send(UPGRADE)
            await wire.send(trailing)
            await node.check()


@pytest.mark.parametrize("trailing", [b"x" * 5000, request_bytes("/healthz", method="GET")], ids=["junk", "a request"])
async def test_a_websocket_that_is_refused_for_what_comes_behind_it_has_one_whole_answer(
    node: Target, trailing: bytes
) -> None:
    """The app refuses it at the same time, because there is no such WebSocket."""
    async with node.connect() as wire:
        response = await wire.exchange(UPGRADE + trailing)
        assert response.status == 400
        assert response.json()["error"]["name"] == "MalformedRequest"
        assert not await wire.has_more()
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
            wire.vanish(how)
    answer = await node.attack(upgrade)
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
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nxxxx",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + PREFACE,
    ],
)
async def test_garbage_in_http_2_harms_nobody(node: Target, data: bytes) -> None:
    for _ in range(2):
        await node.attack(data)
    async with node.connect() as wire:
        await wire.send(data)
        await node.check()


def http_2_client() -> h2.connection.H2Connection:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    return client


def http_2_headers(path: str) -> list[tuple[str, str]]:
    return [(":method", "PUT"), (":path", path), (":scheme", "http"), (":authority", "127.0.0.1")]


@pytest.mark.slow
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


@pytest.mark.slow
async def test_more_of_a_body_that_was_refused_harms_no_other_call_of_http_2(node: Target) -> None:
    async with node.connect() as wire:
        client = http_2_client()
        client.send_headers(1, http_2_headers("/nowhere"))
        await wire.send(client.data_to_send())
        answered: set[int] = set()

        async def wait_answered(number: int) -> None:
            while number not in answered:
                for event in client.receive_data(bytes(await wire.stream.receive_some(65_536))):
                    if isinstance(event, h2.events.StreamEnded):
                        answered.add(event.stream_id)

        await wait_answered(1)
        client.send_data(1, b"x" * 1_000)
        client.send_headers(3, http_2_headers(CALL))
        client.send_data(3, b"[1]", end_stream=True)
        await wire.send(client.data_to_send())
        await wait_answered(3)


async def test_garbage_in_links_harms_nobody(node: Target) -> None:
    chance = random.Random(2)
    for trailing in (b"", b"\xff" * 8, b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1", chance.randbytes(10_000)):
        for length in (1, len(LINK_PREFACE) - 1, len(LINK_PREFACE)):
            await node.attack(LINK_PREFACE[:length] + trailing)


@pytest.mark.slow
async def test_strangers_cause_few_log_lines_and_how_many_were_left_out_is_told() -> None:
    with open_target() as node, trio.fail_after(DEADLINE_S):
        for _ in range(150):
            await node.attack(LINK_PREFACE + b"\0\0\0\1\xc1")
            await node.attack(http_2_request("/\xe9", b"[]", end_stream=True))  # Hypercorn raises
            await node.attack(UPGRADE + b"x")
        await node.end()
        log = node.log()
    lines = [line for line in log.splitlines() if line.startswith("20")]
    for text in ("a connection that began as a link was closed", "a connection was closed because serving it failed"):
        assert 1 <= sum(text in line for line in lines) <= 6
    assert "144 lines were left out, like those that begin 'a connection that began as a l…'" in log
    assert len(lines) < 40
