"""The parent of a call and its trace context, on every transport and to the node itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
import trio

from tests.transports.endpoints import TRANSPORTS, Peer
from tests.transports.keyed_nodes import open_keyed, request, token
from tests.transports.link.ends import connect
from tests.waiting import DEADLINE_S, wait_until
from trionet import CurrentCall, NodeConfig, Remote, current_call, open_node, rpc
from trionet.codec import MESSAGEPACK
from trionet.message import MAX_ID_CHARS, Call
from trionet.nesting import DEEPEST, ROOT, holding
from trionet.protocols.link.frames import CallFrame, OwnCallFrame, Reply
from trionet.router import Router
from trionet.security.token_scope import Scope

if TYPE_CHECKING:
    from trionet import Node, NodeAddress

ID = "an-id"
TRACE = bytes(range(24)) + b"\1"
STATE = TRACE + b"congo=t61rcWkgMzE"


class Hops:
    """Notes the calls of its handlers, and passes them on."""

    def __init__(self) -> None:
        self.node: Node
        self.seen: list[CurrentCall] = []

    @rpc
    async def go(self, path: list[Any]) -> None:
        self.seen.append(current_call())
        if path:
            await self.node.local.comm.send([path[1:]], Remote(node=path[0], service="hops", method="go"))


async def expose(node: Node) -> Hops:
    hops = Hops()
    hops.node = node
    await node.local.routes.put(hops, "hops")
    return hops


@pytest.mark.parametrize("name", TRANSPORTS)
@pytest.mark.parametrize("trace", [b"", TRACE, STATE], ids=["none", "bare", "with a state"])
async def test_a_transport_carries_the_parent_and_the_trace(name: str, trace: bytes, nursery: trio.Nursery) -> None:
    fabric = TRANSPORTS[name]()
    one, other = Peer(), Peer()
    with trio.fail_after(DEADLINE_S):
        for peer in (one, other):
            await nursery.start(peer.serve, fabric, NodeConfig())
        other.expose(ask=lambda: None)
        transport = one.endpoint.transport
        plain = one.request("ask")
        await transport.call(other.address, msgspec.structs.replace(plain, parent="parent-1", trace=trace))
        await transport.call(other.address, msgspec.structs.replace(plain, id="another", trace=trace))
        await transport.call(other.address, msgspec.structs.replace(plain, id="third"))
    fabric.close()
    assert [(call.parent, call.trace) for call in other.router.calls] == [("parent-1", trace), ("", trace), ROOT]


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_a_nested_call_names_the_call_in_whose_handler_it_was_made(transport: Literal["link", "http"]) -> None:
    config = NodeConfig(transport=transport)
    async with open_node(config) as a, open_node(config) as b:
        at_a, at_b = await expose(a), await expose(b)
        path = [a.address, a.address, b.address]  # over the network, to itself, and back
        await a.local.comm.send([path], Remote(node=b.address, service="hops", method="go"))
    first, second = at_b.seen
    third, fourth = at_a.seen
    assert [first.parent, third.parent, fourth.parent, second.parent] == ["", first.id, third.id, fourth.id]
    assert [third.caller, fourth.caller, second.caller] == [b.address, a.address, a.address]


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The trace contexts of all calls of ``hops`` that nodes of this process receive."""
    found: list[bytes] = []
    prepare = Router.prepare

    def noting(router: Router, call: Call, **more: Any) -> Any:
        if call.service == "hops":
            found.append(call.trace)
        return prepare(router, call, **more)

    monkeypatch.setattr(Router, "prepare", noting)
    return found


async def test_signed_requests_carry_both_too(traces: list[bytes]) -> None:
    config = NodeConfig(transport="http")
    async with open_keyed(config) as a, open_keyed(config) as b:
        at_b = await expose(b)
        sent = a.local.comm.prepare([[]], {}, Remote(node=b.address, service="hops", method="go"))
        await a.local.comm.call(b.address, msgspec.structs.replace(sent, parent="parent-1", trace=STATE))
    assert [call.parent for call in at_b.seen] == ["parent-1"]
    assert traces == [STATE]


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_without_a_tracer_the_trace_goes_on_to_nested_calls(
    transport: Literal["link", "http"], traces: list[bytes]
) -> None:
    config = NodeConfig(transport=transport)
    async with open_node(config) as a, open_node(config) as b:
        for node in (a, b):
            await expose(node)
        path = [a.address, a.address, b.address]
        sent = a.local.comm.prepare([path], {}, Remote(node=b.address, service="hops", method="go"))
        await a.local.comm.call(b.address, msgspec.structs.replace(sent, trace=STATE))
    assert traces == [STATE] * 4


async def test_a_client_that_is_no_node_may_send_a_trace_and_no_parent(traces: list[bytes]) -> None:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Trionet-Parent": "mine"}
    async with open_keyed() as node:
        hops = await expose(node)
        answer = await request(node, "/local/hops/go", "[[]]", bearer=token(Scope.CALL), **headers)
        assert answer.status_code == 200
    assert traces == [bytes.fromhex("0af7651916cd43dd8448eb211c80319cb7ad6b716920333101")]
    assert [call.parent for call in hops.seen] == [""]


async def test_calls_of_what_outlives_a_handler_have_no_parent() -> None:
    seen: list[tuple[str, str]] = []
    async with open_node() as a, trio.open_nursery() as nursery:

        class Starter:
            @rpc
            async def start(self) -> str:
                nursery.start_soon(self.later)
                await self.ask()
                return current_call().id

            async def later(self) -> None:
                await ended.wait()
                await self.ask()

            async def ask(self) -> None:
                await a.local.comm.send([], Remote(node=a.address, service="starter", method="note"))

            @rpc
            def note(self) -> None:
                seen.append((current_call().id, current_call().parent))

        ended = trio.Event()
        await a.local.routes.put(Starter(), "starter")
        own = await a.local.comm.send([], Remote(node=a.address, service="starter", method="start"))
        ended.set()
        await wait_until(lambda: len(seen) == 2)
    assert [parent for _, parent in seen] == [own, ""]


async def test_a_call_by_way_of_another_node_of_this_process_has_no_parent() -> None:
    async with open_node() as a, open_node() as b:
        at_a, at_b = await expose(a), await expose(b)
        at_a.node = b  # its handler has got hold of another node, where its call is unknown
        await a.local.comm.send([[a.address]], Remote(node=a.address, service="hops", method="go"))
    assert [call.parent for call in at_a.seen] == ["", ""]
    assert not at_b.seen


async def test_calls_in_the_block_of_a_stream_have_the_parent_of_its_reader() -> None:
    async with open_node() as a:
        at_a = await expose(a)

        @rpc
        async def within() -> str:
            with holding(0):
                await a.local.comm.send([[]], Remote(node=a.address, service="hops", method="go"))
            return current_call().id

        await a.local.routes.put({"within": within}, "outer")
        own = await a.local.comm.send([], Remote(node=a.address, service="outer", method="within"))
    assert [call.parent for call in at_a.seen] == [own]


# ---- strangers and older nodes


def _elements(to: NodeAddress, *more: Any) -> list[Any]:
    """Return the elements of a call whose handler calls another node."""
    frame = OwnCallFrame(1, "local", "hops", "go", [[MESSAGEPACK.lower(to)]], None, ID, None)
    own: list[Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(frame))
    return [*own, *more]


@pytest.mark.parametrize(
    ("more", "parent"),
    [
        ((), ""),
        (("",), ""),
        (("", "p"), "p"),
        (("", "p", b""), "p"),
        (("", "p", b"short"), "p"),
        (("", "p", bytes(10_000)), "p"),
        (("", "x" * MAX_ID_CHARS, TRACE), "x" * MAX_ID_CHARS),
        (("", "x" * (MAX_ID_CHARS + 1), TRACE), ""),
        (("", "p\r\nHost: evil", TRACE + b"\xff\r\n"), "p\r\nHost: evil"),
        (("", "p", TRACE, "a later version's", 7), "p"),
    ],
    ids=repr,
)
async def test_a_strangers_parent_and_trace_never_harm(more: tuple[Any, ...], parent: str) -> None:
    async with open_node(NodeConfig(transport="http")) as node, open_node() as next_one:  # it makes HTTP of it
        hops, onward = await expose(node), await expose(next_one)
        async with connect(node.address) as peer:
            await peer.send_bytes(_framed(_elements(next_one.address, *more)))
            assert isinstance(await peer.receive(), Reply)
        assert hops.seen[0].parent == parent
        assert onward.seen[0].parent == ID


async def test_a_long_id_is_no_parent() -> None:
    async with open_node() as node:
        hops = await expose(node)
        async with connect(node.address) as peer:
            long_one = CallFrame(
                1, "local", "hops", "go", [[MESSAGEPACK.lower(node.address)]], None, "x" * 1000, None, None, DEEPEST
            )
            await peer.send(long_one)
            assert isinstance(await peer.receive(), Reply)
    assert [len(call.parent) for call in hops.seen] == [0, 0]


@pytest.mark.parametrize("more", [("", 7), ("", "p", "text"), ("", None), ("", "p", [1])], ids=repr)
async def test_a_parent_or_trace_of_another_type_is_no_frame(more: tuple[Any, ...]) -> None:
    async with open_node() as node:
        await expose(node)
        async with connect(node.address) as peer:
            await peer.send_bytes(_framed(_elements(node.address, *more)))
            await peer.wait_closed()


async def test_a_nested_call_to_an_older_node_is_a_frame_that_it_reads(nursery: trio.Nursery) -> None:
    frames = [
        CallFrame(1, "local", "s", "m", [], None, "id", None, None, 1, "", "parent", STATE),
        CallFrame(1, "local", "s", "m", [], None, "id", None, None, 1, "token:ops", "parent"),
    ]
    for frame in frames:
        older = msgspec.msgpack.decode(msgspec.msgpack.encode(frame), type=_OlderCallFrame)
        assert (older.msg_id, older.id, older.depth, older.principal) == (1, "id", 1, frame.principal)


class _OlderCallFrame(msgspec.Struct, array_like=True, tag=1):
    msg_id: int
    gid: str
    service: str
    method: str
    args: Any
    kwargs: Any
    id: str
    timeout_s: float | None
    credit: int | None = None
    depth: int = 0
    principal: str = ""


def _framed(elements: list[Any]) -> bytes:
    encoded = msgspec.msgpack.encode(elements)
    return len(encoded).to_bytes(4, "big") + encoded
