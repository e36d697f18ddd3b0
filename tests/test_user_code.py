"""Whatever the user's code raises where a node calls it, it is that code's failure: reported, and the node lives."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import trio
from quart import request

from tests.waiting import DEADLINE_S
from trionet import (
    ConfigError,
    DecodeError,
    EncodeError,
    MalformedRequest,
    NodeConfig,
    Remote,
    RemoteError,
    RumorFailed,
    SpawnError,
    TaskFailed,
    Template,
    TrionetError,
    open_node,
    register_type,
    rpc,
)
from trionet.codec import MESSAGEPACK
from trionet.log_limits import limited_log
from trionet.simulation import Trial, check_trial, run_trial
from trionet.simulation.invariants import Watch
from trionet.user_code import described, leaves, pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trionet import Event, Node


class Mute(Exception):
    """Raises whatever of it is asked for."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("nothing is told")


class MuteError(TrionetError):
    """An error of trionet's of which neither the node nor the text can be had."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"node", "text", "code", "fields"}:
            raise RuntimeError("nothing is told")
        return super().__getattribute__(name)


class MuteGroup(BaseExceptionGroup[BaseException]):
    """A group of which no part can be made."""

    def derive(self, excs: Any, /) -> Any:
        raise RuntimeError("nothing is derived")


FAILURES: list[Callable[[], BaseException]] = [
    lambda: ValueError("out of beans"),
    lambda: SystemExit(7),
    GeneratorExit,
    asyncio.CancelledError,
    lambda: BaseExceptionGroup("both", [SystemExit(1), ValueError("out of beans")]),
]
_wanted: list[BaseException] = []


def fail(*_: Any) -> Any:
    """Raise what the test wants raised."""
    if _wanted:
        raise _wanted[-1]
    return 1


@register_type
class Touchy(msgspec.Struct, frozen=True):
    """Checks its field when it is made."""

    field: int = 0

    def __post_init__(self) -> None:
        if self.field:
            fail()


@register_type
@dataclasses.dataclass(frozen=True)
class Rude:
    """Can't be hashed."""

    field: int = 0

    def __hash__(self) -> int:
        return int(fail())


@register_type
@dataclasses.dataclass
class Computed:
    """Works its field out when it is read."""

    field: int = 0

    def __getattribute__(self, name: str) -> Any:
        return fail() if name == "field" else super().__getattribute__(name)


class Service:
    """Fails in each way in which a handler can."""

    @rpc
    def at_once(self) -> None:
        fail()

    @rpc
    async def later(self) -> None:
        await trio.lowlevel.checkpoint()
        fail()

    @rpc
    async def items(self) -> AsyncGenerator[int]:
        yield 1
        fail()

    @rpc
    def touchy(self, value: Touchy) -> None:
        pass

    @rpc
    def takes(self, value: Any) -> None:
        pass

    @rpc
    def computed(self) -> Computed:
        return Computed()


class Broken:
    """Can't be made."""

    def __init__(self) -> None:
        fail()

    @rpc
    def method(self) -> None:
        pass


class BrokenTemplate(Template):
    """Can't be made."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        if context.gid == "broken":
            fail()


@pytest.fixture(params=FAILURES, ids=lambda make: repr(make()))
def failure(request: pytest.FixtureRequest) -> Any:
    exc: BaseException = request.param()
    _wanted.append(exc)
    yield exc
    _wanted.clear()


@pytest.fixture
async def pair(failure: BaseException) -> AsyncGenerator[tuple[Node, Node]]:
    """A node that calls, and one whose code fails; both live in the end."""
    async with open_node() as caller, open_node() as node:
        await node.local.routes.put(Service(), "probe")
        yield caller, node
        assert await caller.local.comm.send(["sid"], _on(node, "get", "status")) == node.sid
        assert [node.is_stopping, caller.is_stopping] == [False, False]


def _on(node: Node, method: str, service: str = "probe") -> Remote:
    return Remote(node=node.address, service=service, method=method)


async def _next(events: Any, kind: type[Event]) -> Any:
    with trio.fail_after(60):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError("there was none")


@pytest.mark.parametrize("method", ["at_once", "later"])
async def test_a_handler(pair: tuple[Node, Node], failure: BaseException, method: str) -> None:
    caller, node = pair
    for sender in (caller, node):
        with pytest.raises(RemoteError, match=type(failure).__name__):
            await sender.local.comm.send([], _on(node, method))


async def test_a_stream(pair: tuple[Node, Node], failure: BaseException) -> None:
    caller, node = pair

    async def read(reader: Node) -> None:
        async with reader.local.comm.stream([], _on(node, "items")) as items:
            async for _ in items:
                pass

    for reader in (caller, node):
        with pytest.raises(RemoteError, match=type(failure).__name__):
            await read(reader)


async def test_a_handler_that_is_called_by_http(pair: tuple[Node, Node], failure: BaseException) -> None:
    _, node = pair
    async with httpx.AsyncClient() as client:
        response = await client.put(f"http://{node.address}/local/probe/later", content="[]")
        assert (response.status_code, response.json()["error"]["name"]) == (500, "RemoteError")


async def test_a_view_of_the_web_app(pair: tuple[Node, Node], failure: BaseException) -> None:
    _, node = pair
    assert node.app is not None

    @node.app.get("/mine")
    async def mine() -> str:
        fail()
        return ""

    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://{node.address}/mine")).status_code == 500
        assert (await client.get(f"http://{node.address}/healthz")).status_code == 200


async def test_a_function_around_each_request(pair: tuple[Node, Node], failure: BaseException) -> None:
    _, node = pair
    assert node.app is not None

    @node.app.after_request
    async def after(response: Any) -> Any:
        if request.path.startswith("/local/probe"):
            fail()
        return response

    async with httpx.AsyncClient() as client:
        response = await client.put(f"http://{node.address}/local/probe/takes", content="[1]")
        assert response.status_code == 500
        assert response.json()["error"]["name"] == "RemoteError", "the call has run"


async def test_a_constructor_of_an_argument_by_its_annotation(pair: tuple[Node, Node], failure: BaseException) -> None:
    caller, node = pair
    with pytest.raises(MalformedRequest, match="argument 'value'"):
        await caller.local.comm.send([{"field": 1}], _on(node, "touchy"))


@pytest.mark.parametrize("make", [lambda: Touchy(field=1), lambda: {Rude()}], ids=["constructor", "hash"])
async def test_a_value_that_is_decoded(
    pair: tuple[Node, Node], failure: BaseException, make: Callable[[], Any]
) -> None:
    caller, node = pair
    _wanted.clear()
    value = make()
    encoded = MESSAGEPACK.encode(value)
    args = [value]
    _wanted.append(failure)
    with pytest.raises(DecodeError):
        MESSAGEPACK.decode(encoded)
    with pytest.raises(MalformedRequest):
        await caller.local.comm.send(args, _on(node, "takes"))


async def test_a_value_that_is_encoded(pair: tuple[Node, Node], failure: BaseException) -> None:
    caller, node = pair
    with pytest.raises(EncodeError):
        MESSAGEPACK.encode([Computed()])
    for sender in (caller, node):
        with pytest.raises(RemoteError, match="EncodeError"):
            await sender.local.comm.send([], _on(node, "computed"))


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_periodic_task(pair: tuple[Node, Node], failure: BaseException, is_async: bool) -> None:
    _, node = pair
    events = node.events()
    service = Service()
    task = await node.all.gossip.at(0.01, service.later if is_async else service.at_once)
    for _ in range(2):
        event = await _next(events, TaskFailed)
        assert (event.id, event.node, event.sid) == (task, node.address, node.sid)
        assert type(failure).__name__ in event.error


@pytest.mark.parametrize("method", ["at_once", "later"])
async def test_what_a_rumor_calls(pair: tuple[Node, Node], failure: BaseException, method: str) -> None:
    _, node = pair
    events = node.events()
    receipt = await node.all.gossip.send([], Remote(service="probe", method=method))
    event = await _next(events, RumorFailed)
    assert (event.id, event.node, event.sid) == (receipt.id, node.address, node.sid)
    assert type(failure).__name__ in event.error


async def test_a_subset_function(
    pair: tuple[Node, Node], failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    caller, node = pair
    with caplog.at_level(logging.WARNING):
        await node.local.groups.put("workers", [node], subset=fail)
        await node.group("workers").gossip.send([], Remote(service="probe", method="at_once"))
        await caller.local.comm.send(["workers", caller.address], _on(node, "add", "groups"))
    assert "subset of group workers" in caplog.text
    assert len(await node.local.groups.get("workers")) == 2


async def test_a_listener(pair: tuple[Node, Node], failure: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    _, node = pair
    heard: list[Event] = []
    node.listen(fail)
    node.listen(heard.append)
    events = node.events()
    await node.all.gossip.at(0.01, fail)
    event = await _next(events, TaskFailed)
    assert heard[0] == event
    assert "a listener failed" in caplog.text


async def test_a_service_that_is_made_for_another_node(pair: tuple[Node, Node], failure: BaseException) -> None:
    caller, node = pair
    with pytest.raises(RemoteError, match=type(failure).__name__):
        await caller.local.comm.send([f"{__name__}:Broken", "broken"], _on(node, "put", "routes"))


async def test_a_template_that_is_made_for_another_node(pair: tuple[Node, Node], failure: BaseException) -> None:
    caller, node = pair
    node.register_template("mine", BrokenTemplate)
    with pytest.raises(RemoteError, match=type(failure).__name__):
        await caller.local.comm.send(["broken", []], _on(node, "put", "groups"))
    assert "broken" not in node.local.groups.gids()


async def test_a_module_that_is_imported_by_name(
    pair: tuple[Node, Node], failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, node = pair
    name = f"rude_{type(failure).__name__}"
    (tmp_path / f"{name}.py").write_text(f"from {__name__} import fail\nfail()\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MalformedRequest, match=f"can't import '{name}'"):
        await caller.local.comm.send([f"{name}:Service", "mine"], _on(node, "put", "routes"))
    assert name not in sys.modules


async def test_the_on_start_of_a_node_that_is_started_in_this_process(
    pair: tuple[Node, Node], failure: BaseException
) -> None:
    _, node = pair
    with pytest.raises(SpawnError, match=type(failure).__name__):
        await node.local.status.spawn(NodeConfig(launcher="in_process", on_start=fail))


class RudeInvariant(Watch):
    """Fails when it is asked."""

    name = "rude"

    async def check(self) -> Any:
        fail()


def rude_scenario(*_: Any) -> Any:
    return fail()


async def rude_program(_: Any) -> None:
    fail()


@pytest.mark.slow
def test_what_a_trial_consists_of(failure: BaseException) -> None:
    trial = Trial(seed=1, nodes=2, duration_s=1.0, settle_s=30.0, faults=[], program=f"{__name__}:rude_program")
    outcome = run_trial(trial, [RudeInvariant()])
    assert {violation.invariant for violation in outcome.violations} == {"rude", "program"}
    with pytest.raises(ConfigError, match="gives no schedule"):
        check_trial(Trial(seed=1, scenario=f"{__name__}:rude_scenario"))


# ---- the rule itself


class Misleading(Exception):
    """Raises whatever it is asked for, as a proxy of something that has broken may."""

    def __str__(self) -> str:
        return str(fail())

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return fail()

    @property
    def args(self) -> Any:  # type: ignore[override]
        return fail()

    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        return fail()


def mislead() -> None:
    raise Misleading


class MisleadingGroup(BaseExceptionGroup):
    """Can't be split."""

    def derive(self, excs: Any) -> Any:
        return fail()


async def test_an_exception_that_raises_when_it_is_looked_at(pair: tuple[Node, Node], failure: BaseException) -> None:
    caller, node = pair
    await node.local.routes.put({"mislead": mislead}, "probe")
    events = node.events()
    for one in (caller, node):
        with pytest.raises(RemoteError, match="Misleading"):
            await one.local.comm.send([], _on(node, "mislead"))
    task = await node.all.gossip.at(0.001, mislead)
    assert "Misleading" in (await _next(events, TaskFailed)).error
    assert await node.local.gossip.del_(task)
    await node.all.gossip.send([], Remote(service="probe", method="mislead"))
    assert "Misleading" in (await _next(events, RumorFailed)).error


def test_a_group_that_can_not_be_split(failure: BaseException) -> None:
    pass_endings(MisleadingGroup("all failed", [failure, ValueError()]))
    with pytest.raises(BaseExceptionGroup) as caught:
        pass_endings(MisleadingGroup("one ends", [failure, KeyboardInterrupt()]))
    assert [type(exc) for exc in caught.value.exceptions] == [KeyboardInterrupt]


def test_what_ends_a_program_or_a_scope_passes() -> None:
    for exc in (KeyboardInterrupt(), BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError()])):
        with pytest.raises(BaseException) as caught:  # noqa: PT011  which one is asserted
            pass_endings(exc)
        leaves = caught.value.exceptions if isinstance(caught.value, BaseExceptionGroup) else [caught.value]
        assert [type(leaf) for leaf in leaves] == [KeyboardInterrupt]


def test_what_ends_a_program_passes_out_of_a_group_that_can_not_be_split() -> None:
    pass_endings(MuteGroup("both", [SystemExit(1), Mute()]))
    with pytest.raises(BaseExceptionGroup) as caught:
        pass_endings(MuteGroup("both", [ValueError(), MuteGroup("inner", [KeyboardInterrupt(), Mute()])]))
    assert [type(leaf) for leaf in caught.value.exceptions] == [KeyboardInterrupt]


@pytest.mark.parametrize("kind", [Mute, MuteError])
@pytest.mark.parametrize("transport", ["link", "http"])
async def test_an_exception_that_raises_when_it_is_asked_fails_its_own_call_alone(
    transport: Any, kind: Callable[[], BaseException]
) -> None:
    async def later() -> None:
        await trio.lowlevel.checkpoint()
        raise kind()

    async def stream() -> AsyncGenerator[int]:
        yield 1
        raise kind()

    def at_once() -> None:
        raise kind()

    config = NodeConfig(transport=transport)
    with trio.fail_after(DEADLINE_S):
        async with open_node(config) as one, open_node(config) as two, trio.open_nursery() as nursery:
            release = trio.Event()
            await two.local.routes.put(
                {"at_once": at_once, "later": later, "stream": stream, "wait": release.wait}, "probe"
            )
            nursery.start_soon(one.local.comm.send, [], _on(two, "wait"))
            for method in ("at_once", "later"):
                with pytest.raises(TrionetError):
                    await one.local.comm.send([], _on(two, method))
            async with one.local.comm.stream([], _on(two, "stream")) as items:
                assert await anext(items) == 1
                with pytest.raises(TrionetError):
                    await anext(items)
            release.set()


def test_a_line_with_an_exception_that_raises_when_it_is_asked_is_written(caplog: pytest.LogCaptureFixture) -> None:
    limited_log("trionet.tests").warning("it failed", exc_info=(Mute, Mute(), None))
    assert "its description could not be made" in caplog.text


async def test_cancellation_passes() -> None:
    with trio.move_on_after(0) as scope:
        try:
            await trio.sleep_forever()
        except BaseException as exc:
            pass_endings(exc)
    assert scope.cancelled_caught


def test_a_failure_does_not_pass(failure: BaseException) -> None:
    pass_endings(failure)


def test_what_has_passed_is_known_by_no_frame_of_its_own_traceback() -> None:
    passed = KeyboardInterrupt()
    with suppress(KeyboardInterrupt):
        pass_endings(passed)
    trace = passed.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    assert not [value for value in trace.tb_next.tb_frame.f_locals.values() if value is passed]


def test_an_exception_that_can_not_be_described_is_one(failure: BaseException) -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            return str(fail())

    assert described(Silent()) == "(its description could not be made)"
    assert RemoteError.from_exception(Silent()).message == "(its description could not be made)"


def test_the_leaves_of_a_group_are_its_exceptions_at_all_depths() -> None:
    one, other = ValueError("one"), KeyError("other")
    assert leaves(BaseExceptionGroup("outer", [one, ExceptionGroup("inner", [other])])) == [one, other]
    assert leaves(one) == [one]
