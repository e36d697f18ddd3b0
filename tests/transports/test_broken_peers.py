"""Peers that answer what is no answer: whatever they say once they have the call, nothing definite follows from it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transports.link.ends import Closed, HandPeer, listen, serve_raw
from tests.waiting import DEADLINE_S
from trionet import (
    ConnectionLost,
    DefiniteError,
    IndefiniteError,
    MalformedRequest,
    Node,
    NodeAddress,
    NodeConfig,
    NotFound,
    Remote,
    RemoteError,
    TemporarilyUnavailable,
    TrionetError,
    open_node,
)
from trionet.errors import error_to_wire
from trionet.protocols.link.frames import CallFrame, Cancelled, Chunk, End, Error, Frame, Item, Reply, encode_frame
from trionet.transports.base import answered_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypothesis.strategies import SearchStrategy

    Start = Callable[..., Awaitable[Node]]

REMOTE = {"service": "probe", "method": "any"}

NO_ERRORS: dict[str, Any] = {
    "nothing": {},
    "no code": {"name": "NotFound", "text": "x"},
    "a code that is no number": {"code": "10", "text": "x"},
    "a code that is a truth value": {"code": True, "text": "x"},
    "a text that is none": {"code": 10, "text": 7},
    "a node that is none": {"code": 10, "text": "x", "node": 7},
    "no name": {"code": 10, "text": "x"},
    "a name that is none": {"code": 10, "name": 7, "text": "x"},
    "no text": {"code": 10, "name": "NotFound"},
    "a definite name with the code of an indefinite one": {"code": 13, "name": "NotFound", "text": "x"},
    "a definite name with the code of a lost connection": {"code": 1100, "name": "MessageTooLarge", "text": "x"},
}


async def ask(node: Node, address: NodeAddress) -> Any:
    with trio.fail_after(DEADLINE_S):
        return await node.local.comm.send([], Remote(node=address, **REMOTE))


async def read(node: Node, address: NodeAddress) -> list[Any]:
    with trio.fail_after(DEADLINE_S):
        async with node.local.comm.stream([], Remote(node=address, **REMOTE)) as items:
            return [item async for item in items]


WAYS = {"call": ask, "stream": read}


# ---- what an error is


@pytest.mark.parametrize("wire", [*NO_ERRORS.values(), 7, None, "NotFound", ["code"]])
def test_what_is_no_error_is_a_lost_connection(wire: Any) -> None:
    assert type(answered_error(wire)) is ConnectionLost


@pytest.mark.parametrize("error", [NotFound("x"), DefiniteError("x"), RemoteError("x"), IndefiniteError("x")])
def test_a_proper_error_is_what_it_is(error: TrionetError) -> None:
    assert type(answered_error(error_to_wire(error))) is type(error)


# ---- links


def _answers(number: int) -> dict[str, list[Frame]]:
    """Return what a broken peer may say instead of an answer."""
    errors: dict[str, list[Frame]] = {name: [Error(number, wire)] for name, wire in NO_ERRORS.items()}
    return {
        **errors,
        "that it was cancelled": [Cancelled(number)],
        "a value that can't be read": [Reply(number, {"$type": ["trionet:NodeConfig", {"port": -1}]})],
        "a value of an unknown type": [Reply(number, {"$type": ["no.such:Type", {}]})],
        "an address that is none": [Reply(number, {"$address": ["", -1]})],
        "a chunked error that is none": [Chunk(1, 1, True, encode_frame(Error(number, {})))],
        "an item, and a value that can't be read": [Item(number, {"$what": 1}), End(number)],
        "an item, and an error that is none": [Item(number, 1), Error(number, {})],
    }


FOR_A_CALL = {**_answers(1), "a stream's end": [End(1)], "an item": [Item(1, 1)]}
FOR_A_STREAM = {**_answers(1), "a value": [Reply(1, 7)], "an item and a value": [Item(1, 1), Reply(1, 7)]}


@pytest.mark.parametrize(
    ("way", "frames"),
    [("call", frames) for frames in FOR_A_CALL.values()] + [("stream", frames) for frames in FOR_A_STREAM.values()],
    ids=[f"call: {name}" for name in FOR_A_CALL] + [f"stream: {name}" for name in FOR_A_STREAM],
)
async def test_over_a_link_an_answer_that_is_none_is_a_lost_connection(
    start_node: Start, nursery: trio.Nursery, way: str, frames: list[Frame]
) -> None:
    async def behave(peer: HandPeer) -> None:
        await peer.receive_a(CallFrame)
        await peer.send(*frames)
        await peer.wait_closed()

    node, address = await start_node(), await listen(nursery, behave)
    with pytest.raises(ConnectionLost):
        await WAYS[way](node, address)


@pytest.mark.parametrize("way", WAYS)
async def test_over_a_link_a_proper_definite_error_stays_one(
    start_node: Start, nursery: trio.Nursery, way: str
) -> None:
    async def behave(peer: HandPeer) -> None:
        call = await peer.receive_a(CallFrame)
        await peer.send(Error(call.msg_id, error_to_wire(NotFound("there is none"))))
        await peer.wait_closed()

    node, address = await start_node(), await listen(nursery, behave)
    with pytest.raises(NotFound, match="there is none"):
        await WAYS[way](node, address)


# ---- HTTP


def _response(body: bytes, status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Any", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


_NOT_FOUND = msgspec.json.encode({"error": error_to_wire(NotFound("there is none"))})

RESPONSES: dict[str, bytes] = {
    **{
        f"an error with {name}": _response(msgspec.json.encode({"error": wire}), 404)
        for name, wire in NO_ERRORS.items()
    },
    "an error that is a text": _response(b'{"error": "no"}', 404),
    "an error that is nothing": _response(b'{"error": null}', 404),
    "an error that is a list": _response(b'["error"]', 404),
    "a text": _response(b'"an error"'),
    "a number": _response(b"7"),
    "nothing": _response(b""),
    "an empty object": _response(b"{}"),
    "no JSON": _response(b"<html>Bad Gateway</html>", 502),
    "no text": _response(b"\xff\xfe"),
    "JSON that is nested too deep": _response(b"[" * 100_000),
    "an error with the status of a success": _response(_NOT_FOUND, 200),
    "an error with the status of another place": _response(_NOT_FOUND, 302),
    "an error with the status of another's failure": _response(_NOT_FOUND, 502),
    "an error with a status beyond all": _response(_NOT_FOUND, 999),
    "an error and a value": _response(_NOT_FOUND[:-1] + b',"value":1}', 404),
    "a value with the status of a failure": _response(b'{"value": 1}', 500),
    "values that are none": _response(b'{"values": 7, "errors": {}}'),
    "errors of members that are none": _response(b'{"values": {}, "errors": {"a": 7}}'),
    "a value that can't be read": _response(b'{"value": {"$type": ["no.such:Type", {}]}}'),
    "another place": _response(b"", 302, Location="http://[::1"),
    "another place of another kind": _response(b"", 302, Location="foo://x:99999999/"),
    "a body in an encoding that it isn't in": _response(b"not gzip", Content_Encoding="gzip"),
    "a body in letters of no script": _response(b'{"item": 1}\n', Content_Type="application/json; charset=base64"),
    "less than it says": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"value"',
    "what is no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "a status that is none": b"HTTP/1.1 999999 Any\r\n\r\n",
}

STREAMS: dict[str, bytes] = {
    "another end": _response(b'{"item": 1}\n{"end": false}\n'),
    "a value": _response(b'{"item": 1}\n{"value": 7}\n'),
    "an empty object at last": _response(b'{"item": 1}\n{}\n'),
    "no end": _response(b'{"item": 1}\n'),
    "something behind the end": _response(b'{"end": true}\n{"item": 1}\n'),
    "an item and an error at once": _response(_NOT_FOUND[:-1] + b',"item":1}'),
    "an error and an end at once": _response(_NOT_FOUND[:-1] + b',"end":true}'),
    "an error that is none at last": _response(b'{"item": 1}\n{"error": {}}\n'),
    "items with the status of a failure": _response(b'{"item": 1}\n{"end": true}\n', 500),
}


@pytest.fixture
def http_peer(nursery: trio.Nursery) -> Callable[[bytes], Awaitable[NodeAddress]]:
    """Listen, take a request, and answer it with the bytes that are given."""

    async def serve(response: bytes) -> NodeAddress:
        async def answer(stream: trio.SocketStream) -> None:
            got = b""
            while b"\r\n\r\n" not in got or not got.endswith(b"[]"):
                got += (more := bytes(await stream.receive_some()))
                if not more:
                    raise Closed
            await stream.send_all(response)
            await stream.send_eof()

        return await serve_raw(nursery, answer)

    return serve


@pytest.mark.parametrize(
    ("way", "response"),
    [("call", response) for response in RESPONSES.values()]
    + [("stream", response) for response in (RESPONSES | STREAMS).values() if response != _response(_NOT_FOUND, 200)],
    ids=[f"call: {name}" for name in RESPONSES]
    + [f"stream: {name}" for name in RESPONSES | STREAMS if name != "an error with the status of a success"],
)
async def test_over_http_an_answer_that_is_none_is_a_lost_connection(
    start_node: Start, http_peer: Callable[[bytes], Awaitable[NodeAddress]], way: str, response: bytes
) -> None:
    node, address = await start_node(NodeConfig(transport="http")), await http_peer(response)
    with pytest.raises(ConnectionLost):
        await WAYS[way](node, address)


@pytest.mark.parametrize("way", WAYS)
async def test_over_http_a_proper_definite_error_stays_one(
    start_node: Start, http_peer: Callable[[bytes], Awaitable[NodeAddress]], way: str
) -> None:
    node, address = await start_node(NodeConfig(transport="http")), await http_peer(_response(_NOT_FOUND, 404))
    with pytest.raises(NotFound, match="there is none"):
        await WAYS[way](node, address)


async def test_over_http_an_item_may_have_any_letter(
    start_node: Start, http_peer: Callable[[bytes], Awaitable[NodeAddress]]
) -> None:
    """Unicode has more ends of lines than a stream of JSON has."""
    texts = ["a\N{LINE SEPARATOR}b", "a\x85b", "a\N{PARAGRAPH SEPARATOR}"]
    body = b"".join(msgspec.json.encode({"item": text}) + b"\n" for text in texts) + b'{"end": true}\n'
    node, address = await start_node(NodeConfig(transport="http")), await http_peer(_response(body))
    assert await read(node, address) == texts


async def test_over_http_what_comes_behind_an_answer_is_no_answer_to_the_next_call(
    start_node: Start, nursery: trio.Nursery
) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        got = b""
        while not got.endswith(b"[]"):
            got += (more := bytes(await stream.receive_some()))
            if not more:
                raise Closed
        await stream.send_all(_response(b'{"value": "its own"}') + _response(b'{"value": "of no call"}'))
        await stream.receive_some()

    node, address = await start_node(NodeConfig(transport="http")), await serve_raw(nursery, answer)
    assert [await ask(node, address), await ask(node, address)] == ["its own", "its own"]


# ---- anything at all

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_WORDS = st.sampled_from(["code", "name", "text", "node", "path", "type_name", "calls"])
_WIRES: SearchStrategy[dict[str, Any]] = st.dictionaries(
    _WORDS, _PLAIN | st.sampled_from(["NotFound", "DefiniteError", "RemoteError", 0, 1, 10, 13, 1002, 1100]), max_size=5
)


_DEFINITE: SearchStrategy[dict[str, Any]] = st.builds(
    lambda kind, text, changes: error_to_wire(kind(text)) | changes,
    st.sampled_from([NotFound, MalformedRequest, TemporarilyUnavailable]),
    st.text(max_size=5),
    st.fixed_dictionaries({"code": st.sampled_from([True, 0, 13, 1100])}) | st.dictionaries(_WORDS, _PLAIN, max_size=2),
)
"""What describes a definite error, whole or with changes; what is made up of words hardly ever does."""


@given(_DEFINITE | _WIRES | _PLAIN)
def test_an_error_is_definite_only_with_a_definite_code_and_texts(wire: Any) -> None:
    error = answered_error(wire)
    assert isinstance(error, TrionetError)
    if not isinstance(error, DefiniteError):
        return
    assert type(wire["code"]) is int
    assert wire["code"] not in (0, 13, 1100, 1101, 1102)
    assert isinstance(wire["text"], str)
    assert isinstance(wire["name"], str)


@given(st.lists(st.sampled_from([Item(1, 1), Item(1, 2), End(1), Reply(1, 3), Cancelled(1), Error(1, {})]), max_size=4))
@settings(max_examples=30)
@pytest.mark.slow
def test_whatever_frames_a_peer_answers_with_a_stream_ends_well_only_with_its_end(frames: list[Frame]) -> None:
    async def behave(peer: HandPeer) -> None:
        await peer.receive_a(CallFrame)
        await peer.send(*frames)
        await peer.stream.send_eof()
        await peer.wait_closed()

    async def main() -> list[Any] | None:
        async with open_node() as node, trio.open_nursery() as nursery:
            address = await listen(nursery, behave)
            try:
                return await read(node, address)
            except ConnectionLost:
                return None
            finally:
                nursery.cancel_scope.cancel()

    ends = [index for index, frame in enumerate(frames) if not isinstance(frame, Item)]
    got = trio.run(main)
    if ends and isinstance(frames[ends[0]], End):
        assert got == [frame.value for frame in frames[: ends[0]] if isinstance(frame, Item)]
    else:
        assert got is None


@given(st.binary(max_size=60) | _PLAIN.map(msgspec.json.encode))
@settings(max_examples=30)
@pytest.mark.slow
def test_whatever_body_comes_over_http_nothing_definite_follows(body: bytes) -> None:
    async def main() -> None:
        async with open_node(NodeConfig(transport="http")) as node, trio.open_nursery() as nursery:
            answer = functools.partial(_answer_with, _response(body))
            address = await serve_raw(nursery, answer)
            for way in WAYS.values():
                with pytest.raises(ConnectionLost):
                    await way(node, address)
            nursery.cancel_scope.cancel()

    if not body.startswith(b'{"value"'):
        trio.run(main)


async def _answer_with(response: bytes, stream: trio.SocketStream) -> None:
    got = b""
    while not got.endswith(b"[]"):
        got += (more := bytes(await stream.receive_some()))
        if not more:
            return
    await stream.send_all(response)
    await stream.send_eof()
