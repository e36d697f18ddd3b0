"""Nodes forked from a helper process that has imported everything: a few milliseconds each, and little memory.

The helper (`trionet.cli.forkserver`) runs no threads and never enters Trio. Each new node gets one end of a socket
pair: it receives its configuration through it, sends its report back, and stops when it closes, because this process is
gone then. The helper reports the exit status of each node.

Protocol, over a Unix socket: records of 9 bytes, a letter and two 32-bit numbers. To the helper: ``F id 0`` with a
descriptor attached, fork a node; ``K id 0``, kill it; ``A 0 0``, request an answer. From the helper: ``R 0 0``, ready;
``P id pid``, forked; ``E id errno``, not forked; ``X id status``, ended; ``A 0 0``, the answer. When the socket closes
the helper ends its nodes, and itself.

Invariant: once cancelled, nothing waits for the helper without bound: a helper that doesn't answer is killed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from trionet.errors import SpawnError
from trionet.forks import keep_from_forks
from trionet.log_limits import limited_log
from trionet.nurseries import open_background_nursery

from .base import KILL_AFTER_S, ObservedStatus
from .children import explain_failure, kill_child, open_child
from .interpreter import import_path, python_command
from .lineage import ORPHANED_S, lineage
from .output import level_of_process
from .pace import Pace
from .supervised import address_from, boot_for, encode_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["NO_NEEDS", "RECORD", "ForkServerLauncher", "Needs", "is_available"]

_log = limited_log(__name__)

RECORD: Final = struct.Struct("!cii")
_READ_BYTES: Final = 4096
_END_S: Final = ORPHANED_S + KILL_AFTER_S
"""The time that the helper has to end its nodes, and itself."""

_LOST: Final = -9
"""The status of a node whose helper has ended. It proves nothing: the node notices that in a moment, and ends."""


def is_available() -> bool:
    """Whether this platform can fork, and pass descriptors."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds")


class Needs(NamedTuple):
    """What a helper prepares for its nodes, once for all; a node that needs something else does it for itself.

    Attributes:
        has_keys: whether they get keys; the helper itself never has any.
        has_http: whether they call each other over HTTP.
        log_format: the format of their log lines.
    """

    has_keys: bool = False
    has_http: bool = False
    log_format: str = "text"


NO_NEEDS: Final = Needs()
"""Those of plain nodes."""


class _Child:
    """One forked node."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.failure: str | None = None
        self.ended = trio.Event()

    def end(self, status: int) -> None:
        self.status = status
        self.ended.set()


class _Server:
    """One helper process.

    Attributes:
        path: the import path that it and its nodes have.
    """

    def __init__(self, control: socket.socket, process: trio.Process, path: list[str]) -> None:
        self.path: list[str] = path
        self._control = trio.socket.from_stdlib_socket(control)
        self._process = process
        self._sending = trio.Lock()
        self._answered = trio.Event()
        self._children: dict[int, _Child] = {}
        self._numbers = itertools.count(1)
        self.is_ready = trio.Event()
        self.is_alive = True

    async def listen(self) -> None:
        """Handle the records of the helper, until it has ended."""
        data = b""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while chunk := await self._control.recv(_READ_BYTES):
                data += chunk
                whole = len(data) - len(data) % RECORD.size
                for kind, number, value in RECORD.iter_unpack(data[:whole]):
                    if kind == b"R":
                        self.is_ready.set()
                    elif kind == b"A":
                        self._answered.set()
                        self._answered = trio.Event()
                    elif kind == b"E" and number in self._children:
                        child = self._children.pop(number)
                        child.failure = os.strerror(value)
                        child.end(1)
                    elif kind == b"X" and number in self._children:
                        self._children.pop(number).end(ObservedStatus(value))
                data = data[whole:]
        self.close()

    def close(self) -> None:
        """Mark the helper and its nodes as ended."""
        self.is_alive = False
        self._control.close()
        self.is_ready.set()
        self._answered.set()
        for child in self._children.values():
            child.end(_LOST)
        self._children.clear()

    async def send_path(self, path: bytes) -> None:
        """Send the import path, which the helper reads first."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):  # it has ended: `listen` handles that
            while path:
                path = path[await self._control.send(path) :]

    async def fork(self, theirs: socket.socket) -> tuple[int, _Child]:
        """Fork a node with the descriptor `theirs`."""
        number, child = next(self._numbers), _Child()
        self._children[number] = child
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", theirs.fileno()))]
        try:
            async with self._sending:
                await self._control.sendmsg([RECORD.pack(b"F", number, 0)], rights)
        except trio.Cancelled:  # it has not been sent
            self._children.pop(number, None)
            raise
        except (OSError, trio.ClosedResourceError) as exc:
            self._children.pop(number, None)  # `close` may have been here before
            raise SpawnError(f"the fork server can't start a node: {explain_failure(exc)}") from exc
        return number, child

    async def kill(self, number: int) -> None:
        """Kill a node's process, and wait for an answer."""
        await self._ask(RECORD.pack(b"K", number, 0))

    async def stop(self, number: int, child: _Child, grace_s: float) -> None:
        """Wait for the end of a stopping node; kill it when it takes longer than `grace_s`.

        A helper that doesn't answer meanwhile, stopped by SIGSTOP perhaps, is killed, and its nodes with it.
        """
        answers = False
        with trio.move_on_after(grace_s):
            await self._ask()
            answers = True
            await child.ended.wait()
        if child.status is None and answers:
            answers = False
            _log.warning("a forked node did not stop and is killed")
            with trio.move_on_after(KILL_AFTER_S):
                await self.kill(number)
                answers = True
                await child.ended.wait()
        if child.status is None and not answers:
            _log.warning("the fork server does not answer, and is killed")
            await kill_child(self._process)
            self.close()
        elif child.status is None:
            _log.error("a forked node has been killed, and doesn't end")

    async def _ask(self, request: bytes = b"") -> None:
        """Send a request, and wait until the helper has handled it, or has ended."""
        answered = self._answered
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            async with self._sending:
                await self._control.send(request + RECORD.pack(b"A", 0, 0))
            await answered.wait()


class ForkServerLauncher:
    """Starts nodes by forking them from a helper process, which is started on first use.

    Args:
        nursery: where the helper's task runs; it must outlive all nodes.
        needs: what its nodes need.
    """

    def __init__(self, nursery: trio.Nursery, needs: Needs = NO_NEEDS) -> None:
        self._nursery = nursery
        self._needs = needs
        self._starting = trio.Lock()
        self._server: _Server | None = None
        self._shield = trio.CancelScope()
        self._pace = Pace()

    def close(self) -> None:
        """End the helper; its nodes have ended by then, or end with it."""
        self._shield.cancel()

    async def _run_server(self, *, task_status: trio.TaskStatus[_Server]) -> None:
        """Run a helper process until `close`, and then until its nodes have ended.

        It outlives a cancellation, because stopping nodes still need it. Before it has started there are none, and a
        cancelled start waits for its end.
        """
        shield = self._shield = trio.CancelScope(shield=True)  # one at a time: an earlier helper has ended
        ours, theirs = _socket_pair()
        try:
            with theirs:
                own_path = import_path()
                process, path = await _open_server(theirs, self._needs)
        except BaseException:
            ours.close()
            raise
        server = _Server(ours, process, own_path)
        try:
            task_status.started(server)  # before the path is sent: a helper that has been stopped does not read it
            await trio.lowlevel.checkpoint_if_cancelled()
            with shield:
                async with open_background_nursery() as nursery:
                    nursery.start_soon(server.send_path, path)
                    await server.listen()
                _log.warning("the fork server has ended, and its nodes with it")
        finally:
            server.close()
            with trio.CancelScope(shield=True):
                with trio.move_on_after(_END_S):
                    await process.wait()
                if process.returncode is None:
                    await kill_child(process)

    async def prewarm(self) -> None:
        """Start the helper, and wait until it has imported everything, unless that is done already.

        Raises:
            SpawnError: the helper can't be started, or this platform can't fork.
        """
        if not is_available():
            raise SpawnError("this platform can't fork")
        async with self._starting:
            if self._server is None or not self._server.is_alive:
                self._server = await self._nursery.start(self._run_server)
        await self._server.is_ready.wait()
        if not self._server.is_alive:
            raise SpawnError("the fork server ended before it was ready")

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        await self.prewarm()
        server = self._server
        assert server is not None
        async with contextlib.AsyncExitStack() as running:
            async with self._pace.turn():
                node = await running.enter_async_context(_forked(server, config.stop_grace_s + KILL_AFTER_S))
                with contextlib.suppress(trio.BrokenResourceError):
                    await node.stream.send_all(encode_line(boot_for(config, knows_path=import_path() == server.path)))
                await self._pace.wait_report(node.stream.socket)
            task_status.started(await address_from(node.stream.receive_some, node.end))
            await node.child.ended.wait()
            return 0 if node.child.status is None else node.child.status


class _Forked(NamedTuple):
    """A forked node, of this number at its helper, and the stream of its boot and its report."""

    server: _Server
    number: int
    child: _Child
    stream: trio.SocketStream

    async def end(self) -> int:
        """Kill a node that has not booted, and return its status."""
        await self.server.kill(self.number)
        await self.child.ended.wait()
        if self.child.failure is not None:
            raise SpawnError(f"the node did not boot: can't fork: {self.child.failure}")
        return self.child.status or 0


@contextlib.asynccontextmanager
async def _forked(server: _Server, grace_s: float) -> AsyncGenerator[_Forked]:
    """Fork a node, which has ended when the block has; see `_Server.stop`."""
    ours, theirs = _socket_pair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    try:
        with theirs:
            number, child = await server.fork(theirs)
    except BaseException:
        ours.close()
        raise
    try:
        yield _Forked(server, number, child, stream)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
            await server.stop(number, child, grace_s)


async def _open_server(control: socket.socket, needs: Needs) -> tuple[trio.Process, bytes]:
    """Start a helper; return it, and the bytes to send to it first."""
    import fcntl  # only on platforms that can fork

    try:
        # Above the numbers of the standard streams, which are free if this process was started without them.
        above = socket.socket(fileno=fcntl.fcntl(control.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))
    except OSError as exc:
        raise SpawnError(f"can't start the fork server: {explain_failure(exc)}") from exc
    with above:
        descriptor = above.fileno()
        call = f"main({descriptor}, {lineage()}, {needs}, {level_of_process()!r})"
        main = f"from trionet.cli.forkserver import Needs, main; {call}"
        command, path = python_command(main, descriptor)
        options: dict[str, Any] = {"pass_fds": [descriptor], "process_group": 0, "stdin": subprocess.DEVNULL}
        return await open_child(command, what="the fork server", **options), path


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return our end, which forked processes don't keep, and the end for a child.

    Raises:
        SpawnError: no descriptor is free.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as exc:
        raise SpawnError(f"can't connect with a child: {explain_failure(exc)}") from exc
    keep_from_forks(ours)
    return ours, theirs
