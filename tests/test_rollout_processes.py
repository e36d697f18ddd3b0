"""A plain cluster of real processes becomes sealed in steps while calls and gossip flow: no call is lost."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.node_processes import ROOT, NodeProcess, clean_environment, launch, wait_ready
from tests.waiting import wait_until
from trionet import NodeConfig, Remote, TrionetError, open_node
from trionet.security.key_file import new_key_file
from trionet.security.keys import KEY_BYTES, ClusterKey

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node

BUSY = "tests.rotating_nodes:begin"
COUNT = 5


async def ask(client: Node, one: NodeProcess, service: str, method: str) -> Any:
    return await client.local.comm.send([], Remote(node=one.address, service=service, method=method))


async def trionet(*args: str) -> str:
    """Run a command; return its output."""
    command = [sys.executable, "-m", "trionet", *args]
    done = await trio.run_process(command, capture_stdout=True, cwd=ROOT, env=clean_environment())
    return done.stdout.decode()


def plain(path: Path, join: list[str]) -> NodeConfig:
    return NodeConfig(key_file=str(path), accept="plain", send="plain", join=join, on_start=BUSY)


async def started(stack: ExitStack, folder: Path) -> list[NodeProcess]:
    """Start plain processes of one cluster."""
    first = await trio.to_thread.run_sync(wait_ready, launch(stack, plain(folder / "0.key", []), {}))
    join = [str(first.address)]
    others = [launch(stack, plain(folder / f"{number}.key", join), {}) for number in range(1, COUNT)]
    return [first, *[await trio.to_thread.run_sync(wait_ready, one) for one in others]]


async def members_of(client: Node, one: NodeProcess) -> int:
    return len(await ask(client, one, "membership", "members"))


async def is_refused(client: Node, one: NodeProcess) -> bool:
    try:
        await ask(client, one, "busy", "counts")
    except TrionetError:
        return True
    return False


@pytest.mark.slow
async def test_a_plain_cluster_of_processes_becomes_sealed_and_no_call_is_lost(tmp_path: Path) -> None:
    key = ClusterKey(secrets.token_bytes(KEY_BYTES))
    operator = str(tmp_path / "operator.key")
    new_key_file(operator, key)
    with ExitStack() as stack:
        nodes = await started(stack, tmp_path)
        address = str(nodes[0].address)
        async with open_node() as stranger, open_node(NodeConfig(key_file=operator, datagrams=False)) as holder:
            for one in nodes:
                await ask(stranger, one, "busy", "start")
            for number, one in enumerate(nodes):
                new_key_file(str(tmp_path / f"{number}.key"), key)
                os.kill(one.pid, signal.SIGHUP)
            await wait_until(lambda: all(_has_rollout(tmp_path / f"{number}.key") for number in range(COUNT)))
            status = await trionet("keys", "status", address, "--key-file", operator)
            assert f"unprotected: {address} accepts plain peers (accept=both send=plain); next step: ready" in status
            assert not await is_refused(stranger, nodes[0])
            await trionet("keys", "rollout", address, "send=sealed", "--key-file", operator)
            assert not await is_refused(stranger, nodes[0])
            await trionet("keys", "rollout", address, "accept=sealed", "--key-file", operator)
            assert "unprotected" not in await trionet("keys", "status", address, "--key-file", operator)
            async with open_node() as late:
                assert all([await is_refused(late, one) for one in nodes])
            await trionet("reload", address, "--key-file", operator)
            await trio.sleep(1)  # calls go on without plain links
            for one in nodes:
                await ask(holder, one, "busy", "end")
            counts = [await ask(holder, one, "busy", "counts") for one in nodes]
            assert [await ask(holder, one, "keys", "status") for one in nodes]
    assert [text for one in counts for text in one["lost"]] == []
    assert min(one["calls"] for one in counts) > 0
    assert all(one["heard"] for one in counts)


def _has_rollout(path: Path) -> bool:
    return "rollout accept=both send=plain" in path.read_text(encoding="utf-8")
