"""What a node needs of its network, whichever that is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import trio

from tests.node_processes import ROOT, clean_environment
from trionet import ConfigError, MalformedRequest, Node, NodeConfig, Remote, arguments, open_node
from trionet.transports.memory import MemoryFabric
from trionet.warming import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from trionet import OrphanedCall
    from trionet.security.live_keys import LiveKeys
    from trionet.transports.base import Endpoint, Handler


class Network:
    """A network of the test's own, over a memory fabric."""

    default_launcher = "in_process"

    def __init__(self) -> None:
        self.fabric = MemoryFabric()
        self.opened: list[Node] = []
        self.groups: list[list[str]] = []

    async def open_endpoint(
        self,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys | None = None,
    ) -> Endpoint:
        return self.fabric.endpoint(config, handler, on_orphan, keys)

    def on_open(self, node: Node) -> None:
        assert not self.fabric.endpoints.get(node.address), "it serves no calls yet"
        self.opened.append(node)
        self.groups.append(sorted([node.all.gid, node.group("local").gid]))


async def test_a_node_is_complete_before_it_serves_calls_on_any_network(autojump_clock: MockClock) -> None:
    network = Network()
    async with open_node(fabric=network) as node:
        assert network.opened == [node]
        assert network.groups == [["all", "local"]]
        assert node.app is None
        assert node.members()[0].node == node.address


async def test_a_spawned_node_is_on_the_network_of_its_parent(autojump_clock: MockClock) -> None:
    network = Network()
    async with open_node(fabric=network) as node:
        child = await node.local.status.spawn(NodeConfig())
        nid = Remote(node=child, service="status", method="get")
        assert await node.local.comm.send(["nid"], nid) == child.nid
        assert [each.address for each in network.opened] == [node.address, child]


async def test_what_opens_no_endpoints_is_no_network() -> None:
    with pytest.raises(MalformedRequest, match="fabric"):
        async with open_node(fabric=object()):  # type: ignore[arg-type]
            raise AssertionError


async def test_a_node_whose_configured_service_cannot_be_made_is_not_opened(autojump_clock: MockClock) -> None:
    network = Network()
    with pytest.raises(ConfigError):
        async with open_node(NodeConfig(services={"shop": "tests.nowhere:Shop"}), fabric=network):
            raise AssertionError
    assert network.opened == []
    assert network.fabric.endpoints == {}


@pytest.mark.parametrize("joins", [False, True])
def test_nodes_after_a_warm_up_inspect_nothing_more_and_it_leaves_nothing_open(
    joins: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def be_called() -> None:
        async with open_node() as caller, open_node() as node:
            await caller.local.comm.send(["nid"], Remote(node=node.address, service="status", method="get"))

    inspected = arguments._plan_of  # noqa: SLF001  a look inside
    inspected.cache_clear()
    opened, threads = os.listdir("/dev/fd"), threading.enumerate()
    caplog.set_level("INFO", "trionet")
    assert warm_up(joins=joins)
    assert ("has joined the cluster" in caplog.text) is joins
    assert "leaves" not in caplog.text  # that would take a while
    assert len(os.listdir("/dev/fd")) == len(opened)
    assert set(threading.enumerate()) <= set(threads)  # one that Trio has kept from before may end meanwhile
    misses = inspected.cache_info().misses
    assert misses > 0
    trio.run(be_called)
    assert inspected.cache_info().misses == misses


def test_a_warm_up_that_takes_too_long_is_given_up_and_leaves_nothing_open() -> None:
    opened, threads = os.listdir("/dev/fd"), threading.enumerate()
    assert not warm_up(limit_s=0.001, joins=True)
    assert len(os.listdir("/dev/fd")) == len(opened)
    assert set(threading.enumerate()) <= set(threads)


def test_where_no_node_can_run_a_warm_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no sockets here")

    monkeypatch.setattr("trionet.transports.network.TCPNetwork.open_endpoint", refuse)
    assert not warm_up()


@pytest.mark.slow
def test_a_node_at_rest_has_imported_only_what_most_nodes_need() -> None:
    """Its memory depends on that, and is not tested itself."""
    code = (
        "import sys, trio, trionet.cli.node\n"
        "from trionet.config import NodeConfig\n"
        "from trionet.runtime import open_node\n"
        "async def main():\n"
        "    async with open_node(NodeConfig(join=[])):\n"
        "        print(*sys.modules)\n"
        "trio.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    ours = ("group", "launchers.built_in", "policy", "running_calls", "templates", "transports.http", "transports.web")
    theirs = (
        "asyncio",
        "cryptography",
        "dataclasses",
        "encodings.idna",
        "httpx",
        "hypercorn",
        "json",
        "quart",
        "tomllib",
    )
    assert not {*(f"trionet.{name}" for name in ours), *theirs} & set(done.stdout.split())
