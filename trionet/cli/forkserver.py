"""The helper process of `trionet.launchers.forkserver`: imports everything once, and forks a node for each request.

It runs no threads and never enters Trio, so that a fork is safe. All objects that the imports have made are moved out
of the garbage collector's reach first (``gc.freeze``), so that a collection in a child doesn't write to the shared
pages, which would copy them.

Invariants: every child is reaped and reported; no child outlives this process, the other end of the control socket, or
a process above it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import io
import os
import random
import secrets
import select
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trionet.config import NodeConfig
from trionet.launchers.forkserver import NO_NEEDS, RECORD, Needs
from trionet.launchers.lineage import ORPHANED_S, open_watches
from trionet.streams import flush_streams, prepare_streams
from trionet.warming import warm_up

from .serving import prepare_process
from .supervised import run_forked

if TYPE_CHECKING:
    from trionet.security.node_keys import NodeKeys

__all__ = ["main", "prepare"]

_FOR_HTTP: Final = ("trionet.transports.http", "trionet.transports.web")
_FOR_KEYS: Final = (
    "trionet.security.node_keys",
    "trionet.security.noise_key",
    "trionet.security.noise_channel",
    "trionet.security.sealed_datagrams",
    "trionet.security.datagram_opener",
    "trionet.security.tokens",
)
_PR_SET_PDEATHSIG: Final = 1
_READ_BYTES: Final = 4096
_KEY_BYTES: Final = 32


def main(control: int, ancestors: list[int], needs: Needs = NO_NEEDS, log_level: str = "info") -> NoReturn:
    """Serve requests from the socket `control` until its other end is closed, or one of the `ancestors` has ended.

    Args:
        control: the descriptor.
        ancestors: the ids of the processes above this one.
        needs: what the nodes need.
        log_level: that of their logs.
    """
    prepare(needs, log_level)
    with socket.socket(fileno=control) as launcher:
        server = _ForkServer(launcher, open_watches(ancestors))
        flush_streams()  # otherwise every child would print the buffered output again
        gc.collect()
        gc.disable()
        gc.freeze()
        server.serve()
    sys.exit(0)


def prepare(needs: Needs, log_level: str) -> None:
    """Do what would be the same in each node; see `main`, and `trionet.warming`."""
    prepare_streams()
    config = NodeConfig.from_mapping({"log_level": log_level, "log_format": needs.log_format})
    with contextlib.suppress(ImportError):  # without the extra `secure` each node reports what is missing
        for module in (*(_FOR_HTTP if needs.has_http else ()), *(_FOR_KEYS if needs.has_keys else ())):
            importlib.import_module(module)
        with contextlib.redirect_stderr(io.StringIO()):  # nodes that run for a moment only, and whose log nobody reads
            prepare_process(config)
            warm_up(config, _passing_keys(config) if needs.has_keys else None)
    prepare_process(config)


def _passing_keys(config: NodeConfig) -> NodeKeys:
    """Return new keys, for nodes that nobody is to talk to."""
    from trionet.security.key_entries import KeyFile
    from trionet.security.keys import ClusterKey
    from trionet.security.node_keys import NodeKeys

    return NodeKeys(KeyFile.of(ClusterKey(secrets.token_bytes(_KEY_BYTES))), config.cluster)


class _ForkServer:
    def __init__(self, control: socket.socket, watches: list[int]) -> None:
        self._control = control
        self._watches = watches
        self._received: list[int] = []
        self._pids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._die_with_parent = _prctl()
        # The end of a child wakes the poll.
        self._woken, waker = os.pipe()
        self._waker = waker
        for end in (self._woken, waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    def serve(self) -> None:
        self._send(b"R", 0, 0)
        poll = select.poll()
        for source in (self._control.fileno(), self._woken, *self._watches):
            poll.register(source, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken in ready:
                self._reap()
            if not ready.isdisjoint(self._watches):
                break
            if self._control.fileno() in ready and not self._serve_requests():
                break
        self._end_children()

    def _serve_requests(self) -> bool:
        """Serve the received requests; return whether there may be more."""
        try:
            data, self._received, _, _ = socket.recv_fds(self._control, _READ_BYTES, 64)
        except OSError:
            return False
        while len(data) % RECORD.size:
            more = self._control.recv(RECORD.size - len(data) % RECORD.size)
            if not more:
                return False
            data += more
        for kind, number, _ in RECORD.iter_unpack(data):
            if kind == b"F" and not self._received:  # no descriptor was free, and the kernel has closed it
                self._send(b"E", number, errno.EMFILE)
            elif kind == b"F":
                self._fork(number, self._received.pop(0))
            elif kind == b"A":
                self._send(b"A", 0, 0)
            elif kind == b"K" and number in self._pids:
                os.kill(self._pids[number], signal.SIGKILL)
        return bool(data)

    def _fork(self, number: int, descriptor: int) -> None:
        own_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as exc:
            os.close(descriptor)
            self._send(b"E", number, exc.errno or 0)
            return
        if pid == 0:
            self._be_child(descriptor, own_pid)
        os.close(descriptor)
        self._pids[number], self._numbers[pid] = pid, number
        self._send(b"P", number, pid)

    def _be_child(self, descriptor: int, parent_pid: int) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            for other in (self._woken, self._waker, *self._watches, *self._received):
                os.close(other)
            os.set_inheritable(descriptor, False)
            self._die_with_parent()
            if os.getppid() != parent_pid:
                os._exit(1)
            os.setpgid(0, 0)  # Ctrl-C in a terminal goes to the parent, which then stops its nodes
            random.seed()
            gc.enable()
            status = run_forked(descriptor)
            flush_streams()
        except BaseException:  # nothing may propagate into the helper's own loop
            traceback.print_exc()
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                os.read(self._woken, _READ_BYTES)
            except BlockingIOError:
                break
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            number = self._numbers.pop(pid)
            del self._pids[number]
            self._send(b"X", number, os.waitstatus_to_exitcode(status))

    def _send(self, kind: bytes, number: int, value: int) -> None:
        with contextlib.suppress(OSError):  # the other end is gone: the poll reports it
            self._control.sendall(RECORD.pack(kind, number, value))

    def _end_children(self) -> None:
        """Stop all children, and kill those that don't stop in time."""
        for pid in self._numbers:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + ORPHANED_S
        while self._numbers and time.monotonic() < until:
            self._reap()
            select.select([self._woken], [], [], 0.1)
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)


def _prctl() -> Any:
    """Return a function after which the kernel kills this process when its parent dies; on Linux only."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
