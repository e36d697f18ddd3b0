"""The dashboard over HTTP: its files, its stream, its tickets, and who gets them."""

from __future__ import annotations

import errno
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trionet.dashboard
from tests.transports.keyed_nodes import error_in, http_client, open_keyed, request, token
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeConfig, open_node
from trionet.cli.client import Access
from trionet.cli.commands.dashboard import page_url
from trionet.dashboard.feed import MOST_VIEWERS
from trionet.security.token_scope import Scope
from trionet.transports.web_tickets import LIFETIME_S, MOST, Tickets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

    from trionet import Node
    from trionet.dashboard import Dashboard

CSP = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STATIC = Path(trionet.dashboard.__file__).parent / "static"
STREAM = "/dashboard/stream?topics=cluster"


def dashboard_of(node: Node) -> Dashboard:
    """Return the dashboard of a node."""
    found: Dashboard = node._endpoint.pages.dashboard  # type: ignore[union-attr, assignment]  # noqa: SLF001
    return found


Events = trio.MemoryReceiveChannel[tuple[str, Any]]


@asynccontextmanager
async def streaming(node: Node, path: str = STREAM, **headers: str) -> AsyncGenerator[Events]:
    """Yield the events of a stream, as they come; the end of the stream is their end."""
    send, receive = trio.open_memory_channel[tuple[str, Any]](1000)

    async def read(response: httpx.Response) -> None:
        name = ""
        with send:
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    await send.send((name, json.loads(line.removeprefix("data: "))))

    url = f"http://{node.address}{path}"
    async with http_client() as client, client.stream("GET", url, headers=headers) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, response)
            yield receive
            nursery.cancel_scope.cancel()


async def first(events: Events, name: str) -> Any:
    """Return the first event of a name."""
    with trio.fail_after(DEADLINE_S):
        async for found, data in events:
            if found == name:
                return data
    raise AssertionError(f"the stream has ended without the event {name}")


async def test_each_file_has_the_headers_that_keep_the_page_to_itself() -> None:
    async with open_node() as node:
        names = sorted(path.name for path in STATIC.iterdir() if path.is_file())
        for path in ("/", *(f"/dashboard/{name}" for name in names)):
            response = await request(node, path, "", method="GET", Accept="text/html,*/*;q=0.8")
            assert response.status_code == 200, path
            assert response.headers["Content-Security-Policy"] == CSP
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.content == (STATIC / (path.rpartition("/")[2] or "index.html")).read_bytes()
            again = await request(
                node, path, "", method="GET", Accept="text/html", If_None_Match=response.headers["ETag"]
            )
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["Content-Security-Policy"] == CSP


@pytest.mark.parametrize(
    "name",
    ["feed.py", "..%2ffeed.py", "%2e%2e%2ffeed.py", ".index.html", "x" * 200 + ".js", "none.js", "index.html%00"],
)
async def test_only_files_of_the_page_are_served(name: str) -> None:
    async with open_node() as node:
        response = await request(node, f"/dashboard/{name}", "", method="GET")
        assert response.status_code in (400, 404, 405)
        assert "error" in response.json()


async def test_a_program_gets_no_page_and_a_route_of_the_user_goes_first() -> None:
    async with open_node() as node:
        assert error_in(await request(node, "/", "", method="GET"))["name"] == "MethodNotFound"
    async with open_node() as node:
        assert node.app is not None

        @node.app.get("/")
        async def home() -> str:
            return "mine"

        assert (await request(node, "/", "", method="GET", Accept="text/html")).text == "mine"


async def test_a_viewer_sees_the_members_and_nothing_is_gathered_when_it_is_gone() -> None:
    async with open_node(NodeConfig(join=[])) as node, open_node(NodeConfig(join=[str(node.address)])) as other:
        topics = f"topics=cluster,details,news,node&of={node.sid},{other.sid}&node={other.sid}"
        async with streaming(node, f"/dashboard/stream?{topics}") as events:
            assert await first(events, "session") == {"scope": "admin", "keyed": False}
            cluster = await first(events, "cluster")
            assert (cluster["self"], cluster["cluster"]) == (node.sid, "trionet")
            assert {sid: one["status"] for sid, one in cluster["members"].items()} == {
                node.sid: "alive",
                other.sid: "alive",
            }
            portrait = await first(events, "node")
            assert (portrait["sid"], portrait["status"]["address"]) == (other.sid, str(other.address))
            assert portrait["config"]["profile"] == {"value": "lan", "default": "lan"}
            assert portrait["tasks"]
            assert portrait["links"]
            details = await first(events, "details")
            assert details.keys() <= {node.sid, other.sid}
            assert dashboard_of(node).viewers == 1
            assert set(dashboard_of(node).gathered) == {"cluster", "details", "news", "node"}
        await wait_until(lambda: dashboard_of(node).viewers == 0)
        assert dashboard_of(node).gathered == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Origin": "http://other.example"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    ],
)
async def test_a_foreign_page_sees_nothing(headers: dict[str, str]) -> None:
    async with open_node() as node:
        refused = await request(node, STREAM, "", method="GET", **headers)
        assert (refused.status_code, error_in(refused)["name"]) == (403, "NotPermitted")


async def test_by_a_name_that_could_be_rebound_the_page_comes_and_is_told_why_it_sees_nothing() -> None:
    page = {"Host": "rebound.example", "Origin": "http://rebound.example"}
    async with open_node() as node:
        assert (await request(node, "/", "", method="GET", Accept="text/html", **page)).status_code == 200
        assert (await request(node, "/dashboard/app.js", "", method="GET", **page)).status_code == 200
        for path, method in ((STREAM, "GET"), ("/dashboard/session", "POST"), ("/local/inspection/status", "PUT")):
            refused = await request(node, path, method=method, **page)
            assert (refused.status_code, "use its address" in error_in(refused)["text"]) == (403, True)


async def test_with_a_key_any_name_will_do_because_a_foreign_page_has_no_token() -> None:
    page = {"Host": "proxy.example", "Origin": "http://proxy.example"}
    async with open_keyed() as node:
        assert (await request(node, "/dashboard/app.js", "", method="GET", **page)).status_code == 200
        assert (await request(node, STREAM, "", method="GET", **page)).status_code == 401
        mine = token(Scope.READ)
        async with streaming(node, Authorization=f"Bearer {mine}", **page) as events:
            assert (await first(events, "cluster"))["self"] == node.sid
        called = await request(node, "/local/inspection/status", bearer=mine, **page)
        assert called.status_code == 200
        other = {**page, "Origin": "http://other.example"}
        assert (await request(node, STREAM, "", method="GET", bearer=mine, **other)).status_code == 403
        assert (await request(node, "/dashboard/app.js", "", method="GET", **other)).status_code == 403


async def test_a_page_of_the_users_own_goes_first_and_the_dashboard_has_another_place() -> None:
    async with open_node() as node:
        assert node.app is not None

        @node.app.get("/")
        async def own() -> str:
            return "own"

        assert (await request(node, "/", "", method="GET", Accept="text/html")).text == "own"
        page = await request(node, "/dashboard", "", method="GET", Accept="text/html")
        assert (page.status_code, page.headers["Content-Security-Policy"]) == (200, CSP)
        assert await page_url(node.address, Access(NodeConfig()), "read", 1) == f"http://{node.address}/dashboard"


async def test_a_file_that_cannot_be_read_now_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(Path, "read_bytes", full)
    async with open_node() as node:
        refused = await request(node, "/dashboard/app.js", "", method="GET")
        assert (refused.status_code, "Too many open files" in error_in(refused)["text"]) == (503, True)


@pytest.mark.parametrize(
    ("path", "method", "text"),
    [
        (STREAM, "PUT", "this path is for GET, HEAD, OPTIONS"),
        ("/dashboard/ticket", "PUT", "this path is for GET, HEAD, OPTIONS, POST"),
        ("/local/status/get", "GET", "call with PUT or POST"),
    ],
)
async def test_another_method_is_told_which_ones_a_path_has(path: str, method: str, text: str) -> None:
    async with open_node() as node:
        refused = await request(node, path, "", method=method)
        assert (refused.status_code, error_in(refused)["text"]) == (405, text)


async def test_the_head_of_a_stream_is_no_viewer() -> None:
    async with open_node() as node:
        with trio.fail_after(DEADLINE_S):
            head = await request(node, STREAM, "", method="HEAD")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")
        assert dashboard_of(node).viewers == 0


async def test_with_a_key_the_page_is_open_and_its_stream_needs_the_scope_read() -> None:
    async with open_keyed() as node:
        assert (await request(node, "/", "", method="GET", Accept="text/html")).status_code == 200
        assert (await request(node, STREAM, "", method="GET")).status_code == 401
        async with streaming(node, Authorization=f"Bearer {token(Scope.READ)}") as events:
            session = await first(events, "session")
            assert (session["scope"], session["keyed"]) == ("read", True)
            assert (await first(events, "cluster"))["self"] == node.sid


async def test_a_policy_that_denies_the_question_denies_the_stream() -> None:
    policy = {"deny": {"token:call:*": ["local/inspection/*"]}}
    async with open_keyed(NodeConfig(policy=policy)) as node:
        refused = await request(node, STREAM, bearer=token(Scope.CALL), method="GET")
        assert (refused.status_code, error_in(refused)["name"]) == (403, "NotPermitted")
        assert "the policy denies it" in error_in(refused)["text"]
        assert dashboard_of(node).viewers == 0
        async with streaming(node, Authorization=f"Bearer {token(Scope.READ)}") as events:
            await first(events, "cluster")


async def test_a_stream_ends_with_its_token() -> None:
    async with open_keyed() as node:
        async with streaming(node, Authorization=f"Bearer {token(Scope.READ, lifetime_s=2)}") as events:
            with trio.fail_after(DEADLINE_S):
                async for _ in events:
                    pass
        await wait_until(lambda: dashboard_of(node).viewers == 0)


async def test_a_ticket_is_exchanged_for_its_token_once() -> None:
    async with open_keyed() as node:
        mine = token(Scope.READ)
        assert (await request(node, "/dashboard/ticket", "", method="POST")).status_code == 401
        ticket = (await request(node, "/dashboard/ticket", "", method="POST", bearer=mine)).json()["ticket"]
        assert (await request(node, STREAM, "", method="GET", bearer=ticket)).status_code == 401  # it is no token
        got = await request(node, "/dashboard/session", "", method="POST", bearer=ticket)
        assert (got.json()["token"], got.json()["scope"]) == (mine, "read")
        assert got.headers["Cache-Control"] == "no-store"
        again = await request(node, "/dashboard/session", "", method="POST", bearer=ticket)
        assert again.status_code == 401
        assert "has been used" in error_in(again)["text"]
        pasted = await request(node, "/dashboard/session", "", method="POST", bearer=mine)
        assert pasted.json() == got.json()
        for wrong in ("no", "hello", token(seed=2)):
            assert (await request(node, "/dashboard/session", "", method="POST", bearer=wrong)).status_code == 401


async def test_without_a_key_no_ticket_is_needed() -> None:
    async with open_node() as node:
        assert (await request(node, "/dashboard/ticket", "", method="POST")).json() == {}
        assert (await request(node, "/dashboard/session", "", method="POST")).json() == {
            "scope": "admin",
            "keyed": False,
        }


async def test_tickets_end_after_a_minute_and_are_few(autojump_clock: trio.testing.MockClock) -> None:
    tickets = Tickets()
    old = tickets.put("old")
    await trio.sleep(LIFETIME_S)
    assert tickets.take(old) is None
    many = [tickets.put(str(number)) for number in range(MOST + 1)]
    assert [tickets.take(ticket) for ticket in many] == [None, *map(str, range(1, MOST + 1))]


async def test_an_open_page_does_not_delay_the_end_of_a_node() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(stop_grace_s=10 * DEADLINE_S)) as node, streaming(node) as events:
            await first(events, "cluster")
            await node.local.status.stop()
            async for _ in events:
                pass


async def test_a_page_that_reads_nothing_does_not_delay_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trionet.dashboard.viewer.message", lambda *_: b"x" * 2**24)  # no buffer holds it
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(stop_grace_s=10 * DEADLINE_S)) as node:
            stream = await trio.open_tcp_stream(node.address.ip, node.address.port)
            await stream.send_all(b"GET /dashboard/stream?topics=cluster HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await stream.receive_some(9)) == b"HTTP/1.1 "
            await wait_until(lambda: dashboard_of(node).viewers == 1)
            await node.local.status.stop()
            await trio.sleep_forever()
    await stream.aclose()


async def test_streams_that_come_at_once_are_counted_before_they_are_viewers() -> None:
    async with open_node() as node:
        dashboard = dashboard_of(node)
        streams = [dashboard.stream({"topics": "news"}, lambda: None) for _ in range(MOST_VIEWERS + 3)]
        opened = [await anext(stream, None) for stream in streams]
        assert opened.count(None) == 3
        assert dashboard.viewers == MOST_VIEWERS
        for stream in streams:
            await stream.aclose()
        assert dashboard.viewers == 0


async def test_there_are_only_so_many_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trionet.dashboard.feed.MOST_VIEWERS", 1)
    assert MOST_VIEWERS > 1
    async with open_node() as node, streaming(node) as events:
        await first(events, "cluster")
        refused = await request(node, STREAM, "", method="GET")
        assert (refused.status_code, error_in(refused)["name"]) == (503, "TemporarilyUnavailable")
