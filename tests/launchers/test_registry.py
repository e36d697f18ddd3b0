"""Which launcher a spawn takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.launchers.fakes import FakeLauncher
from tests.launchers.misfit import SERVICES, ask
from trionet import ConfigError, MalformedRequest, Node, NodeConfig, Remote, SSHLauncher, open_node
from trionet.launchers.registry import open_launchers
from trionet.transports.memory import MemoryFabric

StartNode = Callable[..., Awaitable[Node]]


async def test_a_launcher_of_ones_own_is_taken_by_its_name(start_memory_node: StartNode) -> None:
    node = await start_memory_node()
    launcher = FakeLauncher()
    node.register_launcher("batch", launcher)
    assert str(await node.local.status.spawn(NodeConfig(port=7000), launcher="batch")) == "127.0.0.1:7000"
    assert str(await node.local.status.spawn(NodeConfig(port=7001, launcher="batch"))) == "127.0.0.1:7001"
    assert [config.port for config in launcher.configs] == [7000, 7001]


async def test_the_word_of_the_spawn_goes_before_its_configurations_and_that_before_the_spawners(
    start_memory_node: StartNode,
) -> None:
    node = await start_memory_node(NodeConfig(launcher="first"))
    launchers = {name: FakeLauncher() for name in ("first", "second", "third")}
    for name, launcher in launchers.items():
        node.register_launcher(name, launcher)
    await node.local.status.spawn(NodeConfig())
    await node.local.status.spawn(NodeConfig(launcher="second"))
    await node.local.status.spawn(NodeConfig(launcher="second"), launcher="third")
    assert [len(launcher.started) for launcher in launchers.values()] == [1, 1, 1]


async def test_children_are_started_by_the_child_launcher_and_not_by_the_one_of_their_spawner(
    start_memory_node: StartNode,
) -> None:
    node = await start_memory_node(NodeConfig(launcher="of_this_node", child_launcher="of_children"))
    launchers = {name: FakeLauncher() for name in ("of_this_node", "of_children")}
    for name, launcher in launchers.items():
        node.register_launcher(name, launcher)
    await node.local.status.spawn(NodeConfig())
    assert [len(launcher.started) for launcher in launchers.values()] == [0, 1]


async def test_it_can_take_the_place_of_a_built_in_one(start_memory_node: StartNode) -> None:
    node = await start_memory_node()
    launcher = FakeLauncher()
    node.register_launcher("forkserver", launcher)
    await node.local.status.spawn(NodeConfig(launcher="forkserver"))
    assert len(launcher.started) == 1


async def test_a_launcher_can_wrap_the_one_of_a_name(start_memory_node: StartNode) -> None:
    node = await start_memory_node()
    launcher = FakeLauncher()
    node.register_launcher("batch", launcher)
    assert node.launcher("batch") is launcher
    assert callable(node.launcher("forkserver").start)
    assert callable(node.launcher("ssh:attic").start)
    with pytest.raises(ConfigError, match="there is no 'none'"):
        node.launcher("none")


async def test_its_nodes_are_stopped_with_the_spawner() -> None:
    launcher = FakeLauncher()
    async with open_node(fabric=MemoryFabric()) as node:
        node.register_launcher("batch", launcher)
        await node.local.status.spawn(NodeConfig(launcher="batch"))
        await node.local.status.spawn(NodeConfig(launcher="batch", restart="always"))
    assert launcher.cancelled == 2


async def test_its_configurations_can_travel(start_memory_node: StartNode) -> None:
    node = await start_memory_node()
    launcher = FakeLauncher()
    node.register_launcher("batch", launcher)
    await node.local.status.spawn(NodeConfig(launcher="batch", on_start=on_start))
    assert launcher.configs[0].on_start == f"{__name__}:on_start"
    await node.local.status.spawn(NodeConfig(launcher="batch", on_start=lambda _: None))
    assert launcher.configs[1].on_start == "trionet.launchers.passed_code:run_passed"  # which says so, without its code


def on_start(node: Node) -> None: ...


@pytest.mark.parametrize("name", ["kubernetes", "ssh:", "SSH:host", "in-process"])
async def test_an_unknown_name_is_an_error_that_tells_those_there_are(start_memory_node: StartNode, name: str) -> None:
    node = await start_memory_node()
    node.register_launcher("batch", FakeLauncher())
    known = "batch, forkserver, in_process, subprocess, and ssh:HOST"
    with pytest.raises(ConfigError, match=f"^launcher: there is no {name!r}; there are {known}$"):
        await node.local.status.spawn(NodeConfig(launcher="fake"), launcher=name)


async def test_a_caller_on_another_node_is_told_too(start_memory_node: StartNode) -> None:
    node, other = await start_memory_node(), await start_memory_node()
    remote = Remote(node=node.address, service="status", method="spawn")
    with pytest.raises(ConfigError, match=rf"there is no 'kubernetes'.* \(at {node.address}\)$"):
        await other.local.comm.send([NodeConfig(launcher="kubernetes")], remote)


@pytest.mark.parametrize("name", ["", "a b", "ssh:host", "x" * 129])
async def test_a_name_is_made_of_letters_digits_and_a_few_signs(start_memory_node: StartNode, name: str) -> None:
    node = await start_memory_node()
    with pytest.raises(MalformedRequest, match="launcher name"):
        node.register_launcher(name, FakeLauncher())


async def test_ssh_and_a_host_need_no_registration() -> None:
    async with open_launchers() as launchers:
        assert isinstance(launchers.get("ssh:somewhere"), SSHLauncher)


@pytest.mark.slow
async def test_a_spawned_node_has_the_built_in_launchers_only(start_node: StartNode) -> None:
    node = await start_node()
    node.register_launcher("batch", FakeLauncher())
    child = await node.local.status.spawn(NodeConfig(services=SERVICES))
    spawn = Remote(node=child, service="status", method="spawn")
    with pytest.raises(ConfigError, match="there are forkserver, in_process, subprocess, and ssh:HOST"):
        await node.local.comm.send([NodeConfig(launcher="batch")], spawn)
    grandchild = await node.local.comm.send([NodeConfig(services=SERVICES, launcher="in_process")], spawn)
    assert await ask(node, grandchild, "pid") == await ask(node, child, "pid")
