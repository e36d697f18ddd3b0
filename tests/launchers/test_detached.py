"""A detached node that outlives its spawner leaves nothing there: no warning, no zombie, no descriptor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.launchers.misfit import SERVICES, ask
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import NodeConfig, open_node
from trionet.launchers import detached

pytestmark = [pytest.mark.slow]

CONFIG = NodeConfig(services=SERVICES, launcher="subprocess")
PROGRAM = """
import trio, trionet
from tests.launchers.misfit import SERVICES, ask

async def main():
    async with trionet.open_node() as node:
        config = trionet.NodeConfig(services=SERVICES, detach=True)
        print(await ask(node, await node.local.status.spawn(config), "pid"))

trio.run(main)
"""


async def spawn_detached() -> int:
    """Spawn a detached node from a node that then ends; return its process id."""
    async with open_node() as node:
        pid: int = await ask(node, await node.local.status.spawn(CONFIG, detach=True), "pid")
    return pid


def is_listed(pid: int) -> bool:
    """Whether there is such a process, if only to be reaped."""
    return Path(f"/proc/{pid}").exists()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_program_that_ends_before_it_does_so_without_a_warning() -> None:
    command = [sys.executable, "-X", "dev", "-c", PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        pid = int(program.stdout.readline())
        try:
            program.wait(DEADLINE_S)
            assert is_running(pid)
        finally:
            os.kill(pid, signal.SIGKILL)  # it has the same standard error
        assert "Warning" not in program.stderr.read()


@pytest.mark.parametrize("releases", [True, False])
async def test_once_it_has_ended_the_next_spawn_reaps_it(monkeypatch: pytest.MonkeyPatch, releases: bool) -> None:
    if not releases:  # as with a Trio whose private parts are others
        monkeypatch.setattr(detached, "release", lambda _: False)
    with trio.fail_after(DEADLINE_S):
        pid = await spawn_detached()
        os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: not is_running(pid))
        assert is_listed(pid)
        async with open_node() as node:
            await node.local.status.spawn(CONFIG)
        assert not is_listed(pid)


async def test_no_descriptor_is_held_for_it() -> None:
    with trio.fail_after(DEADLINE_S):
        pids = [await spawn_detached()]
        before = descriptors()
        pids.append(await spawn_detached())
        assert descriptors() == before
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
