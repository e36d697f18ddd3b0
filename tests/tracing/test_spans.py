"""The spans of calls: who is whose child, what they state, and that each ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from tests.tracing.recorded import Recorder, recording
from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeConfig, PreconditionFailed, Remote, RemoteError, TrionetError, open_node, rpc
from trionet.trace_context import TraceContext
from trionet.warming import warm_up

if TYPE_CHECKING:
    from collections.abc import Generator

    from opentelemetry.sdk.trace import ReadableSpan

HOP = "hops/go"


class Hops:
    """Passes calls on, in several ways."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.started = trio.Event()
        self.seen: list[trace.SpanContext] = []

    def _note(self) -> None:
        self.seen.append(trace.get_current_span().get_span_context())

    @rpc
    async def go(self, path: list[Any]) -> None:
        self._note()
        if path:
            await self._node.local.comm.send([path[1:]], Remote(node=path[0], service="hops", method="go"))

    @rpc
    def note(self) -> None:
        self._note()

    @rpc(thread=True)
    def block(self) -> None:
        self._note()

    @rpc
    def later(self) -> Awaitable[None]:
        self._note()
        return self.go([])

    @rpc
    async def watch(self, count: int) -> AsyncIterator[int]:
        self._note()
        for number in range(count):
            yield number

    @rpc
    async def fail(self) -> None:
        raise ValueError("nothing works")

    @rpc
    def refuse(self) -> None:
        raise PreconditionFailed("not now")

    @rpc
    async def wait(self) -> None:
        self.started.set()
        await trio.sleep_forever()


async def hops_of(node: Node) -> Hops:
    hops = Hops(node)
    await node.local.routes.put(hops, "hops")
    return hops


def to(node: Node, method: str = "go") -> Remote:
    return Remote(node=node.address, service="hops", method=method)


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    span_id: int = span.context.span_id
    return span_id


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Generator[Recorder]:
    with recording(monkeypatch) as recorder:
        yield recorder


def test_the_first_nodes_of_a_fork_server_are_no_spans_and_those_after_them_are(recorder: Recorder) -> None:
    warm_up()
    assert not recorder.begun

    async def call() -> None:
        async with open_node() as node, open_node() as other:
            await node.local.comm.send(["nid"], Remote(node=other.address, service="status", method="get"))

    trio.run(call)
    assert recorder.named("status/get", SpanKind.SERVER)


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_a_call_over_three_hops_is_one_trace(
    recorder: Recorder, start_node: Callable[..., Awaitable[Node]], transport: Literal["link", "http"]
) -> None:
    nodes = [await start_node(NodeConfig(transport=transport)) for _ in range(3)]
    for node in nodes:
        await hops_of(node)
    a, b, c = nodes
    with trace.get_tracer("test").start_as_current_span("user") as user:
        await a.local.comm.send([[c.address, a.address]], to(b))
    spans = await recorder.all_ended()
    assert [(span.name, span.kind) for span in spans] == [
        ("user", SpanKind.INTERNAL),
        *[(HOP, SpanKind.CLIENT), (HOP, SpanKind.SERVER)] * 3,
    ]
    assert {span.context.trace_id for span in spans if span.context} == {user.get_span_context().trace_id}
    assert [parent_of(span) for span in spans] == [None, *map(id_of, spans[:-1])]
    client, server = spans[1:3]
    assert client.attributes is not None
    assert server.attributes is not None
    assert dict(client.attributes) == {
        "rpc.system.name": "trionet",
        "rpc.method": HOP,
        "server.address": b.address.ip,
        "server.port": b.address.port,
        "trionet.call_id": server.attributes["trionet.call_id"],
        "rpc.status_code": "OK",
    }
    assert dict(server.attributes) == {
        **client.attributes,
        "client.address": a.address.ip,
        "client.port": a.address.port,
    }
    assert all(span.status.status_code is StatusCode.UNSET for span in spans)


@pytest.mark.parametrize("method", ["go", "note", "block", "later"])
async def test_the_context_of_a_handler_is_that_of_its_span(recorder: Recorder, method: str) -> None:
    async with open_node() as a, open_node() as b:
        for caller in (a, b):  # over the network, and to itself
            hops = await hops_of(b)
            await caller.local.comm.send([[]] if method == "go" else [], to(b, method))
            server = recorder.named(f"hops/{method}", SpanKind.SERVER)[-1]
            assert {seen.span_id for seen in hops.seen} == {id_of(server)}
            assert not trace.get_current_span().get_span_context().is_valid
    await recorder.all_ended()


async def _leave_by_an_error(a: Node, b: Node) -> None:
    async with a.local.comm.stream([3], to(b, "watch")):
        raise KeyError


async def test_a_stream_is_one_span_at_each_end(recorder: Recorder) -> None:
    async with open_node() as a, open_node() as b:
        hops = await hops_of(b)
        async with a.local.comm.stream([3], to(b, "watch")) as items:
            assert not trace.get_current_span().get_span_context().is_valid
            assert [item async for item in items] == [0, 1, 2]
        client, server = await recorder.all_ended()
        assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
        assert parent_of(server) == id_of(client)
        assert [seen.span_id for seen in hops.seen] == [id_of(server)]
        async with a.local.comm.stream([10**6], to(b, "watch")) as items:
            assert await anext(items) == 0
        assert await recorder.all_ended()  # of a stream that is left early, too
        del recorder.begun[2:], recorder.ended[2:]
        with pytest.raises(KeyError):  # the block's own failure is none of the call
            await _leave_by_an_error(a, b)
    spans = await recorder.all_ended()
    assert spans[2].attributes is not None
    assert spans[2].attributes["rpc.status_code"] == "Cancelled"
    assert spans[2].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("method", "code", "callee_failed"), [("fail", "RemoteError", True), ("refuse", "PreconditionFailed", False)]
)
async def test_an_error_is_stated_at_both_ends(
    recorder: Recorder, method: str, code: str, *, callee_failed: bool
) -> None:
    async with open_node() as a, open_node() as b:
        await hops_of(b)
        with pytest.raises(TrionetError):
            await a.local.comm.send([], to(b, method))
    client, server = await recorder.all_ended()
    for span, failed in ((client, True), (server, callee_failed)):
        assert span.attributes is not None
        assert span.attributes["rpc.status_code"] == code
        assert span.attributes.get("error.type") == (code if failed else None)
        assert (span.status.status_code is StatusCode.ERROR) == failed
    assert [event.name for event in server.events] == (["exception"] if callee_failed else [])
    if callee_failed:
        assert server.events[0].attributes is not None
        assert server.events[0].attributes["exception.type"] == "ValueError"
        assert "nothing works" in str(client.status.description)
    assert client.events == ()


async def test_a_call_that_never_starts_has_a_span_at_its_caller_alone(recorder: Recorder) -> None:
    async with open_node() as a, open_node() as b:
        with pytest.raises(TrionetError):
            await a.local.comm.send([], to(b, "go"))
    (client,) = await recorder.all_ended()
    assert client.attributes is not None
    assert client.attributes["error.type"] == "ServiceNotFound"


@pytest.mark.parametrize(
    ("kind", "code", "failed"), [("cancel", "Cancelled", False), ("deadline", "CallTimeout", True)]
)
@pytest.mark.parametrize("transport", ["link", "http"])
async def test_a_cancelled_call_ends_both_spans(
    recorder: Recorder, transport: Literal["link", "http"], kind: str, code: str, *, failed: bool
) -> None:
    config = NodeConfig(transport=transport)
    async with open_node(config) as a, open_node(config) as b:
        hops = await hops_of(b)
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:

                async def call() -> None:
                    with trio.CancelScope() as scope:
                        scope.deadline = trio.current_time() + (0.2 if kind == "deadline" else DEADLINE_S)
                        await a.local.comm.send([], to(b, "wait"))

                nursery.start_soon(call)
                await hops.started.wait()
                if kind == "cancel":
                    nursery.cancel_scope.cancel()
        client, server = await recorder.all_ended()
    for span in (client, server):
        assert span.attributes is not None
        found = span.attributes["rpc.status_code"]
        assert found == code or (span is server and found == "Cancelled")  # which the caller's deadline makes it, too
    assert (client.status.status_code is StatusCode.ERROR) == failed


async def test_the_end_of_a_node_ends_all_spans(recorder: Recorder) -> None:
    config = NodeConfig(stop_grace_s=0)
    async with trio.open_nursery() as nursery, open_node(config) as a, open_node(config) as b:
        hops = await hops_of(b)

        async def call() -> None:
            with pytest.raises(TrionetError):
                await a.local.comm.send([], to(b, "wait"))

        nursery.start_soon(call)
        await hops.started.wait()
    assert len(await recorder.all_ended()) == 2


async def test_a_fan_out_is_a_span_with_a_child_for_each_member(recorder: Recorder) -> None:
    async with open_node() as a, open_node() as b, open_node() as c:
        for node in (b, c):
            await hops_of(node)
        nodes = {node.sid: node.address for node in (a, b, c)}
        await a.local.groups.put("trio", nodes)
        replies = await a.group("trio").comm.send([], Remote(service="hops", method="note"))
        assert (len(replies.values), len(replies.errors)) == (2, 1)
        parent, *_ = spans = await recorder.all_ended()
        assert parent.attributes == {
            "rpc.method": "hops/note",
            "trionet.gid": "trio",
            "trionet.members": 3,
            "trionet.values": 2,
            "trionet.errors": 1,
        }
        assert (parent.name, parent.kind, parent.parent) == ("fan_out hops/note", SpanKind.INTERNAL, None)
        clients = [span for span in spans if span.kind is SpanKind.CLIENT]
        servers = [span for span in spans if span.kind is SpanKind.SERVER]
        assert [parent_of(span) for span in clients] == [id_of(parent)] * 3
        assert {parent_of(span) for span in servers} < set(map(id_of, clients))
        assert len(servers) == 2
        assert not trace.get_current_span().get_span_context().is_valid


async def test_along_a_tree_the_spans_of_all_members_are_children_of_the_fan_out(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trionet.templates.tree_calls.arity_of", lambda _: 1)
    async with open_node() as a, open_node() as b, open_node() as c, open_node() as d:
        for node in (a, b, c, d):
            await hops_of(node)
        await a.local.groups.put("town", [a, b, c, d])
        replies = await a.group("town").options(tree=True).call(Hops.note)
        assert len(replies.values) == 4
        spans = await recorder.all_ended()
        parent = recorder.one("fan_out hops/note")
        servers = [span for span in spans if span.kind is SpanKind.SERVER]
        clients = [span for span in spans if span.kind is SpanKind.CLIENT]  # that of the call to itself
        assert len(servers) == 4
        assert {parent_of(span) for span in (*servers, *clients)} <= {id_of(parent), *map(id_of, clients)}
        assert len(spans) == 1 + len(servers) + len(clients)


async def test_calls_by_method_have_the_same_spans(recorder: Recorder) -> None:
    async with open_node() as a, open_node() as b:
        for node in (a, b):
            await hops_of(node)
        await a.local.groups.put("duo", {node.sid: node.address for node in (a, b)})
        await a.call(b.address, Hops.note)
        async with a.stream(b.address, Hops.watch, 2) as found:
            assert [item async for item in found] == [0, 1]
        assert len((await a.group("duo").call(Hops.note)).values) == 2
        async with a.group("duo").stream(Hops.watch, 1) as items:
            assert len([item async for item in items]) == 2
    names = [span.name for span in await recorder.all_ended()]
    note, watch = ["hops/note"] * 2, ["hops/watch"] * 2
    assert names == [*note, *watch, "fan_out hops/note", *note, *note, "fan_out hops/watch", *watch, *watch]


@pytest.mark.parametrize("items", [False, True])
async def test_a_stream_from_all_members_is_a_fan_out(recorder: Recorder, *, items: bool) -> None:
    method, args = ("watch", [2]) if items else ("note", [])
    async with open_node() as a, open_node() as b:
        for node in (a, b):
            await hops_of(node)
        await a.local.groups.put("duo", {node.sid: node.address for node in (a, b)})
        async with a.group("duo").comm.stream(args, Remote(service="hops", method=method), items=items) as found:
            assert not trace.get_current_span().get_span_context().is_valid
            assert len([item async for item in found]) == (4 if items else 2)
    parent, *children = await recorder.all_ended()
    assert parent.name == f"fan_out hops/{method}"
    assert [parent_of(span) for span in children if span.kind is SpanKind.CLIENT] == [id_of(parent)] * 2


async def test_a_fan_out_has_at_most_a_hundred_children(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trionet.tracing.spans.MOST_CHILDREN", 2)
    async with open_node() as a, open_node() as b, open_node() as c:
        for node in (a, b, c):
            await hops_of(node)
        await a.local.groups.put("trio", {node.sid: node.address for node in (a, b, c)})
        await a.group("trio").comm.send([], Remote(service="hops", method="note"))
    parent, *spans = await recorder.all_ended()
    assert parent.attributes is not None
    assert parent.attributes["trionet.members_without_span"] == 1
    assert sum(span.kind is SpanKind.CLIENT for span in spans) == 2
    servers = [span for span in spans if span.kind is SpanKind.SERVER]
    assert len(servers) == 3
    assert sum(parent_of(span) == id_of(parent) for span in servers) == 1


async def test_a_group_wide_call_by_another_node_is_one_trace(recorder: Recorder) -> None:
    async with open_node() as a, open_node() as b:
        await hops_of(a)
        await hops_of(b)
        await b.local.groups.put("duo", {node.sid: node.address for node in (a, b)})
        remote = Remote(node=b.address, gid="duo", service="comm", method="send")
        await a.local.comm.send([[], {"service": "hops", "method": "note"}], remote)
    spans = await recorder.all_ended()
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    first, served, fan_out = spans[:3]
    assert [span.name for span in spans[:3]] == ["comm/send", "comm/send", "fan_out hops/note"]
    assert [parent_of(span) for span in spans[:3]] == [None, id_of(first), id_of(served)]
    assert first.attributes is not None
    assert first.attributes["trionet.gid"] == "duo"
    assert sum(parent_of(span) == id_of(fan_out) for span in spans) == 2


async def test_a_rumor_is_linked_to_its_sender_at_each_member(recorder: Recorder) -> None:
    async with open_node(NodeConfig(join=[])) as a, open_node(NodeConfig(join=[str(a.address)])) as b:
        hops = [await hops_of(node) for node in (a, b)]
        await wait_until(lambda: len(a.all.members()) == len(b.all.members()) == 2)
        with trace.get_tracer("test").start_as_current_span("user") as user:
            await a.all.gossip.send([[]], Remote(service="hops", method="go"))
        await wait_until(lambda: all(each.seen for each in hops))
        await recorder.all_ended()
        sent = recorder.one("gossip hops/go", SpanKind.PRODUCER)
        delivered = recorder.named("gossip hops/go", SpanKind.CONSUMER)
        assert parent_of(sent) == user.get_span_context().span_id
        assert [span.parent for span in delivered] == [None, None]
        assert [[link.context.span_id for link in span.links] for span in delivered] == [[id_of(sent)]] * 2
        assert {each.seen[0].span_id for each in hops} == set(map(id_of, delivered))
        ids = {span.attributes["trionet.call_id"] for span in (sent, *delivered) if span.attributes is not None}
        assert len(ids) == 1
        assert len(recorder.begun) == 4  # none for the packets


async def test_a_run_of_a_periodic_task_is_a_trace_of_its_own(recorder: Recorder) -> None:
    async with open_node() as node:
        hops = await hops_of(node)

        async def probe() -> None:
            await node.local.comm.send([], to(node, "note"))
            if len(hops.seen) > 1:
                raise ValueError("often enough")

        await node.local.groups.put("solo", {node.sid: node.address})
        with trace.get_tracer("test").start_as_current_span("user") as user:
            task = await node.group("solo").gossip.at(0.01, probe)
        await wait_until(lambda: len(hops.seen) > 1)
        await node.local.gossip.del_(task)
    await recorder.all_ended()
    name = next(span.name for span in recorder.begun if span.name.startswith("periodic "))
    assert name.endswith("probe")
    runs = recorder.named(name)
    assert [span.parent for span in runs] == [None] * len(runs)
    assert {link.context.span_id for span in runs for link in span.links} == {user.get_span_context().span_id}
    assert len({span.context.trace_id for span in runs if span.context}) == len(runs)
    assert {parent_of(span) for span in recorder.named("hops/note", SpanKind.CLIENT)} == set(map(id_of, runs))
    assert runs[0].status.status_code is StatusCode.UNSET
    assert runs[1].status.status_code is StatusCode.ERROR


# --------------------------------------------------------------------------------------------- contexts of other nodes

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def put(node: Node, path: str, headers: dict[str, str], *args: Any) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.put(f"http://{node.address}/{path}", json=list(args), headers=headers)


async def test_a_request_of_curl_continues_its_trace(recorder: Recorder) -> None:
    async with open_node() as node:
        hops = await hops_of(node)
        state = {"tracestate": "vendor=1,0odd=2"}  # which the API's own keys don't permit
        assert (await put(node, "local/hops/note", {"traceparent": PARENT, **state})).status_code == 200
        await put(node, "local/status/get", {}, "nid")
    (server,) = await recorder.all_ended()  # none for a probe
    assert server.parent is not None
    assert (server.parent.trace_id, server.parent.span_id) == (int(PARENT[3:35], 16), int(PARENT[36:52], 16))
    assert hops.seen[0].trace_id == int(PARENT[3:35], 16)
    assert dict(hops.seen[0].trace_state) == {"vendor": "1"}
    assert server.attributes is not None
    assert server.attributes["client.address"] == "127.0.0.1"


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_the_sampling_flag_is_respected_and_passed_on(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    with recording(monkeypatch, ParentBased(ALWAYS_ON)) as recorder:
        async with open_node() as a, open_node() as b:
            await hops_of(a)
            at_b = await hops_of(b)
            await put(a, "local/hops/go", {"traceparent": PARENT[:-2] + flags}, [str(b.address)])
        spans = await recorder.all_ended()
    assert len(spans) == (3 if flags == "01" else 0)
    assert at_b.seen[0].trace_id == int(PARENT[3:35], 16)
    assert at_b.seen[0].trace_flags == int(flags)


async def test_a_trace_that_is_not_sampled_has_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording(monkeypatch, ALWAYS_OFF) as recorder:
        async with open_node() as a, open_node() as b:
            at_b = await hops_of(b)
            await a.local.comm.send([[]], to(b))
            assert at_b.seen[0].is_valid
    assert recorder.begun == []


@pytest.mark.parametrize("header", ["", "00-junk", PARENT + "x", PARENT.replace("0", "\u00e9"), "ff" + PARENT[2:]])
async def test_the_trace_of_a_stranger_does_no_harm(recorder: Recorder, header: str) -> None:
    async with open_node() as node:
        hops = await hops_of(node)
        headers: Any = [("traceparent", header.encode()), ("tracestate", b"a" * 9_000)]
        assert (await put(node, "local/hops/note", headers)).status_code == 200
    (server,) = await recorder.all_ended()
    assert server.parent is None
    assert hops.seen[0].is_valid


@pytest.mark.parametrize("is_installed", [False, True])
@pytest.mark.parametrize("transport", ["link", "http"])
async def test_a_node_without_opentelemetry_passes_a_trace_on(
    monkeypatch: pytest.MonkeyPatch, transport: Literal["link", "http"], *, is_installed: bool
) -> None:
    config = NodeConfig(transport=transport)
    with recording(monkeypatch) as recorder:
        async with open_node(config) as a, open_node(config) as b, open_node(config) as c:
            for node in (a, b, c):
                await hops_of(node)
            if is_installed:
                assert b.local.comm.spans is not None
                b.local.comm.spans.provider = lambda: None  # for one node of a process
            else:
                b.local.comm.spans = b._router.tracing = None  # noqa: SLF001
            await a.local.comm.send([[c.address]], to(b))
        client, server = await recorder.all_ended()
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert client.attributes is not None
    assert server.attributes is not None
    assert client.attributes["server.port"] == b.address.port
    assert server.attributes["server.port"] == c.address.port
    assert parent_of(server) == id_of(client)


async def test_without_a_provider_there_is_no_span_and_the_trace_is_passed_on() -> None:
    async with open_node() as a, open_node() as b:
        await hops_of(a)
        at_b = await hops_of(b)
        seen: list[bytes] = []
        prepare = b._router.prepare  # noqa: SLF001  what arrives is the point

        def noting(call: Any, **given: Any) -> Any:
            if call.service == "hops":
                seen.append(call.trace)
            return prepare(call, **given)

        b._router.prepare = noting  # type: ignore[method-assign]  # noqa: SLF001
        await put(a, "local/hops/go", {"traceparent": PARENT, "tracestate": "a=1"}, [str(b.address)])
    context = TraceContext.decoded(seen[0])
    assert context is not None
    assert (context.traceparent, context.state) == (PARENT, "a=1")
    assert not at_b.seen[0].is_valid


async def test_background_work_of_a_node_has_no_spans(recorder: Recorder) -> None:
    with trace.get_tracer("test").start_as_current_span("main"):
        async with (
            open_node(NodeConfig(join=[], profile="local")) as a,
            open_node(NodeConfig(join=[str(a.address)], profile="local", datagrams=False)) as b,
        ):
            await wait_until(lambda: len(a.all.members()) == len(b.all.members()) == 2)
            packets = b.statistics().calls_served
            await wait_until(lambda: b.statistics().calls_served > packets + 3)
            hops = await hops_of(b)
            await put(b, "local/hops/note", {})
    spans = await recorder.all_ended()
    assert [span.name for span in spans] == ["main", "hops/note"]
    assert spans[1].parent is None  # the node's own tasks began within "main"
    assert len(hops.seen) == 1


# ------------------------------------------------------------------------------------------------- faults of providers


@pytest.mark.parametrize("where", ["on_start", "on_end"])
async def test_a_processor_that_raises_fails_no_call(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SystemExit("the exporter is broken")

    monkeypatch.setattr(recorder, where, fail)
    async with open_node() as a, open_node() as b:
        await hops_of(b)
        await a.local.comm.send([[]], to(b))
        with pytest.raises(RemoteError):
            await a.local.comm.send([], to(b, "fail"))
    assert {record.name for record in caplog.records} == {"trionet.tracing.telemetry"}
    assert "the exporter is broken" in caplog.text
