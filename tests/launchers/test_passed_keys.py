"""Spawned nodes get the keys of their spawner through the private pipe, and nowhere else."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.keyed_nodes import KEEPER, new_file, refusal_by, told
from tests.launchers.fakes import FakeLauncher
from tests.security.keys import key_of
from tests.waiting import DEADLINE_S, wait_until
from trionet import ChildRestarted, ConfigError, NodeConfig, open_node
from trionet.launchers.passed_keys import pass_keys, passed_keys
from trionet.launchers.subprocess import SubprocessLauncher
from trionet.launchers.supervised import Boot, boot_for, decode_line, encode_line
from trionet.protocols.link.refusals import Refusal
from trionet.security.key_entries import KeyFile
from trionet.security.live_keys import LiveKeys
from trionet.security.node_keys import NodeKeys

if TYPE_CHECKING:
    from tests.launchers.families import Family
    from trionet import NodeAddress

SECRET = key_of(1).reveal().rpartition(":")[2]
KEYS = NodeKeys(KeyFile.of(key_of(1)), "shop")

each_launcher = pytest.mark.parametrize("launcher", ["forkserver", "subprocess", "in_process"])


def places_of(pid: int) -> list[bytes]:
    """Return what others see of a process."""
    return [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]


def child_of(launcher: str, **settings: Any) -> NodeConfig:
    return msgspec.structs.replace(KEEPER, launcher=launcher, **settings)


@pytest.mark.slow
@each_launcher
async def test_a_child_and_its_own_child_have_the_keys_and_the_cluster_of_their_spawner(
    tmp_path: Path, launcher: str
) -> None:
    config = NodeConfig(key_file=new_file(tmp_path), cluster="shop", join=[])
    with trio.fail_after(DEADLINE_S):
        async with open_node(config) as node:
            child = await node.local.status.spawn(child_of(launcher))
            grandchild = await told(node, child, "spawn", child_of(launcher))
            for address in (child, grandchild):
                settings = await told(node, address, "settings")
                assert (settings["key_file"], settings["cluster"]) == (None, "shop")
                assert await trio.to_thread.run_sync(refusal_by, address) is Refusal.PLAIN
            await wait_until(lambda: {child.sid, grandchild.sid} <= node.all.members().keys())


@pytest.mark.slow
@each_launcher
async def test_a_copy_of_the_spawners_configuration_does_not_travel_with_the_path_of_its_key_file(
    tmp_path: Path, launcher: str
) -> None:
    config = msgspec.structs.replace(KEEPER, key_file=new_file(tmp_path), cluster="shop")
    with trio.fail_after(DEADLINE_S):
        async with open_node(config) as node:
            child = await node.local.status.spawn(node.config, launcher=launcher)
            assert (await told(node, child, "settings"))["key_file"] is None
            assert SECRET not in await told(node, child, "shown")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
async def test_no_command_line_and_no_environment_of_a_process_holds_a_key(
    tmp_path: Path, launcher: str, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIONET_KEY", key_of(1).reveal())  # of a program that has not read it
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(key_file=new_file(tmp_path))) as node:
            child = await node.local.status.spawn(child_of(launcher))
            assert await told(node, child, "variables") == []
            pids = family.pids()
            assert pids
            assert not [place for pid in pids for place in places_of(pid) if SECRET.encode() in place]


@pytest.mark.slow
async def test_a_restarted_child_has_the_keys_again(tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(key_file=new_file(tmp_path))) as node:
            events = node.events()
            child = await node.local.status.spawn(child_of("forkserver", restart="always"))
            os.kill((await told(node, child, "settings"))["pid"], signal.SIGKILL)
            while not isinstance(await anext(events), ChildRestarted):
                pass
            assert await trio.to_thread.run_sync(refusal_by, child) is Refusal.PLAIN
            assert (await told(node, child, "settings"))["key_file"] is None


@pytest.mark.slow
@each_launcher
async def test_a_key_file_of_a_childs_own_has_priority(tmp_path: Path, launcher: str) -> None:
    path = new_file(tmp_path, 1)
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(key_file=new_file(tmp_path, 2))) as node:
            child: NodeAddress = await node.local.status.spawn(child_of(launcher, key_file=path))
            async with open_node(NodeConfig(key_file=path)) as friend:
                assert (await told(friend, child, "settings"))["key_file"] == path


@pytest.mark.slow
async def test_a_launcher_that_wraps_another_passes_the_keys_and_nothing_else_does(tmp_path: Path) -> None:
    class Wrapper:
        async def start(self, config: NodeConfig, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> int:
            return await SubprocessLauncher().start(config, task_status=task_status)

    fake = FakeLauncher()
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(key_file=new_file(tmp_path), cluster="shop")) as node:
            node.register_launcher("wrapper", Wrapper())
            node.register_launcher("fake", fake)
            child = await node.local.status.spawn(child_of("wrapper"))
            assert (await told(node, child, "settings"))["cluster"] == "shop"
            await node.local.status.spawn(node.config, launcher="fake")
            assert [(config.key_file, config.cluster) for config in fake.configs] == [(None, "shop")]
            assert passed_keys() is None


def test_a_child_without_the_packages_of_the_extra_tells_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pass_keys(LiveKeys(KEYS)):
        keys = passed_keys()
    assert keys is not None
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'trionet\[secure\]'"):
        keys.open()


def test_a_boot_message_carries_the_keys_and_does_not_show_them() -> None:
    assert boot_for(NodeConfig()).keys is None
    with pass_keys(LiveKeys(KEYS)):
        boot = boot_for(NodeConfig())
        assert Boot(NodeConfig()).keys == boot.keys  # that of the ssh launcher
    with pass_keys(None):
        assert boot_for(NodeConfig()).keys is None
    line = encode_line(boot)
    assert SECRET.encode() in line
    received = decode_line(line, Boot)
    assert received == boot
    assert received.keys is not None
    assert received.keys.open().sealing.link_psk == KEYS.sealing.link_psk
    for shown in (repr(boot), str(boot), f"{boot}", repr(received.keys), repr([boot])):
        assert SECRET not in shown
