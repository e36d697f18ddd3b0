"""A node in a process of its own, started with the same Python; works on every platform."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

import trio

from trionet.log_limits import about, limited_log
from trionet.nurseries import open_background_nursery

from .base import KILL_AFTER_S, ObservedStatus
from .children import kill_child, open_child
from .detached import let_go, reap
from .interpreter import python_command
from .supervised import STOP_LINE, Boot, address_from, boot_for, encode_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SubprocessLauncher", "supervise"]

_log = limited_log(__name__)

_EXIT_S = 1.0
_MAIN = "from trionet.cli.node import main; main(['--supervised'])"


class SubprocessLauncher:
    """Starts a node as a child process, supervised through its standard input and output."""

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        command, path = python_command(_MAIN, 0)
        boot = boot_for(config, knows_path=True)
        return ObservedStatus(await supervise(command, boot, task_status, path, what=command[0]))


async def _boot(
    process: trio.Process, stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream, prologue: bytes, boot: Boot
) -> NodeAddress:
    """Boot the node; return its address, or kill it. No variable keeps the line, which may hold keys."""

    async def ended() -> int:
        with trio.move_on_after(_EXIT_S):  # it has closed its output, and most likely is about to exit
            await process.wait()
        return await kill_child(process)

    try:
        with contextlib.suppress(trio.BrokenResourceError):  # its report, or its exit status, has the reason
            await stdin.send_all(prologue + encode_line(boot))
        return await address_from(stdout.receive_some, ended)
    except BaseException:
        process.kill()
        raise


async def supervise(
    command: Sequence[str],
    boot: Boot,
    task_status: trio.TaskStatus[NodeAddress],
    prologue: bytes = b"",
    *,
    what: str | None = None,
) -> int:
    """Run a command that ends in a supervised node, and stay until it has ended; see `Launcher.start`.

    Return the exit status of the command, which need not be the node's own process: it is no `ObservedStatus`.

    Args:
        command: the program and its arguments.
        boot: the boot message of the node.
        task_status: started with the node's address when it has booted.
        prologue: input for the command, before that of the node.
        what: the name of the command in errors; default: its program.
    """
    detach, is_detached = boot.config.detach, False
    # A process group of its own: Ctrl-C in a terminal goes to the parent, which then stops its children.
    apart: dict[str, Any] = {"start_new_session": True} if detach else {"process_group": 0}
    reap()
    process = await open_child(command, what=what, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **apart)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    try:
        task_status.started(await _boot(process, stdin, stdout, prologue, boot))
        is_detached = detach
        async with open_background_nursery() as nursery:
            nursery.start_soon(_discard, stdout)
            return await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if is_detached:
                let_go(process)
                reap()
            else:
                await _stop(process, stdin, stdout, boot.config.stop_grace_s)
            await stdin.aclose()
            await stdout.aclose()
    raise AssertionError


async def _discard(stdout: trio.abc.ReceiveStream) -> None:
    """Discard further output: programs of a login shell may print after the report, and would block."""
    with contextlib.suppress(trio.BrokenResourceError):
        while await stdout.receive_some():
            pass


async def _stop(
    process: trio.Process, stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream, grace_s: float
) -> None:
    """Stop a node; kill it when it takes too long."""
    with trio.move_on_after(grace_s + KILL_AFTER_S):
        async with open_background_nursery() as nursery:
            nursery.start_soon(_discard, stdout)
            with contextlib.suppress(trio.BrokenResourceError):
                await stdin.send_all(STOP_LINE)
            await process.wait()
    if process.returncode is None:
        _log.warning("process %d did not stop and is killed", process.pid, extra=about("", pid=process.pid))
        await kill_child(process)
