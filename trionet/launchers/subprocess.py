"""A node in a process of its own, started with the same Python; works on every platform."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trionet.errors import DecodeError, SpawnError

from .supervised import MAX_LINE_BYTES, Boot, Report, decode_line, encode_line

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SubprocessLauncher"]

_log = logging.getLogger(__name__)

_KILL_AFTER_S = 3.0
"""How much longer than its own grace a child may take to stop before it is killed."""


class SubprocessLauncher:
    """Starts ``trionet-node`` as a child process, supervised through its standard input and output."""

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start a node and stay until it has ended; when cancelled, stop it first.

        Raises:
            SpawnError: the node did not boot; the text is its own reason.
        """
        boot = Boot(config, _import_path())
        # A process group of its own: Ctrl-C in a terminal is for the parent, which then stops its children.
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", f"import sys; sys.path[:] = {boot.sys_path!r}; {_MAIN}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        try:
            report = await _boot(process, boot)
            if report.address is None:
                raise SpawnError(f"the node did not boot: {report.error}") from report.error
            task_status.started(report.address)
            status = await process.wait()
            _log.log(logging.INFO if status == 0 else logging.WARNING, "%s ended: %s", report.address, _explain(status))
        finally:
            with trio.CancelScope(shield=True):
                await _stop(process, config.stop_grace_s + _KILL_AFTER_S)


_MAIN = "from trionet.cli.node import main; main(['--supervised'])"


def _import_path() -> list[str]:
    return [str(Path(place).absolute()) for place in sys.path]  # '' means the working directory


async def _boot(process: trio.Process, boot: Boot) -> Report:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdin.send_all(encode_line(boot))
        line = b""
        while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
            chunk = await process.stdout.receive_some()
            if not chunk:
                break
            line += chunk
        return decode_line(line, Report)
    except (trio.BrokenResourceError, DecodeError) as exc:
        process.kill()
        raise SpawnError(f"the node ended before it had booted: {_explain(await process.wait())}") from exc


async def _stop(process: trio.Process, patience_s: float) -> None:
    """Stop the child by closing its standard input; kill it if it doesn't."""
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.aclose()
    await process.stdout.aclose()
    with trio.move_on_after(patience_s):
        await process.wait()
        return
    _log.warning("process %d did not stop and is killed", process.pid)
    process.kill()
    await process.wait()


def _explain(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {-status}"
