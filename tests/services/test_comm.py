from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.samples import Counter, Probe
from trionet import (
    CallTimeout,
    DefiniteError,
    EncodeError,
    GroupNotFound,
    MalformedRequest,
    MethodNotFound,
    Node,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    OrphanedCall,
    OrphanedCalls,
    Remote,
    RemoteError,
    Replies,
    ServiceNotFound,
)
from trionet.router import Router
from trionet.services.comm import Comm
from trionet.transports.lazy_http import LazyHTTPTransport

StartNode = Callable[..., Awaitable[Node]]

TRANSPORTS: list[Any] = ["link", "http"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_send_returns_the_remote_methods_value(start_node: StartNode, transport: Any) -> None:
    caller, node = await start_node(NodeConfig(transport=transport)), await start_node()
    for args in (["nid"], ("nid",)):
        remote = Remote(node=node.address, service="status", method="get")
        assert await caller.local.comm.send(args, remote) == node.nid  # a tuple will do


async def test_a_node_calls_itself_through_the_same_bytes(start_node: StartNode) -> None:
    node = await start_node()
    kept: list[Any] = []
    await node.local.routes.put({"keep": kept.append}, "shelf")
    thing = {"a": [1]}
    await node.local.comm.send([thing], Remote(node=node.address, service="shelf", method="keep"))
    assert kept == [thing]
    assert kept[0] is not thing
    with pytest.raises(EncodeError):
        await node.local.comm.send([object()], Remote(node=node.address, service="shelf", method="keep"))


@pytest.mark.parametrize(
    "args", [None, "nid", {"key": "nid"}, {"nid"}, 5, iter(["nid"])], ids=lambda a: type(a).__name__
)
async def test_arguments_that_are_no_list_or_tuple_are_refused_before_anything_is_sent(
    start_node: StartNode, args: Any
) -> None:
    caller, node = await start_node(), await start_node()
    with pytest.raises(MalformedRequest, match="list or tuple"):
        await caller.local.comm.send(args, Remote(node=node.address, service="status", method="get"))
    assert await node.local.status.get("counts") == 0


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"node": None}, "no node"),
        ({"service": ""}, "service name"),
        ({"method": ""}, "method name"),
        ({"gid": ""}, "gid"),
        ({"service": "a/b"}, "service name"),
    ],
    ids=str,
)
async def test_a_remote_that_lacks_something_is_refused_before_anything_is_sent(
    start_node: StartNode, missing: dict[str, Any], reason: str
) -> None:
    caller, node = await start_node(), await start_node()
    complete: dict[str, Any] = {"node": node.address, "service": "status", "method": "get"}
    with pytest.raises(MalformedRequest, match=reason):
        await caller.local.comm.send(["nid"], Remote(**complete | missing))
    assert await node.local.status.get("counts") == 0


async def test_an_argument_that_cannot_travel_is_refused_before_anything_is_sent(start_node: StartNode) -> None:
    caller, node = await start_node(), await start_node()
    with pytest.raises(EncodeError) as caught:
        await caller.local.comm.send(
            ["nid", {"a": object()}], Remote(node=node.address, service="status", method="get")
        )
    assert caught.value.path == "$[1]['a']"
    assert await node.local.status.get("counts") == 0


async def test_the_node_of_a_remote_is_taken_in_any_form(start_node: StartNode) -> None:
    caller, node = await start_node(), await start_node()
    for form in (node, str(node.address), {"ip": node.address.ip, "port": node.address.port}):
        remote = Remote(node=form, service="status", method="get")  # type: ignore[arg-type]  # its subject
        assert remote.node == node.address
        assert await caller.local.comm.send(["sid"], remote) == node.sid


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"gid": "nowhere"}, GroupNotFound),
        ({"service": "nothing"}, ServiceNotFound),
        ({"method": "nothing"}, MethodNotFound),
    ],
    ids=str,
)
async def test_an_unknown_name_is_not_found_and_the_error_says_by_whom(
    start_node: StartNode, transport: Any, wrong: dict[str, Any], error: type[DefiniteError]
) -> None:
    caller, node = await start_node(NodeConfig(transport=transport)), await start_node()
    complete: dict[str, Any] = {"node": node.address, "service": "status", "method": "get"}
    remote = Remote(**complete | wrong)
    with pytest.raises(error, match="'no") as caught:
        await caller.local.comm.send([], remote)
    assert caught.value.node == str(node.address)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_handlers_exception_comes_back_with_type_message_traceback_and_node(
    start_node: StartNode, transport: Any
) -> None:
    caller, node = await start_node(NodeConfig(transport=transport)), await start_node()
    await node.local.routes.put(Probe(), "probe")
    with pytest.raises(RemoteError) as caught:
        await caller.local.comm.send(["out of tea"], Remote(node=node.address, service="probe", method="fail"))
    error = caught.value
    assert (error.type_name, error.message, error.node) == ("ValueError", "out of tea", str(node.address))
    assert "in fail" in error.traceback


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_arguments_that_do_not_fit_are_refused_by_the_node(start_node: StartNode, transport: Any) -> None:
    caller, node = await start_node(NodeConfig(transport=transport)), await start_node()
    with pytest.raises(MalformedRequest, match="get"):
        await caller.local.comm.send([], Remote(node=node.address, service="status", method="get"))
    with pytest.raises(MalformedRequest, match="key"):
        await caller.local.comm.send([5], Remote(node=node.address, service="status", method="get"))
    assert await node.local.status.get("counts") == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_node_that_is_not_there_is_unreachable(start_node: StartNode, transport: Any) -> None:
    caller, node = await start_node(NodeConfig(transport=transport)), await start_node()
    await node.local.status.stop()
    with pytest.raises(NodeUnreachable) as caught:
        await caller.local.comm.send(["nid"], Remote(node=node.address, service="status", method="get"))
    assert caught.value.node == str(node.address)


async def test_the_gid_of_a_remote_may_name_a_group_so_that_the_node_makes_a_group_wide_call(
    start_node: StartNode,
) -> None:
    caller, node, other = await start_node(), await start_node(), await start_node()
    await node.local.groups.put("pair", [node.address, other.address])
    sids = sorted([node.sid, other.sid])
    total = await caller.local.comm.send(["sid"], Remote(node=node.address, gid="pair", service="status", method="get"))
    assert total.value == sids
    replies = await caller.local.comm.send(
        [["port"], Remote(service="status", method="get")],
        Remote(node=node.address, gid="pair", service="comm", method="send"),
    )
    ports = {node.sid: node.address.port, other.sid: other.address.port}
    assert replies == Replies(ports, {})


async def test_a_node_can_be_asked_to_call_another(start_node: StartNode) -> None:
    caller, relay, node = await start_node(), await start_node(), await start_node()
    sid = await caller.local.comm.send(
        [["sid"], Remote(node=node.address, service="status", method="get")],
        Remote(node=relay.address, service="comm", method="send"),
    )
    assert sid == node.sid


async def test_an_error_of_a_call_that_was_relayed_is_a_remote_error_of_the_relay(start_node: StartNode) -> None:
    caller, relay, node = await start_node(), await start_node(), await start_node()
    with pytest.raises(RemoteError, match="UnknownKey") as caught:
        await caller.local.comm.send(
            [["nothing"], Remote(node=node.address, service="status", method="get")],
            Remote(node=relay.address, service="comm", method="send"),
        )
    assert caught.value.node == str(relay.address)
    assert str(node.address) in caught.value.message


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_handler_reads_who_calls_and_how_long_it_has(start_node: StartNode, transport: Any) -> None:
    caller, node = await start_node(NodeConfig(transport=transport)), await start_node()
    await node.local.routes.put(Probe(), "probe")
    remote = Remote(node=node.address, service="probe", method="describe_call")
    call = await caller.local.comm.send([], remote)
    assert (call["caller"], call["gid"], call["left_s"]) == (caller.address, "local", float("inf"))
    with trio.fail_after(100):
        call = await caller.local.comm.send([], remote)
    assert 0 < call["left_s"] <= 100


async def test_the_callers_deadline_ends_the_handler_and_shrinks_at_every_hop(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    caller, relay, node = [await start_memory_node() for _ in range(3)]
    await node.local.routes.put(Probe(), "probe")
    hop = Remote(node=relay.address, service="comm", method="send")

    async def relayed(method: str, *args: Any) -> Any:
        remote = Remote(node=node.address, service="probe", method=method)
        return await caller.local.comm.send([list(args), remote], hop)

    with trio.fail_after(5):
        await trio.sleep(1)
        call = await relayed("describe_call")
        assert call["left_s"] == pytest.approx(4)
        assert call["caller"] == relay.address
        assert await relayed("sleep", 3.9) == "slept"
    began = trio.current_time()
    with pytest.raises((trio.TooSlowError, CallTimeout, RemoteError)):
        with trio.fail_after(5):
            await relayed("sleep", 10)
    assert trio.current_time() - began == pytest.approx(5)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cancelling_a_call_cancels_its_handler(start_node: StartNode, transport: Any) -> None:
    caller, node = await start_node(NodeConfig(transport=transport)), await start_node()
    began, ended = trio.Event(), trio.Event()

    async def wait() -> None:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    await node.local.routes.put({"wait": wait}, "patience")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.local.comm.send, [], Remote(node=node.address, service="patience", method="wait"))
            await began.wait()
            nursery.cancel_scope.cancel()
        await ended.wait()


async def test_calls_of_one_caller_run_side_by_side(start_node: StartNode) -> None:
    caller, node = await start_node(), await start_node()
    both_there = trio.Event()
    arrived: list[int] = []

    async def meet(number: int) -> int:
        arrived.append(number)
        if len(arrived) == 2:
            both_there.set()
        await both_there.wait()
        return number

    await node.local.routes.put({"meet": meet}, "place")
    remote = Remote(node=node.address, service="place", method="meet")
    answers: list[int] = []

    async def call(number: int) -> None:
        answers.append(await caller.local.comm.send([number], remote))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, 1)
            nursery.start_soon(call, 2)
    assert sorted(answers) == [1, 2]


async def test_ids_of_calls_differ(start_node: StartNode) -> None:
    caller, node = await start_node(), await start_node()
    await node.local.routes.put(Probe(), "probe")
    remote = Remote(node=node.address, service="probe", method="describe_call")
    ids = [(await caller.local.comm.send([], remote))["id"] for _ in range(3)]
    assert len(set(ids)) == 3


async def test_a_service_of_another_node_is_changed_by_the_call_alone(start_node: StartNode) -> None:
    caller, node = await start_node(), await start_node()
    mine, theirs = Counter(), Counter()
    await caller.local.routes.put(mine, "counter")
    await node.local.routes.put(theirs, "counter")
    await caller.local.comm.send([5], Remote(node=node.address, service="counter", method="add"))
    assert (mine.total, theirs.total) == (0, 5)


@pytest.mark.parametrize("node", ["nonsense", {"ip": "127.0.0.1"}, 5])
def test_a_remote_takes_no_node_that_is_no_address(node: Any) -> None:
    with pytest.raises(MalformedRequest):
        Remote(node=node, service="status", method="get")


def test_a_remote_is_local_unless_it_says_otherwise() -> None:
    remote = Remote(node=NodeAddress("127.0.0.1", 1), service="status", method="get")
    assert remote.gid == "local"


def test_orphans_are_raised_by_the_block_of_their_own_call() -> None:
    own, other = NodeAddress("127.0.0.1", 1), NodeAddress("127.0.0.1", 2)
    comm = Comm(own, LazyHTTPTransport(NodeConfig()), Router(), Random(1))
    remote = Remote(node=other, service="shop", method="buy")
    ours, theirs, reported = (comm.prepare([], {}, remote) for _ in range(3))
    orphans = [
        OrphanedCall(node=other, gid="local", service="shop", method="buy", id=request.id)
        for request in (ours, reported)
    ]
    with (
        pytest.raises(OrphanedCalls) as caught,
        comm.raising_orphans("raise", ours),
        comm.raising_orphans("raise", theirs),
        comm.raising_orphans("report", reported),
    ):
        list(map(comm.handle_event, orphans))
    assert caught.value.calls == {str(other): ours.id}
