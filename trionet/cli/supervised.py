"""A node under a launcher: it receives a boot message, sends a report, and stops when its parent is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from trionet.errors import SpawnError
from trionet.forks import keep_from_forks
from trionet.launchers.lineage import ORPHANED_S, descend_from, open_watches
from trionet.launchers.output import is_output_named, name_output
from trionet.launchers.passed_code import receive_code
from trionet.launchers.run_secret import join_run
from trionet.launchers.supervised import MAX_LINE_BYTES, Boot, Report, decode_line, encode_report
from trionet.nesting import nest
from trionet.nurseries import open_background_nursery
from trionet.streams import name_lines
from trionet.user_errors import as_error

from .serving import Interrupted, prepare_process, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.node import Node

__all__ = ["refuse_to_boot", "run_forked", "run_piped"]

_log = logging.getLogger(__name__)


def run_piped() -> int:
    """Run a node supervised through standard input and output; return the exit status.

    Output of user code goes to standard error.
    """
    control, report_to = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # otherwise programs that user code starts would read this node's messages
    os.close(nothing)
    os.dup2(2, 1)
    return _run(control, report_to, _watch_in_thread)


def refuse_to_boot(reason: str) -> int:
    """Report through standard output why a node can't boot; return the exit status."""
    with contextlib.suppress(OSError):
        os.write(1, encode_report(Report(error=SpawnError(reason))))
    return 1


def run_forked(control: int, sentinel: int | None = None) -> int:
    """Run a node supervised through the socket `control`; return the exit status.

    Args:
        control: the descriptor.
        sentinel: the process that ends when the helper must, where `control` leads to the helper and not to the
            launcher.
    """
    return _run(control, control, _watch if sentinel is None else partial(_watch_sentinel, sentinel))


def _run(control: int, report_to: int, watch: Callable[[int, Boot, trio.Nursery], None]) -> int:
    reporter = _Reporter(control, report_to)
    try:
        boot = decode_line(_read_line(control), Boot)
        _prepare(boot)
        trio.run(_serve, boot, reporter, lambda nursery: watch(control, boot, nursery))
    except (Interrupted, KeyboardInterrupt):
        return 130
    except BaseException as exc:  # of any type, from the user's code: the node has failed
        if reporter.has_reported:
            _log.exception("the node failed")
        else:
            reporter.report(Report(error=as_error(exc)))
        return 1
    return 0


class _Reporter:
    """Sends the report.

    Processes that user code forks must not keep its descriptor: its closing means the end of this process.
    """

    def __init__(self, control: int, report_to: int) -> None:
        self._control = control
        self._report_to = report_to
        self.has_reported = False
        keep_from_forks(self)

    def fileno(self) -> int:
        """Return its descriptor; -1 when that has been closed."""
        return self._report_to

    def report(self, report: Report) -> None:
        """Send the report, if the launcher still exists."""
        self.has_reported = True
        line = encode_report(report)
        with contextlib.suppress(OSError):
            while line:
                line = line[os.write(self._report_to, line) :]
        if self._report_to != self._control:
            os.close(self._report_to)
            self._report_to = -1


def _prepare(boot: Boot) -> None:
    """Prepare this process for the node."""
    if boot.sys_path:
        sys.path[:] = map(os.fsdecode, boot.sys_path)
    if boot.ancestors:
        descend_from(boot.ancestors)
    if boot.is_output_named:
        name_output(boot.config)
    if is_output_named():
        name_lines(f"pid {os.getpid()}")
    prepare_process(boot.config)


async def _serve(boot: Boot, reporter: _Reporter, watch: Callable[[trio.Nursery], None]) -> None:
    def announce(node: Node) -> None:
        if is_output_named():
            name_lines(f"{node.sid} {node.address}")
        reporter.report(Report(address=node.address))

    nest(boot.depth)
    if boot.run is not None:
        join_run(boot.run)
    receive_code(boot.code)
    async with open_background_nursery() as nursery:
        if not boot.config.detach:
            watch(nursery)
        await serve(boot.config, None if boot.keys is None else boot.keys.open(), announce)


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        data = os.read(descriptor, 65_536)
        if not data:
            break
        line += data
    return line


def _watch(control: int, boot: Boot, nursery: trio.Nursery) -> None:
    """Cancel the node when its parent is gone. The helper kills it if its event loop is blocked."""

    async def watch() -> None:
        await trio.lowlevel.wait_readable(control)
        nursery.cancel_scope.cancel()

    nursery.start_soon(watch)


def _watch_sentinel(sentinel: int, control: int, boot: Boot, nursery: trio.Nursery) -> None:
    """Cancel the node when its helper is gone, or must end."""

    async def watch(ended: int) -> None:
        await trio.lowlevel.wait_readable(ended)
        nursery.cancel_scope.cancel()

    _watch(control, boot, nursery)
    for ended in open_watches([sentinel]):
        nursery.start_soon(watch, ended)


def _watch_in_thread(control: int, boot: Boot, nursery: trio.Nursery) -> None:
    """Cancel the node at a stop message, or when its parent is gone; then the process ends soon, even if blocked."""
    token = trio.lowlevel.current_trio_token()

    def cancel() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(nursery.cancel_scope.cancel)

    def watch() -> None:
        watches = open_watches(boot.ancestors)
        while _receive_stop(control, watches):
            cancel()
        cancel()
        time.sleep(ORPHANED_S)
        os._exit(1)

    threading.Thread(target=watch, name="trionet watches its parent", daemon=True).start()


def _receive_stop(control: int, watches: list[int]) -> bool:
    """Wait for a stop message; return False when the launcher, or a process above it, is gone instead."""
    if watches:
        poll = select.poll()
        for descriptor in (control, *watches):
            poll.register(descriptor, select.POLLIN)
        if {descriptor for descriptor, _ in poll.poll()} & set(watches):
            return False
    return bool(os.read(control, 4096))
