"""A Maelstrom node: handlers, messages, and errors."""

from __future__ import annotations

import inspect
import itertools
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trionet import (
    Abort,
    CallTimeout,
    ConnectionLost,
    DecodeError,
    DefiniteError,
    EncodeError,
    IndefiniteError,
    KeyAlreadyExists,
    KeyDoesNotExist,
    MalformedRequest,
    MethodNotFound,
    NodeUnreachable,
    NotFound,
    PreconditionFailed,
    RemoteError,
    TemporarilyUnavailable,
    TrionetError,
    TxnConflict,
)
from trionet.maelstrom import KV, TSO, CustomError, Envelope, MaelstromNode, Message, error_body, error_from_body

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock


class Wire:
    """The other ends of a node's channels."""

    def __init__(self, send: trio.MemorySendChannel[bytes], receive: trio.MemoryReceiveChannel[bytes]) -> None:
        self._send = send
        self._receive = receive
        self._lines: list[bytes] = []
        self.ended = trio.Event()

    def write(self, line: bytes) -> None:
        self._send.send_nowait(line)

    def send(self, kind: str, src: str = "c1", dest: str = "n1", **body: Any) -> None:
        self.write(json.dumps({"src": src, "dest": dest, "body": {"type": kind, **body}, "id": 7}).encode())

    async def receive(self) -> dict[str, Any]:
        with trio.fail_after(20):
            while not self._lines:
                self._lines = (await self._receive.receive()).splitlines()
        message: dict[str, Any] = json.loads(self._lines.pop(0))
        assert list(message) == ["src", "dest", "body"]
        return message

    async def receive_body(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.receive())["body"]
        return body

    async def nothing(self) -> None:
        await wait_all_tasks_blocked()
        assert not self._lines
        with pytest.raises(trio.WouldBlock):
            self._receive.receive_nowait()

    async def init(self, *names: str) -> None:
        names = names or ("n1",)
        self.send("init", src="c0", msg_id=1, node_id=names[0], node_ids=sorted(names))
        assert await self.receive() == {"src": names[0], "dest": "c0", "body": {"type": "init_ok", "in_reply_to": 1}}

    def close(self) -> None:
        self._send.close()

    def go_away(self) -> None:
        self._receive.close()


@asynccontextmanager
async def opened(node: MaelstromNode, *names: str, init: bool = True) -> AsyncGenerator[Wire]:
    to_node, from_outside = trio.open_memory_channel[bytes](10_000)
    to_outside, from_node = trio.open_memory_channel[bytes](10_000)
    wire = Wire(to_node, from_node)

    async def serve() -> None:
        await node.serve(from_outside, to_outside)
        wire.ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        if init:
            await wire.init(*names)
        yield wire
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------------------------------------------ handlers


async def test_the_result_of_a_handler_is_the_reply() -> None:
    node = MaelstromNode()

    @node.on("sync")
    def sync(message: Envelope) -> dict[str, object]:
        return {"said": message["x"], "by": message.src}

    @node.on("soon")
    async def soon(message: Envelope) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"type": "other", "x": message.body["x"]}

    async with opened(node) as wire:
        wire.send("sync", msg_id=5, x=[1])
        assert await wire.receive() == {
            "src": "n1",
            "dest": "c1",
            "body": {"type": "sync_ok", "said": [1], "by": "c1", "in_reply_to": 5},
        }
        wire.send("soon", msg_id=6, x=None)
        assert await wire.receive_body() == {"type": "other", "x": None, "in_reply_to": 6}


async def test_a_handler_may_reply_itself_or_not_at_all() -> None:
    node = MaelstromNode()

    @node.on("early")
    def early(message: Envelope) -> None:
        node.reply(message, {"a": 1})
        raise ValueError("after the reply")

    @node.on("never")
    async def never(message: Envelope) -> None:
        pass

    async with opened(node) as wire:
        wire.send("never", msg_id=1)
        wire.send("early", msg_id=2)
        assert await wire.receive_body() == {"type": "early_ok", "a": 1, "in_reply_to": 2}
        wire.send("early")  # no call waits for a reply
        await wire.nothing()


async def test_handlers_begin_in_the_order_of_arrival_and_run_concurrently() -> None:
    node, begun, release = MaelstromNode(), [], trio.Event()

    @node.on("slow")
    async def slow(message: Envelope) -> dict[str, object]:
        begun.append(message["n"])
        await release.wait()
        return {}

    @node.on("quick")
    def quick(message: Envelope) -> dict[str, object]:
        begun.append(message["n"])
        return {}

    async with opened(node) as wire:
        for number in range(100):
            wire.send("quick" if number % 3 else "slow", msg_id=number, n=number)
        await wait_all_tasks_blocked()
        assert begun == list(range(100))
        release.set()


@pytest.mark.parametrize("is_sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (KeyDoesNotExist("no a"), 20, "no a"),
        (TxnConflict("lost"), 30, "lost"),
        (Abort("enough"), 14, "enough"),
        (CustomError("mine", number=1234), 1234, "mine"),
        (ValueError("bad"), 13, "ValueError: bad"),
        (ExceptionGroup("some", [ValueError("bad")]), 13, "ExceptionGroup: some (1 sub-exception)"),
        (trio.TooSlowError(), 0, "the time for it is over"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_the_exception_of_a_handler_is_in_the_reply_and_the_log_and_the_node_continues(
    raised: Exception, code: int, text: str, is_sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    node = MaelstromNode()

    def fail(message: Envelope) -> None:
        raise raised

    async def fail_soon(message: Envelope) -> None:
        await trio.lowlevel.checkpoint()
        raise raised

    node.on("fail")(fail if is_sync else fail_soon)
    with caplog.at_level(logging.INFO):
        async with opened(node) as wire:
            for msg_id in (3, 4):
                wire.send("fail", msg_id=msg_id)
                body = await wire.receive_body()
                assert body == {"type": "error", "code": code, "text": text, "in_reply_to": msg_id}
    assert len(caplog.records) == 2


class _Untold(Exception):
    """An exception that can't be described."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def _returning(result: object) -> Callable[[Envelope], Any]:
    return lambda _: result


def _raising(exc: Exception) -> Callable[[Envelope], Any]:
    def fail(_: Envelope) -> None:
        raise exc

    return fail


async def _forgotten(_: Envelope) -> object:
    async def inner() -> dict[str, object]:
        return {}

    unawaited = inner()
    unawaited.close()
    return unawaited


_ENDLESS: dict[str, object] = {}
_ENDLESS["self"] = _ENDLESS

CRASHES: dict[str, Callable[[Envelope], Any]] = {
    "an-object": _returning({"x": object()}),
    "a-set-inside": _returning({"total": {object()}}),
    "a-lone-surrogate": _returning({"x": "\ud800"}),
    "a-surrogate-as-a-key": _returning({"\ud800": 1}),
    "a-list": _returning([1]),
    "a-text": _returning("done"),
    "zero": _returning(0),
    "false": _returning(False),
    "empty-text": _returning(""),
    "pairs": _returning([("a", 1)]),
    "a-number-as-a-key": _returning({1: 2}),
    "a-type-that-is-no-text": _returning({"type": 5}),
    "a-coroutine-not-awaited": _forgotten,
    "a-generator": _returning(iter(())),
    "a-body-without-end": _returning(_ENDLESS),
    "encode-error": _raising(EncodeError("a name", path="caf\udce9")),
    "decode-error": _raising(DecodeError("what a file held")),
    "untold": _raising(_Untold()),
    "custom-with-a-text-for-a-number": _raising(CustomError("x", number="x")),  # type: ignore[arg-type]
    "custom-with-a-definite-number": _raising(CustomError("x", number=20)),
}


@pytest.mark.parametrize("is_sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("handler", CRASHES.values(), ids=CRASHES)
async def test_once_a_handler_has_run_an_invalid_reply_is_a_crash(
    handler: Callable[[Envelope], Any], is_sync: bool
) -> None:
    node, runs = MaelstromNode(), []

    def run(message: Envelope) -> Any:
        runs.append(1)
        return handler(message)

    async def run_soon(message: Envelope) -> Any:
        await trio.lowlevel.checkpoint()
        result = run(message)
        return await result if inspect.isawaitable(result) else result

    node.on("odd")(run if is_sync else run_soon)
    async with opened(node) as wire:
        wire.send("odd", msg_id=1)
        body = await wire.receive_body()
        assert (body["type"], body["code"], body["in_reply_to"]) == ("error", 13, 1)
        assert isinstance(error_from_body(body), IndefiniteError)
        await wire.nothing()
        assert len(runs) == 1


async def test_an_error_with_a_text_that_is_no_unicode_is_a_reply() -> None:
    node = MaelstromNode()
    node.on("odd")(_raising(CustomError("caf\udce9", number=1001)))
    async with opened(node) as wire:
        wire.send("odd", msg_id=1)
        body = await wire.receive_body()
        assert (body["code"], body["text"]) == (1001, "caf\\udce9")


async def test_a_message_has_one_reply() -> None:
    node, raised = MaelstromNode(), []

    @node.on("twice")
    def twice(message: Envelope) -> dict[str, object]:
        node.reply(message, {"n": 1})
        try:
            node.reply(message, {"n": 2})
        except PreconditionFailed as exc:
            raised.append(exc)
        return {"n": 3}

    @node.on("second-try")
    def second_try(message: Envelope) -> None:
        with pytest.raises(EncodeError):
            node.reply(message, {"x": object()})
        node.reply(message, {"x": 1})

    async with opened(node) as wire:
        wire.send("twice", msg_id=1)
        assert await wire.receive_body() == {"type": "twice_ok", "n": 1, "in_reply_to": 1}
        await wire.nothing()
        assert len(raised) == 1
        wire.send("second-try", msg_id=2)
        assert await wire.receive_body() == {"type": "second-try_ok", "x": 1, "in_reply_to": 2}
        await wire.nothing()


async def test_a_topology_is_kept_unless_the_program_handles_it() -> None:
    node = MaelstromNode()
    async with opened(node, "n1", "n2", "n3") as wire:
        assert list(node.neighbors) == ["n2", "n3"]
        wire.send("topology", msg_id=1, topology={"n1": ["n3"]})
        assert await wire.receive_body() == {"type": "topology_ok", "in_reply_to": 1}
        assert list(node.neighbors) == ["n3"]
        wire.send("topology", msg_id=2, topology=[])
        assert (await wire.receive_body())["code"] == 12
    own = MaelstromNode()
    own.on("topology")(lambda message: {"type": "topology_ok"})
    with pytest.raises(MalformedRequest):
        own.on("init")
    own.on("a")(lambda message: None)
    with pytest.raises(MalformedRequest):
        own.on("a")


# -------------------------------------------------------------------------------------------------- init, tasks, ending


async def test_a_message_that_arrives_before_the_name_waits_for_it() -> None:
    node, order = MaelstromNode(), []

    @node.on_init
    async def prepare() -> None:
        assert (node.id, node.index) == ("n1", 1)
        assert (list(node.node_ids), list(node.peers)) == (["n0", "n1"], ["n0"])
        await trio.lowlevel.checkpoint()
        order.append("prepared")

    @node.on("hello")
    def hello(message: Envelope) -> dict[str, object]:
        order.append("hello")
        return {}

    async with opened(node, init=False) as wire:
        wire.send("hello", src="n0", msg_id=9)
        await wire.nothing()
        await wire.init("n1", "n0")
        assert await wire.receive_body() == {"type": "hello_ok", "in_reply_to": 9}
        assert order == ["prepared", "hello"]


async def test_a_second_init_is_answered_and_changes_nothing() -> None:
    node = MaelstromNode()
    async with opened(node) as wire:
        await wire.init()
        wire.send("init", msg_id=2, node_id="n2", node_ids=["n2"])
        assert (await wire.receive_body())["code"] == 22
        wire.send("init", msg_id=3, node_id=2)
        assert (await wire.receive_body())["code"] == 12
        assert node.id == "n1"


async def test_periodic_and_background_tasks_run_from_init_to_the_end(autojump_clock: MockClock) -> None:
    node, ticks, ended = MaelstromNode(), [], trio.Event()
    begin = trio.current_time()

    @node.every(1.0)
    def tick() -> None:
        ticks.append(trio.current_time() - begin)

    @node.background
    async def stay() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with opened(node, init=False) as wire:
        await trio.sleep(5)
        assert not ticks
        await wire.init()
        await trio.sleep(10.5)
        assert 9 <= len(ticks) <= 11
        assert len({round(after - before, 6) for before, after in itertools.pairwise(ticks)}) > 1
        wire.close()
        await ended.wait()


async def test_a_failing_task_of_the_node_ends_it() -> None:
    node = MaelstromNode()

    @node.on("start")
    def start(message: Envelope) -> None:
        node.start_soon(fail)

    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(TemporarilyUnavailable):
        node.start_soon(fail)
    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with opened(node) as wire:
            wire.send("start")
            await trio.sleep_forever()


async def test_the_end_of_the_input_lets_handlers_finish_for_a_second(autojump_clock: MockClock) -> None:
    node, begin = MaelstromNode(), trio.current_time()

    @node.on("sleep")
    async def sleep(message: Envelope) -> dict[str, object]:
        await trio.sleep(message["s"])
        return {}

    async with opened(node) as wire:
        wire.send("sleep", msg_id=1, s=0.5)
        wire.send("sleep", msg_id=2, s=1000)
        wire.close()
        assert await wire.receive_body() == {"type": "sleep_ok", "in_reply_to": 1}
        await wire.ended.wait()
    assert 1 <= trio.current_time() - begin < 3


async def test_a_closed_output_ends_the_node() -> None:
    node = MaelstromNode()
    node.on("echo")(lambda message: {})
    async with opened(node) as wire:
        wire.go_away()
        wire.send("echo", msg_id=1)
        await wire.ended.wait()


# ------------------------------------------------------------------------------------------------------------- garbage

GARBAGE = [
    b"{bad",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"src": "c1"}',
    b'{"src": 1, "dest": "n1", "body": {"type": "echo"}}',
    b'{"src": "c1", "dest": "n1", "body": []}',
    b'{"src": "c1", "dest": "n1", "body": {"type": "echo", "msg_id": "x"}}',
    b"\xff\xfe\x00",
    b'{"src": "c\xff1", "dest": "n1", "body": {"type": "echo", "msg_id": 1}}',
    b"[" * 100_000,
    b'{"src": "c1", "dest": "n1", "body": ' + b'{"a":' * 100_000,
    b'{"src": "c1", "dest": "n1", "body": {"in_reply_to": 77, "type": "echo_ok"}}',
    b'{"src": "c1", "dest": "n1", "body": {"type": "unknown"}}',
    b"x" * 1_000_000,
    b"   ",
    b"",
]


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: line[:30].decode("latin-1"))
async def test_garbage_is_ignored_and_the_node_continues(line: bytes) -> None:
    node = MaelstromNode()
    node.on("echo")(lambda message: {"echo": message["echo"]})
    async with opened(node) as wire:
        wire.write(line + b"\n")
        wire.send("echo", msg_id=2, echo=1)
        assert await wire.receive_body() == {"type": "echo_ok", "echo": 1, "in_reply_to": 2}
        await wire.nothing()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"src": "c1", "dest": "n1", "body": {"type": "unknown", "msg_id": 4}}', 10),
        (b'{"src": "c1", "dest": "n1", "body": {"msg_id": 4}}', 12),
        (b'{"src": "c1", "dest": "n1", "body": {"type": 5, "msg_id": 4}}', 12),
        (b'{"src": "c1", "body": {"type": "echo", "msg_id": 4}}', 12),
        (b'{"src": "c1", "dest": "n1", "body": {"type": "echo", "msg_id": 4}}', 12),
        (b'{"src": "c1", "dest": "n1", "body": {"type": "echo", "msg_id": 4, "in_reply_to": "x"}}', 12),
        (b'{"src": "c1", "dest": "n9", "body": {"type": "echo", "msg_id": 4, "echo": 1}}', 1),
    ],
)
async def test_garbage_with_a_readable_sender_has_an_error_reply(line: bytes, code: int) -> None:
    node = MaelstromNode()
    node.on("echo")(lambda message: {"echo": message["echo"]})
    async with opened(node) as wire:
        wire.write(line)
        reply = await wire.receive()
        assert reply["dest"] == "c1"
        assert (reply["body"]["type"], reply["body"]["code"], reply["body"]["in_reply_to"]) == ("error", code, 4)


# ----------------------------------------------------------------------------------------------------------------- rpc


async def test_an_rpc_returns_the_body_of_its_reply_and_replies_find_their_callers() -> None:
    node, found = MaelstromNode(), {}

    @node.on("ask")
    async def ask(message: Envelope) -> None:
        found[message["n"]] = (await node.rpc("n2", {"type": "what", "n": message["n"]}))["is"]

    async with opened(node, "n1", "n2") as wire:
        for number in range(3):
            wire.send("ask", n=number)
        asked = [await wire.receive() for _ in range(3)]
        assert {message["dest"] for message in asked} == {"n2"}
        assert len({message["body"]["msg_id"] for message in asked}) == 3
        for message in reversed(asked):
            answer = {"in_reply_to": message["body"]["msg_id"], "is": message["body"]["n"] * 10}
            wire.send("what_ok", src="n9", **answer | {"is": -1})  # another node than the called one
            wire.send("what_ok", src="n2", **answer)
            wire.send("what_ok", src="n2", **answer)  # twice
        await wait_all_tasks_blocked()
        assert found == {0: 0, 1: 10, 2: 20}


async def test_an_rpc_ends_with_its_deadline_and_a_late_reply_is_dropped(autojump_clock: MockClock) -> None:
    node = MaelstromNode()

    @node.on("ask")
    async def ask(message: Envelope) -> dict[str, object]:
        with trio.fail_after(3):
            return await node.rpc("n2", {"type": "what"})

    async with opened(node, "n1", "n2") as wire:
        wire.send("ask", msg_id=8)
        asked = await wire.receive_body()
        assert (await wire.receive_body())["code"] == 0
        wire.send("what_ok", src="n2", in_reply_to=asked["msg_id"])
        await wire.nothing()


async def test_an_rpc_fails_when_the_input_ends() -> None:
    node, raised = MaelstromNode(), []

    @node.on("ask")
    async def ask(message: Envelope) -> None:
        for _ in range(2):
            try:
                await node.rpc("n2", {"type": "what"})
            except IndefiniteError as exc:
                raised.append(exc)

    async with opened(node) as wire:
        wire.send("ask")
        await wire.receive()
        wire.close()
        await wait_all_tasks_blocked()
    assert [type(exc) for exc in raised] == [ConnectionLost, ConnectionLost]


async def test_a_value_that_json_does_not_have_is_refused_by_the_sending_function() -> None:
    node = MaelstromNode()
    async with opened(node) as wire:
        for value in (object(), {(1, 2): 3}, "\ud800"):
            with pytest.raises(EncodeError):
                node.send("n2", {"type": "x", "value": value})
        with pytest.raises(EncodeError):
            await node.rpc("n2", {"type": "x", "value": object()})
        await wire.nothing()


async def test_messages_of_one_scheduler_pass_are_written_at_once() -> None:
    node = MaelstromNode()
    async with opened(node) as wire:
        for number in range(50):
            node.send("n2", {"type": "x", "n": number})
        await wait_all_tasks_blocked()
        data = wire._receive.receive_nowait()  # noqa: SLF001
        assert [json.loads(line)["body"]["n"] for line in data.splitlines()] == list(range(50))


# -------------------------------------------------------------------------------------------------------------- errors

CODES = {
    0: CallTimeout,
    1: NodeUnreachable,
    10: NotFound,
    11: TemporarilyUnavailable,
    12: MalformedRequest,
    13: RemoteError,
    14: Abort,
    20: KeyDoesNotExist,
    21: KeyAlreadyExists,
    22: PreconditionFailed,
    30: TxnConflict,
}


@pytest.mark.parametrize(("code", "kind"), CODES.items())
def test_each_code_is_an_exception_and_back_and_definite_or_indefinite(code: int, kind: type[TrionetError]) -> None:
    error = error_from_body({"type": "error", "code": code, "text": "why", "extra": 1})
    assert type(error) is kind
    assert error.text == "why"
    assert isinstance(error, DefiniteError) == (code not in (0, 13))
    assert error_body(error) == {"type": "error", "code": code, "text": "why"}


@pytest.mark.parametrize(
    "body", [{"code": 1234, "text": "mine"}, {"code": 99}, {"code": "x"}, {}, {"code": 1.5, "text": 5}]
)
def test_an_unknown_code_is_indefinite(body: dict[str, Any]) -> None:
    error = error_from_body(body)
    assert isinstance(error, IndefiniteError)
    if type(body.get("code")) is int:
        assert isinstance(error, CustomError)
        assert error_body(error)["code"] == body["code"]


def test_programs_may_call_an_envelope_a_message() -> None:
    assert Message is Envelope


def test_an_error_of_trionets_own_arrives_as_its_type() -> None:
    body = error_body(MethodNotFound("no such"))
    assert body == {"type": "error", "code": 10, "text": "no such", "name": "MethodNotFound"}
    assert type(error_from_body(body)) is MethodNotFound


# ------------------------------------------------------------------------------------------------------------ services


async def test_requests_to_the_stores_and_the_oracle_follow_their_protocol() -> None:
    node, results = MaelstromNode(), []
    kv, lww = KV(node, "seq-kv"), KV(node, "lww-kv")

    @node.on("go")
    async def go(message: Envelope) -> None:
        results.append(await kv.read("a"))
        results.append(await kv.read_or("b", "default"))
        await kv.write("a", None)
        await kv.cas("a", 1, 2)
        with pytest.raises(PreconditionFailed):
            await kv.cas("a", 1, 2, create_if_not_exists=True)
        with pytest.raises(MalformedRequest):
            await lww.cas("a", 1, 2, create_if_not_exists=True)
        results.append(await TSO(node).ts())

    expected: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("seq-kv", {"type": "read", "key": "a"}, {"type": "read_ok", "value": 5}),
        ("seq-kv", {"type": "read", "key": "b"}, {"type": "error", "code": 20, "text": "key does not exist"}),
        ("seq-kv", {"type": "write", "key": "a", "value": None}, {"type": "write_ok"}),
        ("seq-kv", {"type": "cas", "key": "a", "from": 1, "to": 2}, {"type": "cas_ok"}),
        (
            "seq-kv",
            {"type": "cas", "key": "a", "from": 1, "to": 2, "create_if_not_exists": True},
            {"type": "error", "code": 22, "text": "current value 2 is not 1"},
        ),
        ("lin-tso", {"type": "ts"}, {"type": "ts_ok", "ts": 17}),
    ]
    async with opened(node) as wire:
        wire.send("go")
        for service, request, reply in expected:
            asked = await wire.receive()
            msg_id = asked["body"].pop("msg_id")
            assert (asked["dest"], asked["body"]) == (service, request)
            kind = reply.pop("type")
            wire.send(kind, src=service, in_reply_to=msg_id, **reply)
        await wait_all_tasks_blocked()
        assert results == [5, "default", 17]
