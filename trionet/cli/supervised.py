"""A node under a launcher: told by a first line, reporting in a line of its own, stopping when its parent is gone."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import RemoteError, TrionetError
from trionet.launchers.supervised import MAX_LINE_BYTES, Boot, Report, decode_line, encode_line
from trionet.nurseries import open_background_nursery

from .serving import Interrupted, prepare_process, serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["run_forked", "run_piped"]

_FORCE_AFTER_S: Final = 2.0


def run_piped() -> int:
    """Run a node that is told by standard input and reports on standard output; return the exit status.

    What user code prints goes to standard error.
    """
    report_to = os.dup(1)
    os.dup2(2, 1)
    return _run(0, report_to, _watch_in_thread)


def run_forked(control: int) -> int:
    """Run a node that is told, and reports, through the socket `control`; return the exit status."""
    return _run(control, control, _watch)


def _run(told_by: int, report_to: int, watch: Callable[[int, Boot, trio.CancelScope], Awaitable[None]]) -> int:
    def report(message: Report) -> None:
        with contextlib.suppress(OSError):
            os.write(report_to, encode_line(message))
            if report_to != told_by:
                os.close(report_to)

    async def main(boot: Boot) -> None:
        async with open_background_nursery() as nursery:
            if not boot.config.detach:
                nursery.start_soon(watch, told_by, boot, nursery.cancel_scope)
            await serve(boot.config, lambda node: report(Report(address=node.address)))

    try:
        boot = decode_line(_read_line(told_by), Boot)
        if boot.sys_path:
            sys.path[:] = boot.sys_path
        prepare_process(boot.config)
        trio.run(main, boot)
    except (Interrupted, KeyboardInterrupt):
        return 130
    except TrionetError as exc:
        report(Report(error=exc))
        return 1
    except Exception as exc:
        report(Report(error=RemoteError.from_exception(exc)))
        return 1
    return 0


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        data = os.read(descriptor, 65_536)
        if not data:
            break
        line += data
    return line


async def _watch(told_by: int, boot: Boot, scope: trio.CancelScope) -> None:
    """Cancel the node when its parent is gone. That it dies even if its event loop is blocked is the helper's task."""
    while True:
        await trio.lowlevel.wait_readable(told_by)
        if not os.read(told_by, 4096):
            scope.cancel()
            return


async def _watch_in_thread(told_by: int, boot: Boot, scope: trio.CancelScope) -> None:
    """Cancel the node when its parent is gone, and end the process soon after, even if its event loop is blocked."""
    token = trio.lowlevel.current_trio_token()

    def watch() -> None:
        while os.read(told_by, 4096):
            pass
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(scope.cancel)
        time.sleep(boot.config.stop_grace_s + _FORCE_AFTER_S)
        os._exit(1)

    threading.Thread(target=watch, name="trionet watches its parent", daemon=True).start()
    await trio.lowlevel.checkpoint()
