"""Plain requests in front of Quart's app: the same answers, byte for byte, and less work."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.keys import key_of
from tests.transports.keyed_nodes import token
from tests.waiting import DEADLINE_S
from trionet import KeyAlreadyExists, NodeConfig, TemporarilyUnavailable, open_node
from trionet.arguments import Method
from trionet.router import Router
from trionet.security.key_entries import KeyFile
from trionet.security.live_keys import LiveKeys
from trionet.security.node_keys import NodeKeys
from trionet.security.token_scope import Scope
from trionet.transports.clock import time_us
from trionet.transports.link.sockets import plain_socket
from trionet.transports.memory import MemoryFabric
from trionet.transports.web import WebServer
from trionet.transports.web_access import WebAccess
from trionet.transports.web_stream import PlainStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from trionet.figures import NodeFigures

LIMIT_BYTES: Final = 2000
CONFIG: Final = NodeConfig(max_message_bytes=LIMIT_BYTES, max_message_containers=50, body_timeout_s=0.3)
LAST: Final = b"PUT /local/probe/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 8\r\n\r\n"
"""The head of a further request, which shows whether the connection goes on."""


def echo(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


def add(one: int, other: int = 1) -> int:
    return one + other


def fail(kind: str = "value") -> None:
    raise {"value": ValueError("bad"), "busy": TemporarilyUnavailable("busy"), "there": KeyAlreadyExists("it")}[kind]


async def echo_later(*args: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return list(args)


async def fail_later() -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("bad")


async def wait() -> None:
    await trio.sleep_forever()


async def count_to(number: int) -> AsyncIterator[int]:
    for item in range(number):
        yield item


async def count_and_fail(number: int) -> AsyncIterator[int]:
    yield number
    raise ValueError("bad")


METHODS: Final[dict[str, Any]] = {
    "echo": echo,
    "add": add,
    "fail": fail,
    "echo_later": echo_later,
    "echo_at_last": lambda: echo_later(1),
    "fail_later": fail_later,
    "wait": wait,
    "count_to": count_to,
    "count_and_fail": count_and_fail,
    "large": lambda size: "x" * size,
    "odd": object,
}


def request(
    method: str = "PUT",
    target: str = "/local/probe/echo",
    body: bytes | str = "[1]",
    *headers: str,
    version: str = "1.1",
    host: str | None = "localhost",
    length: int | None = -1,
) -> bytes:
    """Return a request; a `length` of -1 is that of the body."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {target} HTTP/{version}", *headers]
    if host is not None:
        lines.append(f"Host: {host}")
    if length is not None:
        lines.append(f"Content-Length: {len(content) if length < 0 else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request("PUT", "/local/probe/echo", body + b"0\r\n" + trailer + b"\r\n", CHUNKED, length=None)


CHUNKED: Final = "Transfer-Encoding: chunked"
TARGETS: Final = [
    "/",
    "*",
    "/local",
    "/local/probe",
    "/local/probe/",
    "/local/probe/echo/",
    "/local/probe/echo/more",
    "//local/probe/echo",
    "/local//probe/echo",
    "/local/probe//echo",
    "/local/probe/%65cho",
    "/local/probe/echo%20",
    "/local/probe/ech%C3%B6",
    "/local/probe/%FF",
    "/local/probe/%2e%2e",
    "/local/probe%2Fecho/x",
    "/local/probe/.",
    "/local/probe/..",
    "/local/../echo",
    "/./probe/echo",
    "/local/probe/...",
    "/local/probe/a;b",
    "/local/probe/a:b",
    "/local/probe/a@b",
    "/local/probe/~a",
    "/LOCAL/probe/echo",
    "/nowhere/probe/echo",
    "/local/nobody/echo",
    "/local/probe/nothing",
    "/local/probe/_echo",
    "/healthz",
    "/healthz/x/y",
    "/dashboard/probe/echo",
    "http://localhost/local/probe/echo",
    "http://[/local/probe/echo",
    "/local/probe/echo?",
    "/local/probe/echo?a=1",
    "/local/probe/echo?a=1&a=2",
    "/local/probe/echo?a",
    "/local/probe/echo?=1",
    "/local/probe/echo?&&a=1&",
    "/local/probe/echo?a=%22x%22&b=x",
    "/local/probe/echo?a=%C3%A9",
    "/local/probe/echo?a=%FF",
    "/local/probe/echo?%61=1+2",
    "/local/probe/echo?a=1;b=2",
    "/local/probe/echo?a=nan",
    "/local/probe/echo?a={%22$bytes%22:1}",
    "/local/probe/echo?a=%00",
    "/local/probe/add?other=2",
    "/local/probe/add?more=2",
    "/local/probe/echo?" + "&".join(f"k{number}={number}" for number in range(60)),
]
BODIES: Final[list[bytes | str]] = [
    "",
    "[",
    "1",
    "{}",
    "null",
    "[]",
    '["a", 2.5, null, true]',
    '[{"$bytes": "AA=="}]',
    '[{"$bytes": 1}]',
    '[{"$nothing": 1}]',
    b"\xff\xfe",
    '["\\ud800"]',
    b'["\xc3\xa9"]',
    "[" * 1500,
    "[" + ",".join(["[]"] * 60) + "]",
    " " * (LIMIT_BYTES - 2) + "[]",
    " " * (LIMIT_BYTES - 1) + "[]",
    " " * (3 * LIMIT_BYTES),
]
HEADERS: Final = [
    "Origin: http://localhost",
    "Origin: http://localhost:80",
    "Origin: https://localhost",
    "Origin: http://example.com",
    "Origin: null",
    "Origin:",
    "Origin: http://localhost\r\nOrigin: http://localhost",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document",
    "Trionet-Timeout: soon",
    "Trionet-Timeout: 10",
    "Trionet-Timeout: 0",
    "Trionet-Timeout: -1",
    "Trionet-Timeout: nan",
    "Trionet-Timeout: inf",
    "Trionet-Timeout:",
    "Trionet-Timeout: 10\r\nTrionet-Timeout: soon",
    "trionet-timeout: soon\r\nTRIONET-TIMEOUT: 10",
    "Trionet-Depth: 0",
    "Trionet-Depth: 9",
    "Trionet-Caller: 127.0.0.1:1",
    "Trionet-Caller: nobody",
    "Trionet-Caller:",
    "Trionet-Call-Id: \xe9",
    "Trionet-Parent: one two",
    "Trionet-Principal: nobody at all",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\ntracestate: b=2",
    "Accept: application/json",
    "Accept: application/x-ndjson",
    "Accept: */*",
    "Connection: close",
    "Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Expect: 100-continue",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: multipart/form-data; boundary=x",
    "Content-Encoding: gzip",
    "Authorization: Bearer x",
    "Authorization: Basic x",
    "Cookie: session=x",
    "Remote-Addr: 1.2.3.4",
    "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: example.com",
    "Range: bytes=0-1\r\nIf-None-Match: *",
    "X: " + "x" * 3000,
    "X: a\r\n b",
    "X : a",
    "X: \x7f",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Content-Length: 3",
    "Content-Length: 4",
    "Content-Length: 03",
    "Content-Length: +3",
]
HOSTS: Final = [
    None,
    "",
    "127.0.0.1:8080",
    "[::1]:8080",
    "LOCALHOST",
    "example.com",
    "a..b",
    ".",
    "x" * 64,
    "a_b",
    "a b",
    "user@localhost",
    "localhost:x",
    "localhost:80",
    "\xe9",
    "a,b",
]
CALLS: Final = [
    ("add", "[1]"),
    ("add", "[]"),
    ("add", '["a"]'),
    ("fail", "[]"),
    ("fail", '["busy"]'),
    ("fail", '["there"]'),
    ("echo_later", "[1]"),
    ("echo_at_last", "[]"),
    ("fail_later", "[]"),
    ("count_to", "[3]"),
    ("count_to", "[0]"),
    ("count_and_fail", "[3]"),
    ("large", "[1900]"),
    ("large", "[2000]"),
    ("odd", "[]"),
]
PAGES: Final = ["/healthz", "/live", "/ready", "/metrics"]
OF_PAGES: Final = [
    "Accept: application/openmetrics-text; version=1.0.0",
    "Accept: text/plain\r\nAccept: application/openmetrics-text; version=1.0.0",
    *HEADERS[:11],
    "Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    "Expect: 100-continue",
    "Content-Length: 0",
    "Range: bytes=0-1\r\nIf-None-Match: *",
    "Authorization: Bearer x",
    "Cookie: session=x",
]
BARE: Final = partial(request, "PUT", "/local/probe/echo", "[1]")
TABLE: Final[list[bytes]] = [
    *(request(method) for method in ("PUT", "POST", "GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "put", "FOO")),
    *(request(method, "/healthz", "", length=None) for method in ("GET", "HEAD", "OPTIONS", "PUT")),
    *(request(method, page, "", length=None) for method in ("GET", "HEAD", "POST", "OPTIONS") for page in PAGES),
    *(
        request(method, page, "", header, length=None)
        for method in ("GET", "HEAD")
        for page in PAGES
        for header in OF_PAGES
    ),
    *(request("GET", page, "", host=host, length=None) for page in ("/ready", "/metrics") for host in HOSTS),
    *(
        request("GET", page + more, "", length=None)
        for page in PAGES
        for more in ("/", "?", "?a=1", "//", "/a/b", "%20")
    ),
    *(request("GET", page, "[1]") for page in PAGES),
    *(request("GET", page, "3\r\n[1]\r\n0\r\n\r\n", CHUNKED, length=None) for page in PAGES),
    *(request("GET", page, "", version="1.0", length=None) for page in PAGES),
    *(request("PUT", target) for target in TARGETS),
    *(request("POST", target) for target in TARGETS[:8]),
    *(request("PUT", "/local/probe/echo", body) for body in BODIES),
    *(BARE(header) for header in HEADERS),
    *(BARE(host=host) for host in HOSTS),
    *(BARE("Origin: http://example.com", host=host) for host in HOSTS),
    *(BARE(f"Origin: http://{host}", host=host) for host in HOSTS if host),
    *(request("PUT", f"/local/probe/{name}", args) for name, args in CALLS),
    *(request("PUT", f"/local/probe/{name}", args, "Accept: application/json") for name, args in CALLS),
    *(request("PUT", f"/local/probe/{name}", args, "Accept: application/x-ndjson") for name, args in CALLS),
    *(BARE(*headers, version="1.0") for headers in ([], ["Connection: keep-alive"], ["Origin: http://x"], [CHUNKED])),
    *(BARE(version=version, host=None) for version in ("1.0", "1.1", "2.0", "0.9", "x")),
    request("PUT", "/local/probe/wait", "[]", "Trionet-Timeout: 0.01"),
    request("PUT", "/local/probe/echo", "", length=None),
    request("PUT", "/local/probe/echo", "[1]", length=1000),
    request("PUT", "/local/probe/echo", "[1]", length=LIMIT_BYTES + 1),
    request("PUT", "/local/nobody/echo", "[1]", length=LIMIT_BYTES + 1),
    request("PUT", "/local/probe/echo", "[1]", length=10**17),
    request("PUT", "/local/probe/echo", "[1]", length=10**19),
    chunked(b"[1]"),
    chunked(b"[", b"1", b"]"),
    chunked(),
    chunked(b"[1]", trailer=b"X: y\r\n"),
    chunked(b"[1]", trailer=b"Content-Length: 3\r\n"),
    chunked(b" " * LIMIT_BYTES, b"[]"),
    request("PUT", "/local/nobody/echo", "3\r\n[1]\r\n0\r\n\r\n", CHUNKED, length=None),
    request("PUT", "/local/probe/echo", "z\r\n[1]\r\n0\r\n\r\n", CHUNKED, length=None),
    b"nonsense\r\n\r\n",
    b"PUT /local/probe/echo HTTP/1.1\nHost: localhost\nContent-Length: 3\n\n[1]",
    b"PUT  /local/probe/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n[1]",
    b"\r\n\r\n" + BARE(),
]
BEARERS: Final = [
    [],
    ["Authorization: Bearer"],
    ["Authorization: Bearer nonsense"],
    ["Authorization: Basic x"],
    ["Signature-Input: x"],
    [f"Authorization: Bearer {token(Scope.READ)}"],
    [f"Authorization: Bearer {token(Scope.CALL)}"],
    [f"authorization: bearer {token(Scope.CALL)}", "Trionet-Caller: 127.0.0.1:1"],
    [f"Authorization: Bearer {token(Scope.CALL)}", "Origin: http://example.com"],
    [f"Authorization: Bearer {token(Scope.CALL)}", "Authorization: Bearer x"],
    [f"Authorization: Bearer {token(Scope.CALL, seed=2)}"],
    [f"Authorization: Bearer {token(Scope.CALL, age_s=100, lifetime_s=50)}"],
]
KEYED_TABLE: Final = [
    request("PUT", target, "[1]", *bearer, length=length)
    for bearer in BEARERS
    for target in ("/local/probe/echo", "/local/nobody/echo", "/local/probe/count_to", "/nowhere")
    for length in (-1, LIMIT_BYTES + 1)
] + [
    request(method, page, "", *bearer, length=None)
    for bearer in BEARERS
    for page in PAGES
    for method in ("GET", "HEAD")
]


class Shown:
    """What a node shows, at one time."""

    is_ready = True

    def __init__(self, figures: NodeFigures) -> None:
        self._figures = figures

    def figures(self) -> NodeFigures:
        return self._figures

    async def openapi(self) -> bytes:
        raise NotImplementedError

    @property
    def dashboard(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Pair:
    """Two servers of the same services: in one, the app answers all requests."""

    def __init__(self, access: WebAccess | None, shown: Shown, nursery: trio.Nursery) -> None:
        self.shown = shown
        router = Router()
        router.put("local", "probe", {name: Method(method) for name, method in METHODS.items()})
        self.by_app = WebServer(router, CONFIG, access, shown)
        self.direct = WebServer(router, CONFIG, access, shown)
        _ = self.by_app.app
        self._nursery = nursery

    async def answers(self, data: bytes) -> list[bytes]:
        """Return what each server sends to the end of its connection, without the time."""
        return [await self._answer(server, data) for server in (self.by_app, self.direct)]

    async def _answer(self, server: WebServer, data: bytes) -> bytes:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        received = b""
        with trio.fail_after(DEADLINE_S):
            await server.started(self._nursery)
            async with listener, await trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
                accepted = await listener.accept()
                self._nursery.start_soon(self._serve, server, accepted)
                await stream.send_all(data + LAST + b'["last"]')
                try:
                    while more := await stream.receive_some():
                        received += more
                except trio.BrokenResourceError:
                    received += b"(reset)"
        return b"\r\n".join(line for line in received.split(b"\r\n") if not line.startswith(b"date: "))

    @staticmethod
    async def _serve(server: WebServer, accepted: trio.SocketStream) -> None:
        first = bytes(await accepted.receive_some())
        await server.connect(plain_socket(accepted), first).run()


@asynccontextmanager
async def open_pair(*, is_keyed: bool = False) -> AsyncGenerator[Pair]:
    keys = LiveKeys(NodeKeys(KeyFile.of(key_of(1)), "trionet"))
    async with open_node(fabric=MemoryFabric()) as node:
        shown = Shown(node.figures())
    async with trio.open_nursery() as nursery:
        yield Pair(WebAccess(keys, ["localhost"], time_us()) if is_keyed else None, shown, nursery)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("table", "is_keyed"), [(TABLE, False), (KEYED_TABLE, True)])
async def test_the_app_and_the_layer_in_front_of_it_answer_alike(table: list[bytes], is_keyed: bool) -> None:
    differing = {}
    async with open_pair(is_keyed=is_keyed) as pair:
        for data in table:
            by_app, direct = await pair.answers(data)
            assert by_app.startswith(b"HTTP/1.1 "), data
            if by_app != direct:
                differing[data] = (by_app, direct)
        assert pair.by_app.refused.count == pair.direct.refused.count
        pair.shown.is_ready = False
        by_app, direct = await pair.answers(request("GET", "/ready", "", length=None))
        assert by_app == direct
        assert direct.startswith(b"HTTP/1.1 503")
        pair.by_app.close()
        pair.direct.close()
        by_app, direct = await pair.answers(BARE())
        assert by_app == direct
        assert b"connection: close" in direct
    assert not differing


class Steps(trio.abc.Instrument):
    """Counts the tasks that are started."""

    def __init__(self) -> None:
        self.tasks = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        del task
        self.tasks += 1


async def test_a_call_of_a_plain_function_takes_one_task_and_one_system_call_to_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[bytes] = []
    send_some = PlainStream._send_some  # noqa: SLF001  what it sends at once

    def count(self: PlainStream, data: bytes) -> int:
        sent.append(bytes(data))
        return send_some(self, data)

    monkeypatch.setattr(PlainStream, "_send_some", count)
    steps = Steps()
    async with open_pair() as pair:
        await pair.answers(BARE())  # all is imported
        sent.clear()
        trio.lowlevel.add_instrument(steps)
        answer = await pair._answer(pair.direct, BARE() * 8)  # noqa: SLF001  of the same file
        trio.lowlevel.remove_instrument(steps)
    assert answer.count(b"HTTP/1.1 200") == 9
    assert len(sent) == 9
    assert steps.tasks <= 9 + 8  # what accepts and serves the connection, and the name of the client's


async def test_once_the_app_has_been_asked_for_it_answers_calls_too() -> None:
    async with open_pair() as pair:
        before, _ = await pair.answers(BARE())

        @pair.direct.app.before_request
        async def refuse() -> tuple[str, int]:
            return "mine", 418

        _, after = await pair.answers(BARE())
    assert before.startswith(b"HTTP/1.1 200")
    assert after.startswith(b"HTTP/1.1 418")


_ASKS: Final = """
import sys, trio, trionet
from tests.transports.keyed_nodes import request

def loaded():
    return sorted({name.partition(".")[0] for name in sys.modules} & {"quart", "quart_trio", "werkzeug", "jinja2"})

async def main():
    async with trionet.open_node() as node:
        found = [(await request(node, "/local/status/get", '["sid"]')).status_code, loaded()]
        found += [(await request(node, "/local/no/such", "[]")).status_code, loaded()]
        for page in ("/healthz", "/live", "/ready", "/metrics"):
            found += [(await request(node, page, "", method="GET")).status_code, loaded()]
        print(*found, (await request(node, "/openapi.json", "", method="GET")).status_code, *loaded())

trio.run(main)
"""


@pytest.mark.slow
def test_a_node_that_only_answers_calls_and_probes_never_imports_quart() -> None:
    ran = subprocess.run([sys.executable, "-c", _ASKS], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    plain = ["200", "[]", "404", "[]", *["200", "[]"] * 4]
    assert ran.stdout.split() == [*plain, "200", "jinja2", "quart", "quart_trio", "werkzeug"]


WORDS: Final = st.one_of(
    st.sampled_from(["local", "probe", "echo", "add", "count_to", ".", "..", "%2e", "%20", ""]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=6),
)
REQUESTS: Final = st.builds(
    lambda method, words, query, body, headers, host: request(
        method, "/" + "/".join(words) + query, body, *headers, host=host
    ),
    st.sampled_from(["PUT", "POST", "GET"]),
    st.one_of(st.just(["local", "probe", "echo"]), st.lists(WORDS, min_size=2, max_size=4)),
    st.one_of(st.just(""), st.text(st.sampled_from("?&=a%2Cé+;[1]".replace("é", "F")), max_size=8).map("?{}".format)),
    st.sampled_from(BODIES),
    st.lists(st.sampled_from(HEADERS[:48]), max_size=3, unique=True),
    st.sampled_from(["localhost", *HOSTS]),
)


async def check_alike(requests: list[bytes]) -> None:
    async with open_pair() as pair:
        for data in requests:
            by_app, direct = await pair.answers(data)
            assert by_app == direct, data


@settings(max_examples=12)
@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_any_request_is_answered_alike(requests: list[bytes]) -> None:
    trio.run(check_alike, requests)


@pytest.mark.soak
@settings(max_examples=600)
@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_any_of_thousands_of_requests_is_answered_alike(requests: list[bytes]) -> None:
    trio.run(check_alike, requests)
