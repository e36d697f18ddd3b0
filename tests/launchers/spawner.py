"""A program that runs a node, has it spawn others, says so in a line of JSON, and stays: for tests to kill.

``python -m tests.launchers.spawner '{"launcher": "forkserver", "count": 2}'``; see `Wishes`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from tests.launchers.misfit import SERVICES, ask, note, spin_at_start, spin_file
from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeAddress, NodeConfig, Remote, open_node

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Born", "Wishes", "open_spawner", "open_spawner_early"]

ROOT = Path(__file__).parents[2]


class Wishes(msgspec.Struct, forbid_unknown_fields=True):
    """What a test wants.

    Attributes:
        launcher: of all nodes.
        count: how many nodes to spawn.
        depth: of how many generations; the first node of each spawns the next.
        block: names a folder: the last node of each generation blocks for ever in a handler, and says so in a file.
        block_at_start: names a file: one node more blocks for ever while it boots, and says so there.
        detach: of the nodes of the first generation.
    """

    launcher: str = "forkserver"
    count: int = 2
    depth: int = 1
    block: str | None = None
    block_at_start: str | None = None
    detach: bool = False


class Born(msgspec.Struct):
    """What there is."""

    addresses: list[str]
    pids: list[int]


@asynccontextmanager
async def open_spawner(wishes: Wishes) -> AsyncGenerator[tuple[trio.Process, Born]]:
    """Run the program in a session of its own; give it, with what it says, and kill it in the end."""
    async with open_spawner_early(wishes) as process:
        assert process.stdout is not None
        line = b""
        with trio.fail_after(DEADLINE_S):
            while not line.endswith(b"\n"):
                chunk = await process.stdout.receive_some()
                assert chunk, "the spawner has ended"
                line += chunk
        yield process, msgspec.json.decode(line, type=Born)


@asynccontextmanager
async def open_spawner_early(wishes: Wishes) -> AsyncGenerator[trio.Process]:
    """Do what `open_spawner` does, and don't wait until its nodes are there."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.launchers.spawner", msgspec.json.encode(wishes).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | spin_file(Path(wishes.block_at_start or os.devnull)),
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def _grow(node: Node, wishes: Wishes, config: NodeConfig) -> Born:
    born = Born([], [])
    parent: NodeAddress | None = None
    to_block = []
    for _ in range(wishes.depth):
        children = [await _spawn(node, parent, config) for _ in range(wishes.count)]
        born.addresses += [str(child) for child in children]
        born.pids += [await ask(node, child, "pid") for child in children]
        to_block.append(children[-1])
        parent = children[0]
    if wishes.block:
        for number, child in enumerate(to_block):
            await _block(node, child, Path(wishes.block) / str(number))
    return born


async def _spawn(node: Node, parent: NodeAddress | None, config: NodeConfig) -> NodeAddress:
    if parent is None:
        return await node.local.status.spawn(config)
    address: NodeAddress = await node.local.comm.send([config], Remote(node=parent, service="status", method="spawn"))
    return address


async def _block(node: Node, child: NodeAddress, file: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, node, child, "spin", str(file))
        await wait_until(file.exists)
        nursery.cancel_scope.cancel()


async def main() -> None:
    wishes = msgspec.json.decode(sys.argv[1], type=Wishes)
    config = NodeConfig(launcher=wishes.launcher, services=SERVICES, on_start=note).portable()
    async with open_node() as node, trio.open_nursery() as nursery:
        born = await _grow(node, wishes, msgspec.structs.replace(config, detach=wishes.detach))
        if wishes.block_at_start:
            nursery.start_soon(node.local.status.spawn, msgspec.structs.replace(config, on_start=spin_at_start))
            await wait_until(Path(wishes.block_at_start).exists)
        os.write(1, msgspec.json.encode(born) + b"\n")
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
