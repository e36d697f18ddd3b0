"""Nodes forked from a helper process that has imported everything: a few milliseconds each, and little memory.

The helper (`trionet.cli.forkserver`) runs no threads, and is in no run of Trio when it forks. Each new node gets one
end of a socket pair: it receives its configuration through it, sends its report back, and stops when it closes, because
this process is gone then. The helper reports the exit status of each node.

Protocol, over a Unix socket: the records of `trionet.launchers.forked`; to ``F id 0`` the node's end of its socket pair
is attached.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import SpawnError
from trionet.forks import keep_from_forks
from trionet.log_limits import limited_log
from trionet.nurseries import open_background_nursery

from .children import explain_failure, kill_child, open_child
from .forked import END_S, LOST, RECORD, ForkServer
from .interpreter import import_path, python_command
from .lineage import lineage
from .needs import NO_NEEDS, Needs
from .output import level_of_process
from .pace import Pace
from .supervised import boot_for

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .forked import ForkedNode

__all__ = ["ForkServerLauncher", "is_available"]

_log = limited_log(__name__)

_READ_BYTES: Final = 4096


def is_available() -> bool:
    """Whether this platform can fork, and pass descriptors."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds")


class _Server(ForkServer):
    """A helper process on this machine.

    Attributes:
        path: the import path that it and its nodes have.
    """

    def __init__(self, control: socket.socket, process: trio.Process, path: list[str]) -> None:
        super().__init__(process, "the fork server")
        self.path: list[str] = path
        self._control = trio.socket.from_stdlib_socket(control)

    async def listen(self) -> None:
        """Handle the records of the helper, until it has ended."""
        data = b""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while chunk := await self._control.recv(_READ_BYTES):
                data += chunk
                whole = len(data) - len(data) % RECORD.size
                for record in RECORD.iter_unpack(data[:whole]):
                    self.handle(*record)
                data = data[whole:]
        self.close()

    def close(self, status: int = LOST) -> None:
        """Mark the helper and its nodes as ended."""
        self._control.close()
        super().close(status)

    async def send_path(self, path: bytes) -> None:
        """Send the import path, which the helper reads first."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):  # it has ended: `listen` handles that
            while path:
                path = path[await self._control.send(path) :]

    async def send(self, records: bytes) -> None:
        await self._control.send(records)

    async def fork(self, ours: socket.socket, theirs: socket.socket) -> ForkedNode:
        """Fork a node with the socket `theirs`, the other end of `ours`, which is closed if that fails."""
        line = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        try:
            with theirs:
                return await self.request_fork(line, theirs)
        except BaseException:
            ours.close()
            raise

    async def send_fork(self, node: ForkedNode, theirs: Any) -> None:
        """Send the request to fork `node`, with the descriptor of its end."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", theirs.fileno()))]
        await self._control.sendmsg([RECORD.pack(b"F", node.number, 0)], rights)

    def hang_up(self, node: ForkedNode) -> bytes:
        assert isinstance(node.line, trio.SocketStream)
        node.line.socket.close()
        return b""


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
        self._pace = Pace(nursery)

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
                with trio.move_on_after(END_S):
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
        async with self._pace.turn(task_status) as turn:
            node = await server.fork(*_socket_pair())
            boot = boot_for(config, knows_path=import_path() == server.path)
            return await server.supervise(node, boot, turn, config.stop_grace_s)


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
