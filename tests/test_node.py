import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests import samples
from tests.waiting import is_listening
from trionet import (
    AddressInUse,
    ConfigError,
    ConnectionLost,
    GroupNotFound,
    Node,
    NodeConfig,
    NodeUnreachable,
    Remote,
    TemporarilyUnavailable,
    open_node,
    run,
    serve_node,
)

StartNode = Callable[..., Awaitable[Node]]

NID = Remote(service="status", method="get")


@pytest.fixture(autouse=True)
def _forget_started_nodes() -> None:
    samples.started.clear()


async def test_a_node_has_the_address_it_listens_on_and_the_ids_computed_from_it() -> None:
    config = NodeConfig()
    async with open_node(config) as node:
        assert node.address.ip == "127.0.0.1"
        assert node.address.port > 0
        assert (node.nid, node.sid) == (node.address.nid, node.address.sid)
        assert node.config is config
        assert await is_listening(node.address.port)


async def test_the_configuration_may_be_left_out() -> None:
    async with open_node() as node:
        assert node.config == NodeConfig()


async def test_a_node_listens_on_the_port_it_is_told() -> None:
    async with open_node() as first:
        port = first.address.port
    async with open_node(NodeConfig(port=port)) as node:
        assert node.address.port == port


async def test_a_node_listens_on_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    async with open_node(NodeConfig(ip="::1")) as node, open_node() as other:
        remote = Remote(node=node.address, service="status", method="get")
        assert await other.local.comm.send(["ip"], remote) == "::1"


async def test_others_are_told_the_advertised_ip() -> None:
    async with open_node(NodeConfig(advertise_ip="localhost")) as node, open_node() as other:
        assert node.address.ip == "localhost"
        remote = Remote(node=node.address, service="status", method="get")
        assert await other.local.comm.send(["ip"], remote) == "localhost"


async def test_a_port_in_use_is_an_error_that_names_it() -> None:
    async with open_node() as node:
        with pytest.raises(AddressInUse, match=f"^{node.address} is already in use$"):
            async with open_node(NodeConfig(port=node.address.port)):
                raise AssertionError("was opened")
        assert await node.local.status.get("sid") == node.sid


@pytest.mark.slow
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_program_whose_port_is_in_use_says_so_in_one_line(kind: socket.SocketKind, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, trionet\n"
        "async def main(node):\n    pass\n"
        "try:\n    trionet.run(main, trionet.NodeConfig(port=int(sys.argv[1])))\n"
        "except trionet.AddressInUse as error:\n    print(error.code)\n"
        "trionet.run(main, trionet.NodeConfig(port=int(sys.argv[1])))\n"
    )
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, program, str(port)], capture_output=True, text=True, check=False)
    # Of the number that is taken for datagrams, another program may have the TCP port.
    assert re.fullmatch(
        rf"trionet: (UDP port {port} of 127\.0\.0\.1|127\.0\.0\.1:{port}) is already in use\n", done.stderr
    )
    assert (done.stdout, done.returncode) == ("1004\n", 1)


@pytest.mark.slow
def test_what_a_program_raises_itself_has_its_traceback(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import trionet\n"
        "async def main(node):\n"
        "    async with trionet.open_node(trionet.NodeConfig(port=node.address.port)):\n        pass\n"
        "trionet.run(main)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("Traceback")) == (1, True)


async def test_an_address_that_is_not_this_machines_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:8080"):
        async with open_node(NodeConfig(ip="192.0.2.1", port=8080, insecure=True)):
            raise AssertionError("was opened")


async def test_binding_beyond_loopback_is_refused_unless_it_is_said_to_be_insecure() -> None:
    with pytest.raises(ConfigError, match="insecure=True"):
        async with open_node(NodeConfig(ip="0.0.0.0", advertise_ip="127.0.0.1")):
            raise AssertionError("was opened")
    config = NodeConfig(ip="0.0.0.0", advertise_ip="127.0.0.1", insecure=True)
    async with open_node(config) as node, open_node() as other:
        remote = Remote(node=node.address, service="status", method="get")
        assert await other.local.comm.send(["nid"], remote) == node.nid


async def test_the_port_is_closed_when_the_block_has_ended() -> None:
    async with open_node() as node:
        port = node.address.port
    assert not await is_listening(port)
    async with open_node() as other:
        with pytest.raises(NodeUnreachable):
            await other.local.comm.send(["nid"], Remote(node=node.address, service="status", method="get"))


@pytest.mark.parametrize(
    "error", [ValueError("mine"), ExceptionGroup("mine", [ValueError("one")]), NodeUnreachable("?")]
)
async def test_an_exception_of_the_block_comes_out_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        async with open_node() as node:
            raise error
    assert caught.value is error
    assert not await is_listening(node.address.port)


async def test_a_block_that_is_cancelled_closes_the_node_and_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with open_node() as node:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not await is_listening(node.address.port)


async def test_leaving_the_block_does_not_wait_for_handlers_longer_than_the_grace() -> None:
    ended = trio.Event()
    began = trio.Event()

    async def wait() -> None:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    with trio.fail_after(60):
        async with open_node() as caller, trio.open_nursery() as nursery:
            async with open_node(NodeConfig(stop_grace_s=0)) as node:
                await node.local.routes.put({"wait": wait}, "patience")
                remote = Remote(node=node.address, service="patience", method="wait")

                async def call() -> None:
                    with pytest.raises(ConnectionLost):
                        await caller.local.comm.send([], remote)

                nursery.start_soon(call)
                await began.wait()
            assert ended.is_set()


async def test_a_call_in_progress_is_answered_within_the_grace_when_the_node_stops() -> None:
    began, may_end = trio.Event(), trio.Event()

    async def wait() -> str:
        began.set()
        await may_end.wait()
        return "answered"

    answers = []
    with trio.fail_after(60):
        async with open_node() as caller, open_node(NodeConfig(stop_grace_s=30)) as node:
            await node.local.routes.put({"wait": wait}, "patience")
            async with trio.open_nursery() as nursery:

                async def call() -> None:
                    remote = Remote(node=node.address, service="patience", method="wait")
                    answers.append(await caller.local.comm.send([], remote))

                nursery.start_soon(call)
                await began.wait()
                await node.local.status.stop()
                may_end.set()
    assert answers == ["answered"]


async def test_a_node_that_is_stopped_from_afar_answers_first_and_then_refuses_connections() -> None:
    with trio.fail_after(60):
        async with open_node() as caller:
            async with open_node() as node:
                remote = Remote(node=node.address, service="status", method="stop")
                assert await caller.local.comm.send([], remote) == node.address
                await trio.sleep_forever()
            assert not await is_listening(node.address.port)
            with pytest.raises(NodeUnreachable):
                await caller.local.comm.send([], remote)


async def test_a_node_that_is_stopping_takes_no_further_calls_but_a_second_stop() -> None:
    began, may_end = trio.Event(), trio.Event()

    async def wait() -> None:
        began.set()
        await may_end.wait()

    with trio.fail_after(60):
        async with open_node() as caller, open_node(NodeConfig(stop_grace_s=30)) as node:
            await node.local.routes.put({"wait": wait}, "patience")

            async def call(service: str, method: str, *args: Any) -> Any:
                return await caller.local.comm.send(
                    list(args), Remote(node=node.address, service=service, method=method)
                )

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "patience", "wait")
                await began.wait()
                assert await call("status", "stop") == node.address
                # On the connection that is there the node can still be asked; or it may be unreachable already.
                with pytest.raises((TemporarilyUnavailable, NodeUnreachable)):
                    await call("status", "get", "nid")
                assert await node.local.status.stop() == node.address
                may_end.set()


@pytest.mark.slow
async def test_a_node_stops_without_delay_though_others_keep_idle_connections_to_it() -> None:
    for transport in ("link", "http"):
        config = NodeConfig(transport=transport)
        async with open_node(config) as caller, open_node(NodeConfig(stop_grace_s=1000)) as node:
            remote = Remote(node=node.address, service="status", method="get")
            for _ in range(2):
                await caller.local.comm.send(["nid"], remote)
            with trio.fail_after(60):
                await node.local.status.stop()
                await trio.sleep_forever()
        async with open_node(config) as caller:
            with trio.fail_after(60):
                async with open_node(NodeConfig(stop_grace_s=1000)) as node:
                    await caller.local.comm.send(["nid"], Remote(node=node.address, service="status", method="get"))


ON_START: list[Any] = [
    samples.note_node,
    samples.note_node_async,
    "tests.samples:note_node",
    "tests.samples:note_node_async",
]


@pytest.mark.parametrize("on_start", ON_START, ids=["function", "async", "path", "path of async"])
async def test_on_start_receives_the_node_before_the_block_begins(on_start: Any) -> None:
    async with open_node(NodeConfig(on_start=on_start)) as node:
        assert samples.started == [node]


async def test_on_start_runs_after_the_node_accepts_calls() -> None:
    seen = []

    async def call_itself(node: Node) -> None:
        async with httpx.AsyncClient(base_url=f"http://{node.address}", timeout=60, trust_env=False) as client:
            seen.append((await client.put("/local/status/get", content='["nid"]')).json()["value"])

    async with open_node(NodeConfig(on_start=call_itself)) as node:
        assert seen == [node.nid]


async def test_on_start_may_stop_the_node() -> None:
    with trio.fail_after(60):
        async with open_node(NodeConfig(on_start=samples.stop_node)) as node:
            await trio.sleep_forever()
    assert not await is_listening(node.address.port)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [LookupError("no plan"), ExceptionGroup("two", [ValueError(), KeyError()])])
async def test_what_on_start_raises_is_the_callers_as_it_is_and_closes_the_node(
    is_async: bool, error: Exception
) -> None:
    ports = []

    def fail(node: Node) -> None:
        ports.append(node.address.port)
        raise error

    async def fail_async(node: Node) -> None:
        await trio.lowlevel.checkpoint()
        fail(node)

    with pytest.raises(type(error)) as caught:
        async with open_node(NodeConfig(on_start=fail_async if is_async else fail)):
            raise AssertionError("was opened")
    assert caught.value is error
    assert not await is_listening(ports[0])


@pytest.mark.parametrize(
    ("on_start", "reason"),
    [
        ("tests.nowhere:begin", "can't import 'tests.nowhere'"),
        ("tests.samples:nothing", "'tests.samples' has no 'nothing'"),
    ],
)
async def test_an_on_start_that_cannot_be_imported_is_the_callers_mistake(on_start: str, reason: str) -> None:
    async with open_node() as node:
        port = node.address.port
    with pytest.raises(ConfigError, match=reason):
        async with open_node(NodeConfig(port=port, on_start=on_start)):
            raise AssertionError("was opened")
    assert not await is_listening(port)


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"services": {"counter": "tests.nowhere:Counter"}}, ConfigError),
        ({"services": {"counter": "tests.samples:Mute"}}, ConfigError),
        ({"services": {"status": "tests.samples:Counter"}}, ConfigError),
        ({"templates": {"census": "tests.nowhere:Census"}}, ConfigError),
        ({"templates": {"status": "tests.samples:Census"}}, ConfigError),
        ({"templates": {"broken": "tests.samples:BrokenTemplate"}}, ValueError),
    ],
    ids=str,
)
async def test_services_and_templates_that_cannot_be_made_are_the_callers_mistake(
    setting: dict[str, Any], error: type[Exception]
) -> None:
    async with open_node() as node:
        port = node.address.port
    with pytest.raises(error):
        async with open_node(NodeConfig(port=port, **setting)):
            raise AssertionError("was opened")
    assert not await is_listening(port)


async def test_a_node_starts_with_the_services_and_templates_of_its_configuration() -> None:
    config = NodeConfig(services={"counter": "tests.samples:Counter"}, templates={"census": "tests.samples:Census"})
    async with open_node(config) as node:
        assert await node.local.comm.send([3], Remote(node=node.address, service="counter", method="add")) == 3
        assert node.all.service("census").where() == "all"


@pytest.mark.slow
async def test_many_nodes_in_one_process_are_apart() -> None:
    async with trio.open_nursery() as nursery:
        nodes: list[Node] = [await nursery.start(serve_node, None) for _ in range(20)]
        assert len({node.sid for node in nodes}) == 20
        first, *others = nodes
        await first.local.groups.put("everyone", [node.address for node in nodes])
        total = await first.group("everyone").status.get("sid")
        assert total.value == sorted(node.sid for node in nodes)
        for number, node in enumerate(others):
            assert node.all.members() == {node.sid: node.address}
            await node.local.routes.put({"get": lambda number=number: number}, "number")
        await first.local.groups.put("others", [node.address for node in others])
        replies = await first.group("others").comm.send([], Remote(service="number", method="get"))
        assert replies.values == {node.sid: number for number, node in enumerate(others)}
        nursery.cancel_scope.cancel()


async def test_a_group_that_is_not_there_is_not_found() -> None:
    async with open_node() as node:
        with pytest.raises(GroupNotFound, match="'nowhere'"):
            node.group("nowhere")
        with pytest.raises(KeyError):
            node.group("nowhere")
        assert node.all is node.group("all")
        assert node.group("local").gid == "local"


async def test_serve_node_gives_the_node_once_it_can_be_called_and_returns_when_it_is_stopped() -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            node: Node = await nursery.start(serve_node, NodeConfig(on_start=samples.note_node))
            assert samples.started == [node]
            await node.local.status.stop()


async def test_serve_node_raises_what_kept_the_node_from_booting() -> None:
    async with open_node() as node, trio.open_nursery() as nursery:
        with pytest.raises(AddressInUse):
            await nursery.start(serve_node, NodeConfig(port=node.address.port))
        with pytest.raises(LookupError, match=r"no plan for 127\.0\.0\.1"):
            await nursery.start(serve_node, NodeConfig(on_start=samples.fail_to_start))


def test_run_gives_the_node_to_the_main_function_and_returns_what_it_returns() -> None:
    async def main(node: Node) -> tuple[list[Node], str]:
        return samples.started, await node.local.status.get("nid")

    result = run(main, NodeConfig(on_start=samples.note_node))
    assert result is not None
    nodes, nid = result
    assert nid == nodes[0].nid


def test_run_returns_none_when_the_node_is_stopped_first() -> None:
    async def main(node: Node) -> str:
        await node.local.status.stop()
        await trio.sleep_forever()
        return "not reached"

    assert run(main) is None


def test_run_raises_what_the_main_function_raises() -> None:
    async def main(node: Node) -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError(f"on {node.address.ip}")

    with pytest.raises(LookupError, match=r"^on 127"):
        run(main)


async def test_a_page_of_the_users_own_is_served_beside_the_services() -> None:
    def add_page(node: Node) -> None:
        assert node.app is not None

        @node.app.get("/hello")
        async def hello() -> str:
            return f"hello from {node.sid}"

    async with (
        open_node(NodeConfig(on_start=add_page)) as node,
        httpx.AsyncClient(base_url=f"http://{node.address}", timeout=60, trust_env=False) as client,
    ):
        assert (await client.get("/hello")).text == f"hello from {node.sid}"
        assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_an_in_memory_node_has_no_app_and_no_port(start_memory_node: StartNode) -> None:
    node = await start_memory_node()
    assert node.app is None
    assert not await is_listening(node.address.port)
    assert await node.local.status.get("nid") == node.nid
