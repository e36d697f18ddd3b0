"""What every transport does, whatever it is made of: one suite for all of them.

To add a transport is to add one entry to `tests.transports.endpoints.TRANSPORTS`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import itertools
import math
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.endpoints import TRANSPORTS, Fabric, Peer
from tests.travelling import ERROR_TYPES, Parcel, Point, Shelf, is_same
from tests.waiting import DEADLINE_S
from trionet import (
    CallTimeout,
    ConnectionLost,
    DefiniteError,
    EncodeError,
    IndefiniteError,
    MalformedRequest,
    MessageTooLarge,
    MethodNotFound,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    RemoteError,
    Replies,
    TrionetError,
    current_call,
    register_type,
)
from trionet.router import Method

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
    from contextlib import AbstractAsyncContextManager

    StartPeer = Callable[..., Awaitable[Peer]]

LIMIT_BYTES = 64 * 1024
SMALL = NodeConfig(max_message_bytes=LIMIT_BYTES)


@pytest.fixture(params=TRANSPORTS)
def fabric(request: pytest.FixtureRequest) -> Generator[Fabric]:
    fabric = TRANSPORTS[request.param]()
    yield fabric
    fabric.close()


@pytest.fixture
def start(fabric: Fabric, nursery: trio.Nursery) -> StartPeer:
    """Start a peer, ``await start(config)``; it serves as long as the test lasts."""

    async def start_peer(config: NodeConfig | None = None) -> Peer:
        peer = Peer()
        with trio.fail_after(DEADLINE_S):
            await nursery.start(peer.serve, fabric, config or NodeConfig())
        return peer

    return start_peer


@pytest.fixture(autouse=True)
async def deadline() -> AsyncGenerator[None]:
    """No test of this file waits for ever."""
    with trio.fail_after(DEADLINE_S):
        yield


def echo(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


class Waiting:
    """A handler that waits for ever, and tells what became of it."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.cancelled = trio.Event()
        self.release = trio.Event()

    async def handle(self) -> str:
        self.begun.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return "released"


# --------------------------------------------------------------------------------------------------------------- values

VALUES = [
    None,
    True,
    0,
    -(2**63),
    2**64,
    10**4000,
    1.5,
    -0.0,
    math.nan,
    math.inf,
    "",
    "ünï\0cödé \N{SNOWMAN} ?&=#%/+",
    b"\x00\xff",
    [1, [2, [3]]],
    (1, (2,)),
    {"a": 1, "$b": 2},
    {1: "a", "1": "b", True and 2.5: "c", (1, 2): "d", None: "e"},
    {1, "a", (2,)},
    frozenset([b"x"]),
    datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC),
    datetime.datetime(2026, 11, 20, 12),  # naive ones travel, too
    uuid.UUID(int=7),
    Point(1, (2,)),
    Shelf([Parcel("x")], rank=b"1"),
    NodeAddress("::1", 8080),
    CallTimeout("late"),
    Replies({"a": (1,)}, {"b": RemoteError("x", type_name="X", message="x", traceback="")}),
]


async def test_a_value_arrives_equal_as_argument_as_keyword_and_as_reply(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    for value in VALUES:
        args, kwargs = await one.call(other, "echo", value, [value], kwargs={"keyword": value})
        assert is_same((args, kwargs), ((value, [value]), {"keyword": value})), value
        call = other.router.calls.pop()
        assert not other.router.calls
        assert is_same(list(call.args), [value, [value]]), value
        assert is_same(dict(call.kwargs), {"keyword": value}), value


async def test_no_arguments_arrive_as_none_and_many_in_their_order(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    assert await one.call(other, "echo") == ((), {})
    kwargs = {name: number for number, name in enumerate("zyxwv")}
    _, received = await one.call(other, "echo", *range(100), kwargs=kwargs)
    assert list(received.items()) == list(kwargs.items())


@pytest.mark.parametrize("name", ["ünïcödé", "a b", "a&b=c", "%41", "self", "class", "+"])
async def test_a_keyword_of_any_name_arrives(start: StartPeer, name: str) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    assert await one.call(other, "echo", kwargs={name: 1}) == ((), {name: 1})


async def test_a_text_that_looks_like_json_stays_a_text(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    for text in ("null", "1", "[1]", '"x"', '{"$int": "0x1"}', "word"):
        assert await one.call(other, "echo", text, kwargs={"k": text}) == ((text,), {"k": text})


@pytest.mark.slow
async def test_a_megabyte_arrives_both_ways(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    value = bytes(range(256)) * 4096
    assert await one.call(other, "echo", value) == ((value,), {})


async def test_long_keyword_arguments_arrive_or_are_refused_at_the_sender(start: StartPeer) -> None:
    """HTTP has them in the request's first line, whose length is limited."""
    one, other = await start(), await start()
    other.expose(echo=echo)
    for size in (4_000, 40_000, 400_000):
        try:
            assert await one.call(other, "echo", kwargs={"k": "x" * size}) == ((), {"k": "x" * size})
        except MessageTooLarge:
            assert size > 4_000
            assert len(other.router.calls) < 3


@pytest.mark.parametrize(
    ("gid", "service", "method"),
    [
        ("grüppe", "dïenst", "mëthöde"),
        ("group one", "a+b", "50%"),
        ("%2F", "%00", "a%20b"),
        ("?", "#", "&=;"),
        ("\N{SNOWMAN}", "日本語", "🎈"),
        ("healthz", "healthz", "healthz"),
        ("..", ".", "..."),
    ],
)
async def test_names_arrive_as_they_are(start: StartPeer, gid: str, service: str, method: str) -> None:
    one, other = await start(), await start()
    other.router.put(gid, service, {method: Method(echo)})
    assert await one.call(other, method, 1, gid=gid, service=service) == ((1,), {})
    (call,) = other.router.calls
    assert (call.gid, call.service, call.method) == (gid, service, method)


async def test_the_call_id_and_the_caller_arrive(start: StartPeer) -> None:
    one, other = await start(), await start()

    async def describe() -> tuple[str, NodeAddress | None, str]:
        call = current_call()
        return call.id, call.caller, call.gid

    other.expose(describe=describe)
    assert await one.call(other, "describe", id_="abc-1f") == ("abc-1f", one.address, "local")
    assert other.router.calls[0].id == "abc-1f"
    assert other.router.calls[0].caller == one.address


@pytest.mark.parametrize("kind", ["plain function", "coroutine function", "function that returns an awaitable"])
async def test_a_handler_may_be_any_callable(start: StartPeer, kind: str) -> None:
    async def double_soon(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return 2 * number

    handlers: dict[str, Callable[[int], Any]] = {
        "plain function": lambda number: 2 * number,
        "coroutine function": double_soon,
        "function that returns an awaitable": functools.partial(double_soon),
    }
    one, other = await start(), await start()
    other.expose(double=handlers[kind])
    assert await one.call(other, "double", 21) == 42


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("is_sync", [True, False], ids=["sync", "async"])
async def test_each_error_that_a_handler_answers_with_arrives_as_its_type(start: StartPeer, is_sync: bool) -> None:
    one, other = await start(), await start()
    errors = {kind: kind("why: ünïcödé", **{name: f"the {name}" for name in kind.fields}) for kind in ERROR_TYPES}
    others = iter(errors.values())

    def fail() -> None:
        raise next(others)

    async def fail_soon() -> None:
        await trio.lowlevel.checkpoint()
        raise next(others)

    other.expose(fail=fail if is_sync else fail_soon)
    for kind, sent in errors.items():
        with pytest.raises(TrionetError) as caught:
            await one.call(other, "fail")
        assert is_same(caught.value, sent), kind
        assert caught.value.node is None, kind
        assert isinstance(caught.value, DefiniteError) == issubclass(kind, DefiniteError), kind


async def test_a_handlers_exception_is_a_remote_error_with_its_type_message_and_traceback(start: StartPeer) -> None:
    one, other = await start(), await start()

    async def fail_deep_down() -> None:
        raise LookupError("nothing hëre")

    async def fail() -> None:
        await fail_deep_down()

    other.expose(fail=fail)
    with pytest.raises(RemoteError) as caught:
        await one.call(other, "fail")
    error = caught.value
    assert (error.type_name, error.message, error.text) == ("LookupError", "nothing hëre", "LookupError: nothing hëre")
    assert "fail_deep_down" in error.traceback
    assert error.traceback.rstrip().endswith("LookupError: nothing hëre")
    assert isinstance(error, IndefiniteError)


class Shout(BaseException):
    """No Exception."""


class Garbled(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


RAISED = [
    (ExceptionGroup("several", [ValueError("a"), KeyError("b")]), "ExceptionGroup"),
    (BaseExceptionGroup("several", [Shout("a")]), "BaseExceptionGroup"),
    (SystemExit(3), "SystemExit"),
    (GeneratorExit(), "GeneratorExit"),
    (StopIteration(5), ""),  # Python itself makes a RuntimeError of it, where it leaves a coroutine
    (StopAsyncIteration(5), ""),
    (Shout("hey"), "tests.transports.test_conformance.Shout"),
    (Garbled(), "tests.transports.test_conformance.Garbled"),
    (AssertionError("\ud800"), "AssertionError"),
    (ValueError("x" * 100_000), "ValueError"),
    (trio.TooSlowError(), "trio.TooSlowError"),
    (trio.ClosedResourceError("mine"), "trio.ClosedResourceError"),
    (OSError(9, "Bad file descriptor"), "OSError"),
    (RecursionError(), "RecursionError"),
]


@pytest.mark.parametrize("is_sync", [True, False], ids=["sync", "async"])
async def test_whatever_a_handler_raises_is_a_remote_error_and_ends_nothing(start: StartPeer, is_sync: bool) -> None:
    one, other = await start(), await start()
    waiting, errors = Waiting(), iter(RAISED)

    def fail() -> None:
        raise next(errors)[0]

    async def fail_soon() -> None:
        await trio.lowlevel.checkpoint()
        raise next(errors)[0]

    other.expose(fail=fail if is_sync else fail_soon, echo=echo, wait=waiting.handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.call, other, "wait")
        await waiting.begun.wait()
        for _, type_name in RAISED:
            with pytest.raises(RemoteError) as caught:
                await one.call(other, "fail")
            assert caught.value.type_name.endswith(type_name)
            assert await one.call(other, "echo", 1) == ((1,), {})
            assert not waiting.cancelled.is_set()
        waiting.release.set()


async def test_an_error_of_a_call_that_the_handler_made_is_not_mistaken_for_the_handlers_own(start: StartPeer) -> None:
    """Were it passed on as it is, the caller would take its own call for one that didn't happen."""
    one, other, third = await start(), await start(), await start()

    async def relay() -> None:
        try:
            await other.call(third, "none")
        except TrionetError as exc:
            exc.node = str(third.address)  # as services/comm does
            raise

    other.expose(relay=relay)
    third.expose(echo=echo)
    with pytest.raises(RemoteError, match=f"no method 'none'.* .at {third.address}") as caught:
        await one.call(other, "relay")
    assert caught.value.type_name == "trionet.errors.MethodNotFound"


async def test_a_call_of_what_is_not_there_is_refused(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    with pytest.raises(MethodNotFound, match="none"):
        await one.call(other, "none")
    with pytest.raises(DefiniteError, match="nobody"):
        await one.call(other, "echo", service="nobody")
    with pytest.raises(DefiniteError, match="nowhere"):
        await one.call(other, "echo", gid="nowhere")


async def test_arguments_that_do_not_fit_are_refused(start: StartPeer) -> None:
    one, other = await start(), await start()

    def typed(number: int, *, flag: bool = False) -> tuple[int, bool]:
        return number, flag

    other.expose(typed=typed)
    assert await one.call(other, "typed", 1, kwargs={"flag": True}) == (1, True)
    with pytest.raises(MalformedRequest):
        await one.call(other, "typed")
    with pytest.raises(MalformedRequest):
        await one.call(other, "typed", 1, 2)
    with pytest.raises(MalformedRequest):
        await one.call(other, "typed", "one")
    with pytest.raises(MalformedRequest):
        await one.call(other, "typed", 1, kwargs={"flags": True})
    with pytest.raises(MalformedRequest):
        await one.call(other, "typed", 1, kwargs={"flag": "yes"})


# ------------------------------------------------------------------------------------------ nobody there, or not longer


async def test_a_call_to_an_address_that_nobody_listens_on_is_definite(start: StartPeer, fabric: Fabric) -> None:
    one = await start()
    with pytest.raises(NodeUnreachable) as caught:
        await one.call(fabric.address_of_nobody(), "echo")
    assert isinstance(caught.value, DefiniteError)


async def test_a_call_whose_peer_is_torn_down_is_lost_at_once_and_indefinite(start: StartPeer) -> None:
    one, other = await start(), await start()
    waiting = Waiting()
    other.expose(wait=waiting.handle)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def tear_down() -> None:
            await waiting.begun.wait()
            await other.tear_down()

        with pytest.raises(ConnectionLost) as caught:
            await one.call(other, "wait")
    assert isinstance(caught.value, IndefiniteError)
    assert waiting.cancelled.is_set()


async def test_a_peer_that_has_gone_is_unreachable_also_for_those_who_had_called_it(start: StartPeer) -> None:
    one, other, third = await start(), await start(), await start()
    other.expose(echo=echo)
    await one.call(other, "echo")
    await other.tear_down()
    for peer in (one, third):
        with pytest.raises(NodeUnreachable):
            await peer.call(other, "echo")


async def test_a_peer_that_comes_back_at_its_address_is_reached_again(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    await one.call(other, "echo")
    await other.tear_down()
    with pytest.raises(NodeUnreachable):
        await one.call(other, "echo")
    again = await start(NodeConfig(ip=other.address.ip, port=other.address.port))
    again.expose(echo=echo)
    assert await one.call(again, "echo", 2) == ((2,), {})


async def test_a_caller_that_is_torn_down_takes_its_handlers_along(start: StartPeer, nursery: trio.Nursery) -> None:
    one, other = await start(), await start()
    waiting = Waiting()
    other.expose(wait=waiting.handle)

    async def call_in_vain() -> None:
        with pytest.raises((ConnectionLost, NodeUnreachable)):
            await one.call(other, "wait")

    nursery.start_soon(call_in_vain)
    await waiting.begun.wait()
    scope = trio.CancelScope()
    with scope:
        await one.tear_down()
    assert not scope.cancelled_caught


async def test_a_closed_endpoint_refuses_newcomers_and_goes_on_answering(start: StartPeer) -> None:
    one, other, newcomer = await start(), await start(), await start()
    waiting = Waiting()
    other.expose(wait=waiting.handle)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            assert await one.call(other, "wait") == "released"

        await waiting.begun.wait()
        other.endpoint.close()
        with pytest.raises(NodeUnreachable):
            await newcomer.call(other, "wait")
        waiting.release.set()


async def test_drain_waits_for_the_call_in_progress_and_refuses_new_ones(start: StartPeer) -> None:
    one, other, newcomer = await start(), await start(), await start()
    waiting = Waiting()
    other.expose(wait=waiting.handle)
    is_drained = False
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            assert await one.call(other, "wait") == "released"

        await waiting.begun.wait()

        @nursery.start_soon
        async def drain() -> None:
            nonlocal is_drained
            await other.endpoint.drain()
            is_drained = True

        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not is_drained
        with pytest.raises(DefiniteError):
            await newcomer.call(other, "wait")
        assert not is_drained
        waiting.release.set()
    assert is_drained
    assert len(other.router.calls) == 1
    for peer in (one, newcomer):
        with pytest.raises(NodeUnreachable):
            await peer.call(other, "wait")


async def test_drain_does_not_wait_when_nothing_is_in_progress(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    await one.call(other, "echo")
    before = trio.current_time()
    await other.endpoint.drain()
    assert trio.current_time() - before < DEADLINE_S / 2
    with pytest.raises(NodeUnreachable):
        await one.call(other, "echo")


# ------------------------------------------------------------------------------------------ deadlines and cancellation


async def test_the_callers_remaining_time_arrives_and_the_handler_runs_under_it(start: StartPeer) -> None:
    one, other = await start(), await start()

    async def left_s() -> tuple[float, float]:
        now = trio.current_time()
        return trio.current_effective_deadline() - now, current_call().deadline - now

    other.expose(left_s=left_s)
    with trio.fail_after(40):
        before_s = trio.current_effective_deadline() - trio.current_time()
        scope_s, call_s = await one.call(other, "left_s")
        after_s = trio.current_effective_deadline() - trio.current_time()
    (call,) = other.router.calls
    assert call.timeout_s is not None
    assert after_s <= call.timeout_s <= before_s <= 40
    assert 0 < scope_s <= call.timeout_s
    assert 0 < call_s <= call.timeout_s


async def test_each_hop_shrinks_the_remaining_time(start: StartPeer) -> None:
    chain = [await start() for _ in range(4)]

    def forward(peer: Peer, to: Peer) -> Callable[[], Awaitable[None]]:
        async def step() -> None:
            await peer.call(to, "step")

        return step

    for peer, to in itertools.pairwise(chain[1:]):
        peer.expose(step=forward(peer, to))
    chain[-1].expose(step=echo)
    with trio.fail_after(40):
        await chain[0].call(chain[1], "step")
    left_s = [peer.router.calls[0].timeout_s for peer in chain[1:]]
    assert None not in left_s
    assert 40 > left_s[0] > left_s[1] > left_s[2] > 0  # type: ignore[operator]  # none is None


async def test_without_a_deadline_none_arrives(fabric: Fabric) -> None:
    # In tasks of its own, which the deadline of this file's fixture doesn't hold for.
    one, other = Peer(), Peer()

    async def describe() -> float:
        return current_call().deadline

    async with trio.open_nursery() as nursery:
        await nursery.start(one.serve, fabric, NodeConfig())
        await nursery.start(other.serve, fabric, NodeConfig())
        other.expose(describe=describe)
        assert math.isfinite(trio.current_effective_deadline()) is False
        assert await one.call(other, "describe") == math.inf
        nursery.cancel_scope.cancel()
    assert other.router.calls[0].timeout_s is None


async def test_a_call_whose_time_is_over_is_never_started(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    await one.call(other, "echo")
    with trio.move_on_at(trio.current_time() - 1) as scope:
        await one.call(other, "echo")
    assert scope.cancelled_caught
    await one.call(other, "echo", "after")
    assert [list(call.args) for call in other.router.calls] == [[], ["after"]]


async def test_cancelling_the_caller_cancels_the_handler(start: StartPeer) -> None:
    one, other = await start(), await start()
    waiting = Waiting()
    other.expose(wait=waiting.handle, echo=echo)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.call, other, "wait")
            await waiting.begun.wait()
            scope.cancel()
    await waiting.cancelled.wait()
    assert await one.call(other, "echo", 1) == ((1,), {})


async def test_a_deadline_at_the_caller_ends_a_handler_that_never_would(start: StartPeer) -> None:
    one, other = await start(), await start()
    waiting = Waiting()
    other.expose(wait=waiting.handle)
    with trio.move_on_after(0.1) as scope:
        await one.call(other, "wait")
    assert scope.cancelled_caught
    if other.router.calls:  # on a machine that stalls the call may not have gone out in time
        await waiting.cancelled.wait()


async def test_cancelling_one_call_leaves_the_others_alone(start: StartPeer) -> None:
    one, other = await start(), await start()
    kept, dropped = Waiting(), Waiting()
    other.expose(kept=kept.handle, dropped=dropped.handle)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            assert await one.call(other, "kept") == "released"

        await kept.begun.wait()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(one.call, other, "dropped")
                await dropped.begun.wait()
                scope.cancel()
        await dropped.cancelled.wait()
        assert not kept.cancelled.is_set()
        kept.release.set()


async def test_cancellation_goes_through_every_hop(start: StartPeer) -> None:
    one, middle, last = await start(), await start(), await start()
    waiting = Waiting()
    last.expose(wait=waiting.handle)

    async def relay() -> None:
        await middle.call(last, "wait")

    middle.expose(relay=relay)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.call, middle, "relay")
            await waiting.begun.wait()
            scope.cancel()
    await waiting.cancelled.wait()


@pytest.mark.slow
async def test_fifty_calls_at_once_do_not_wait_for_each_other(start: StartPeer) -> None:
    one, other = await start(), await start()
    begun = 0
    all_begun = trio.Event()

    async def meet(number: int) -> int:
        nonlocal begun
        begun += 1
        if begun == 50:
            all_begun.set()
        await all_begun.wait()
        return number

    other.expose(meet=meet)
    results: dict[int, int] = {}

    async def call(number: int) -> None:
        results[number] = await one.call(other, "meet", number)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(call, number)
    assert results == {number: number for number in range(50)}


async def test_two_peers_call_each_other_at_once(start: StartPeer) -> None:
    one, other = await start(), await start()
    for peer in (one, other):
        peer.expose(echo=echo)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one.call, other, "echo", number)
            nursery.start_soon(other.call, one, "echo", number)
    for peer in (one, other):
        assert sorted(call.args[0] for call in peer.router.calls) == list(range(20))


# ------------------------------------------------------------------------------------------------------------ too large


@pytest.mark.parametrize("place", ["argument", "keyword"])
async def test_a_request_over_the_senders_limit_is_refused_at_the_sender(start: StartPeer, place: str) -> None:
    one, other = await start(SMALL), await start()
    other.expose(echo=echo)
    large = b"x" * LIMIT_BYTES
    with pytest.raises(MessageTooLarge) as caught:
        await (one.call(other, "echo", large) if place == "argument" else one.call(other, "echo", kwargs={"k": large}))
    assert isinstance(caught.value, DefiniteError)
    assert not other.router.calls
    assert await one.call(other, "echo", 1) == ((1,), {})


async def test_a_request_over_the_receivers_limit_is_refused_and_does_not_run(start: StartPeer) -> None:
    one, other = await start(), await start(SMALL)
    other.expose(echo=echo)
    with pytest.raises(MessageTooLarge):
        await one.call(other, "echo", b"x" * (LIMIT_BYTES + 1))
    assert not other.router.calls
    assert await one.call(other, "echo", 1) == ((1,), {})


@pytest.mark.parametrize("is_sync", [True, False], ids=["sync", "async"])
async def test_a_reply_over_the_limit_is_a_remote_error_because_the_handler_ran(
    start: StartPeer, is_sync: bool
) -> None:
    one, other = await start(SMALL), await start(SMALL)
    ran = 0

    def make() -> bytes:
        nonlocal ran
        ran += 1
        return b"x" * (LIMIT_BYTES + 1)

    async def make_soon() -> bytes:
        await trio.lowlevel.checkpoint()
        return make()

    other.expose(make=make if is_sync else make_soon)
    with pytest.raises(RemoteError, match="limit") as caught:
        await one.call(other, "make")
    assert caught.value.type_name == "trionet.errors.MessageTooLarge"
    assert ran == 1


async def test_a_reply_that_cannot_travel_is_a_remote_error_that_names_the_place(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(make=lambda: {"a": [1, object()]}, make_text=lambda: "\ud800", echo=echo)
    for method in ("make", "make_text"):
        with pytest.raises(RemoteError) as caught:
            await one.call(other, method)
        assert caught.value.type_name == f"{EncodeError.__module__}.EncodeError"
    assert await one.call(other, "echo", 1) == ((1,), {})


@register_type(name="test:fragile")
@dataclasses.dataclass
class Fragile:
    """Can be sent in a state in which it can't be made."""

    state: str = "whole"

    def __post_init__(self) -> None:
        if self.state == "broken":
            raise RuntimeError("it is broken")


async def test_a_reply_that_cannot_be_read_is_indefinite(start: StartPeer) -> None:
    one, other = await start(), await start()
    fragile = Fragile()
    fragile.state = "broken"
    other.expose(make=lambda: fragile, echo=echo)
    with pytest.raises(IndefiniteError):
        await one.call(other, "make")
    assert await one.call(other, "echo", 1) == ((1,), {})


async def test_an_argument_that_cannot_be_read_is_refused_and_does_not_run(start: StartPeer) -> None:
    one, other = await start(), await start()
    fragile = Fragile()
    fragile.state = "broken"
    other.expose(echo=echo)
    with pytest.raises(MalformedRequest, match="it is broken"):
        await one.call(other, "echo", fragile)
    assert not other.router.calls
    assert await one.call(other, "echo", 1) == ((1,), {})


# -------------------------------------------------------------------------------------------------------------- streams


class Fountain:
    """A stream without end, which tells how far it went and whether it was closed."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = trio.Event()

    async def handle(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                self.given += 1
                yield b"x" * 1000
        finally:
            self.closed.set()


async def read_all(stream: AbstractAsyncContextManager[AsyncIterator[Any]], take: Callable[[Any], None]) -> None:
    async with stream as items:
        async for item in items:
            take(item)


async def test_the_items_of_a_stream_arrive_in_order_and_equal(start: StartPeer) -> None:
    one, other = await start(), await start()

    async def count(values: list[Any]) -> AsyncGenerator[Any]:
        for value in values:
            yield value

    other.expose(count=count)
    values = [*range(200), *VALUES]
    for sent in (values, []):
        received: list[Any] = []
        await read_all(one.stream(other, "count", sent), received.append)
        assert is_same(received, sent)


async def test_an_exception_ends_a_stream_after_the_items_before_it(start: StartPeer) -> None:
    one, other = await start(), await start()

    async def fail(exc: str) -> AsyncGenerator[int]:
        yield 1
        yield 2
        raise CallTimeout("late") if exc == "own" else LookupError("nothing")

    other.expose(fail=fail)
    for exc, kind in (("own", CallTimeout), ("other", RemoteError)):
        received: list[int] = []
        with pytest.raises(kind):
            await read_all(one.stream(other, "fail", exc), received.append)
        assert received == [1, 2]


async def test_leaving_a_stream_ends_it_on_the_far_side(start: StartPeer) -> None:
    one, other = await start(), await start()
    fountain = Fountain()
    other.expose(flow=fountain.handle, echo=echo)
    async with one.stream(other, "flow") as items:
        async for _ in items:
            break
    await fountain.closed.wait()
    assert await one.call(other, "echo", 1) == ((1,), {})


async def test_a_reader_that_pauses_holds_the_stream_back(start: StartPeer) -> None:
    one, other = await start(), await start()
    fountain = Fountain()
    other.expose(flow=fountain.handle, echo=echo)
    async with one.stream(other, "flow") as items:
        await anext(items)
        before = -1
        while fountain.given != before:  # until it stands still
            before = fountain.given
            for _ in range(20):
                await one.call(other, "echo")
        assert fountain.given < 50_000
        await anext(items)
    await fountain.closed.wait()


async def test_a_stream_and_a_call_are_not_taken_for_each_other(start: StartPeer) -> None:
    one, other = await start(), await start()
    fountain = Fountain()
    ran = False

    def run() -> None:
        nonlocal ran
        ran = True

    other.expose(flow=fountain.handle, run=run, echo=echo)
    with pytest.raises(MalformedRequest, match="is a stream"):
        await one.call(other, "flow")
    with pytest.raises(MalformedRequest, match="is no stream"):
        async with one.stream(other, "run") as items:
            await anext(items)
    assert await one.call(other, "echo", 1) == ((1,), {})
    assert fountain.given == 0
    assert not ran


async def test_a_stream_of_what_is_not_there_is_refused(start: StartPeer) -> None:
    one, other = await start(), await start()
    other.expose(echo=echo)
    with pytest.raises(MethodNotFound):
        async with one.stream(other, "none") as items:
            await anext(items)


async def test_a_stream_whose_peer_is_torn_down_is_lost(start: StartPeer) -> None:
    one, other = await start(), await start()

    async def flow() -> AsyncGenerator[int]:
        yield 1
        await trio.sleep_forever()

    other.expose(flow=flow)
    first_came = trio.Event()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def tear_down() -> None:
            await first_came.wait()
            await other.tear_down()

        with pytest.raises(ConnectionLost):
            await read_all(one.stream(other, "flow"), lambda _: first_came.set())
    assert first_came.is_set()
