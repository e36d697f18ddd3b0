"""Keys rotate in real processes while calls and gossip flow: no call is lost, and no process is left behind."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.node_processes import launch, wait_ready
from tests.simulation.rotating import rotate_once
from tests.waiting import wait_until
from trionet import NodeConfig, Remote, open_node
from trionet.security.key_file import new_key_file, read_key_file
from trionet.security.keys import KEY_BYTES, ClusterKey

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node, NodeAddress

BUSY = "tests.rotating_nodes:begin"


def new_file(path: Path, key: ClusterKey | None = None) -> str:
    new_key_file(str(path), key or ClusterKey(secrets.token_bytes(KEY_BYTES)))
    return str(path)


async def ask(node: Node, other: NodeAddress, method: str) -> Any:
    return await node.local.comm.send([], Remote(node=other, service="busy", method=method))


def held_in(path: str) -> list[str]:
    return [one.id.hex() for one in read_key_file(path).entries if one.key is not None]


async def rotate(folder: Path, processes: int, times: int) -> dict[str, Any]:
    """Rotate the keys of processes so often; return figures."""
    key = ClusterKey(secrets.token_bytes(KEY_BYTES))
    files = [new_file(folder / f"node{number}.key", key) for number in range(processes + 1)]
    with ExitStack() as stack:
        async with open_node(NodeConfig(key_file=files[0], join=[], on_start=BUSY)) as node:
            config = NodeConfig(join=[str(node.address)], on_start=BUSY)
            started = [launch(stack, _with(config, path), {}) for path in files[1:]]
            ready = [await trio.to_thread.run_sync(wait_ready, process) for process in started]
            addresses = [node.address, *(one.address for one in ready)]
            await wait_until(lambda: len(node.members()) == processes + 1)
            for address in addresses:
                await ask(node, address, "start")
            for number in range(times):
                key_id = await rotate_once(node, new_file(folder / f"new{number}.key"))
                await wait_until(lambda: all(held_in(path) == [key_id] for path in files))  # noqa: B023  of this round
            for address in addresses:
                await ask(node, address, "end")
            await trio.sleep(1)  # the last calls and rumors
            counts = [await ask(node, address, "counts") for address in addresses]
            assert len(node.members()) == processes + 1
            await _check_growth(stack, node, config, new_file(folder / "late.key", read_key_file(files[1]).sealing_key))
    return {
        "calls": sum(one["calls"] for one in counts),
        "lost": [text for one in counts for text in one["lost"]],
        "rumors": sum(one["sent"] for one in counts),
        "heard": sum(one["heard"] for one in counts),
    }


def _with(config: NodeConfig, path: str) -> NodeConfig:
    return NodeConfig(join=config.join, on_start=config.on_start, key_file=path)


async def _check_growth(stack: ExitStack, node: Node, config: NodeConfig, path: str) -> None:
    """A process with the newest key joins, and so does one that a node spawns."""
    before = len(node.members())
    late = launch(stack, _with(config, path), {})
    await trio.to_thread.run_sync(wait_ready, late)
    await node.local.status.spawn(NodeConfig(on_start=BUSY))
    await wait_until(lambda: len(node.members()) == before + 2)


@pytest.mark.slow
async def test_keys_of_processes_rotate_and_no_call_is_lost(tmp_path: Path) -> None:
    figures = await rotate(tmp_path, processes=3, times=2)
    assert figures["lost"] == []
    assert figures["calls"] > 0


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_twenty_processes_rotate_ten_times_and_no_call_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = await rotate(tmp_path, processes=20, times=10)
    with capsys.disabled():
        sys.stdout.write(f"{figures}\n")
    assert figures["lost"] == []
    assert figures["calls"] > 0
