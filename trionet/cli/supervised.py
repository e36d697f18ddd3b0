"""A node under a launcher: told by a first line, reporting in a line of its own, stopping when its parent is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

import trio

from trionet.errors import RemoteError, TrionetError
from trionet.launchers.lineage import ORPHANED_S, descend_from, open_watches
from trionet.launchers.supervised import MAX_LINE_BYTES, Boot, Report, decode_line, encode_line
from trionet.nurseries import open_background_nursery

from .serving import Interrupted, prepare_process, serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["run_forked", "run_piped"]

_log = logging.getLogger(__name__)


def run_piped() -> int:
    """Run a node that is told by standard input and reports on standard output; return the exit status.

    What user code prints goes to standard error.
    """
    told_by, report_to = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # programs that user code starts would else read what is for this node
    os.close(nothing)
    os.dup2(2, 1)
    return _run(told_by, report_to, _watch_in_thread)


def run_forked(control: int) -> int:
    """Run a node that is told, and reports, through the socket `control`; return the exit status."""
    return _run(control, control, _watch)


def _run(told_by: int, report_to: int, watch: Callable[[int, Boot, trio.CancelScope], Awaitable[None]]) -> int:
    has_reported = False

    def report(message: Report) -> None:
        nonlocal has_reported
        has_reported = True
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
        descend_from(boot.ancestors)
        prepare_process(boot.config)
        trio.run(main, boot)
    except (Interrupted, KeyboardInterrupt):
        return 130
    except SystemExit:  # of an on_start, which has no say in the status of a node: the spawner is told that it failed
        traceback.print_exc()
        return 1
    except Exception as exc:
        if has_reported:
            _log.exception("the node failed")
        else:
            report(Report(error=exc if isinstance(exc, TrionetError) else RemoteError.from_exception(exc)))
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
    await trio.lowlevel.wait_readable(told_by)
    scope.cancel()


async def _watch_in_thread(told_by: int, boot: Boot, scope: trio.CancelScope) -> None:
    """Cancel the node when it is told to stop, or its parent is gone; then the process ends soon, even if blocked."""
    token = trio.lowlevel.current_trio_token()

    def cancel() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(scope.cancel)

    def watch() -> None:
        watches = open_watches(boot.ancestors)
        while _is_told_to_stop(told_by, watches):
            cancel()
        cancel()
        time.sleep(ORPHANED_S)
        os._exit(1)

    threading.Thread(target=watch, name="trionet watches its parent", daemon=True).start()
    await trio.lowlevel.checkpoint()


def _is_told_to_stop(told_by: int, watches: list[int]) -> bool:
    """Wait until the launcher says to stop; return False when it, or a process above it, is gone instead."""
    if watches:
        poll = select.poll()
        for descriptor in (told_by, *watches):
            poll.register(descriptor, select.POLLIN)
        if {descriptor for descriptor, _ in poll.poll()} & set(watches):
            return False
    return bool(os.read(told_by, 4096))
