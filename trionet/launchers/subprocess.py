"""A node in a process of its own, started with the same Python; works on every platform."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import trio

from .base import KILL_AFTER_S
from .supervised import Boot, address_from, boot_for, encode_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SubprocessLauncher", "supervise"]

_log = logging.getLogger(__name__)

_MAIN = "from trionet.cli.node import main; main(['--supervised'])"


class SubprocessLauncher:
    """Starts a node as a child process, supervised through its standard input and output."""

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        boot = boot_for(config)
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {boot.sys_path!r}; {_MAIN}"]
        if config.detach:
            return await _detach(command, boot, task_status)
        return await supervise(command, boot, task_status)


async def _detach(command: Sequence[str], boot: Boot, task_status: trio.TaskStatus[NodeAddress]) -> int:
    """Start a node that outlives this process; return as soon as it has booted."""
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        task_status.started(await _address(process, boot))
    return 0


async def _address(process: trio.Process, boot: Boot) -> NodeAddress:
    """Boot the node; return its address, or kill it."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    async def ended() -> int:
        process.kill()
        return await process.wait()

    try:
        with contextlib.suppress(trio.BrokenResourceError):  # what it says, or its exit status, tells why
            await stdin.send_all(encode_line(boot))
        return await address_from(stdout.receive_some, ended)
    except BaseException:
        process.kill()
        raise


async def supervise(command: Sequence[str], boot: Boot, task_status: trio.TaskStatus[NodeAddress]) -> int:
    """Run a command that ends in a supervised node, and stay until it has ended; see `Launcher.start`."""
    # A process group of its own: Ctrl-C in a terminal is for the parent, which then stops its children.
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    try:
        task_status.started(await _address(process, boot))
        return await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            await stdin.aclose()
            await stdout.aclose()
            with trio.move_on_after(boot.config.stop_grace_s + KILL_AFTER_S):
                await process.wait()
            if process.returncode is None:
                _log.warning("process %d did not stop and is killed", process.pid)
                process.kill()
                await process.wait()
