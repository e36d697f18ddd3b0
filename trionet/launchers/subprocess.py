"""A node in a process of its own, started with the same Python; works on every platform."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import trio

from trionet.errors import SpawnError
from trionet.log_limits import limited_log

from .base import KILL_AFTER_S
from .supervised import STOP_LINE, Boot, address_from, boot_for, encode_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SubprocessLauncher", "supervise"]

_log = limited_log(__name__)

_EXIT_S = 1.0
_MAIN = "from trionet.cli.node import main; main(['--supervised'])"
_let_go: list[trio.Process] = []
"""Those of detached nodes; kept so that one that ends is reaped, some time."""


class SubprocessLauncher:
    """Starts a node as a child process, supervised through its standard input and output."""

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        boot = boot_for(config)
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {boot.sys_path!r}; {_MAIN}"]
        return await supervise(command, boot, task_status)


async def _address(process: trio.Process, boot: Boot) -> NodeAddress:
    """Boot the node; return its address, or kill it."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    async def ended() -> int:
        with trio.move_on_after(_EXIT_S):  # it has closed its end: most likely it is about to exit
            await process.wait()
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
    detach, is_let_go = boot.config.detach, False
    # A process group of its own: Ctrl-C in a terminal is for the parent, which then stops its children.
    apart: dict[str, Any] = {"start_new_session": True} if detach else {"process_group": 0}
    try:
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **apart)
    except OSError as exc:
        raise SpawnError(f"can't start {command[0]}: {exc.strerror}") from exc
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    try:
        task_status.started(await _address(process, boot))
        is_let_go = detach
        return await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if is_let_go:
                _let_go[:] = [each for each in (*_let_go, process) if each.poll() is None]
            else:
                await _stop(process, boot.config.stop_grace_s)
            await stdin.aclose()
            await stdout.aclose()


async def _stop(process: trio.Process, grace_s: float) -> None:
    assert process.stdin is not None
    with trio.move_on_after(grace_s + KILL_AFTER_S):
        with contextlib.suppress(trio.BrokenResourceError):
            await process.stdin.send_all(STOP_LINE)
        await process.wait()
    if process.returncode is None:
        _log.warning("process %d did not stop and is killed", process.pid)
        process.kill()
        await process.wait()
