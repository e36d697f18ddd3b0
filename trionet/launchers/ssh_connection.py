"""One login on another machine, for all the nodes that a spawner starts there: the near side.

A helper over there (`trionet.cli.far_forkserver`) forks them; `trionet.launchers.far_frames` has the messages.

Invariant: the helper and its nodes end when the connection does. That the connection has ended proves nothing of a
node; that the helper has seen its exit does.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.errors import SpawnError
from trionet.log_limits import about, limited_log
from trionet.nurseries import open_plain_nursery
from trionet.version import __version__

from .base import explain_status
from .beat import Beat
from .children import kill_child, open_child
from .far_frames import BEAT_S, TOKEN_BYTES, FrameReader, Greeting, Hello, are_compatible, frames, skew
from .far_output import GRANTED_BYTES, FarOutput
from .forked import END_S, LOST, RECORD, ForkServer
from .lineage import lineage
from .output import is_output_named, level_of_process
from .pace import Pace
from .passed_code import passed_code
from .ssh_log import open_log
from .ssh_login import Login
from .ssh_reasons import reasons
from .supervised import MAX_LINE_BYTES, Boot

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .forked import ForkedNode
    from .needs import Needs
    from .ssh_log import SSHLog

__all__ = ["BROKEN", "NoGreeting", "SSHConnection", "SSHPlace"]

_log = limited_log(__name__)

BROKEN: Final = 255
"""The exit status of ``ssh`` for its own failures, and where the far command was killed."""

_EXIT_S: Final = 1.0


class SSHPlace(Login):
    """A login that nodes share; see `trionet.launchers.connections.Place`."""

    async def connect(
        self, needs: Needs, nursery: trio.Nursery, *, task_status: trio.TaskStatus[SSHConnection]
    ) -> None:
        """Log in, report the connection, and return when it has ended."""
        hello = Hello(__version__, secrets.token_bytes(TOKEN_BYTES), needs, level_of_process(), GRANTED_BYTES)
        with open_log() as log:
            command = [*self.ssh, *log.options, *self.there]
            streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "process_group": 0}
            process = await open_child(command, what="ssh", **streams)
            connection = SSHConnection(process, self.host, hello.token, Pace(nursery))
            async with open_plain_nursery() as own:
                own.start_soon(connection.output.run)
                try:
                    await connection.greet(self.surroundings() + msgspec.json.encode(hello) + b"\n")
                    task_status.started(connection)
                    await connection.run(log)
                except NoGreeting as exc:
                    raise await self._error(exc, log) from None
                finally:
                    with trio.CancelScope(shield=True):
                        await connection.end()

    async def _error(self, failed: NoGreeting, log: SSHLog) -> SpawnError:
        """Return the error for a helper that has not come."""
        if failed.reason:
            return SpawnError(failed.reason)
        first = f"the node ended before it had booted: {explain_status(failed.status)}"
        return SpawnError("; ".join([first, *await reasons(self, failed.status, log.lines())]))


class NoGreeting(Exception):
    """The helper has not begun.

    Attributes:
        status: the exit status of ssh.
        reason: why, if the helper has said it.
    """

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(status, reason)
        self.status: int = status
        self.reason: str = reason


class _FarLine:
    """The near end of a line whose far end is the helper's; see `trionet.launchers.forked.Line`."""

    def __init__(self, connection: SSHConnection) -> None:
        self.number = 0
        self._connection = connection
        self._received = bytearray()
        self._news = trio.Event()
        self._has_ended = False

    async def send_all(self, data: bytes) -> None:
        for frame in frames(b"D", self.number, data):
            await self._connection.send_frame(frame)

    async def receive_some(self) -> bytes:
        while not self._received and not self._has_ended:
            await self._news.wait()
            self._news = trio.Event()
        received, self._received = bytes(self._received), bytearray()
        return received

    def feed(self, data: bytes) -> None:
        """Hand over what has come; nothing is the end."""
        self._has_ended |= not data
        if len(self._received) + len(data) <= MAX_LINE_BYTES:
            self._received += data
        self._news.set()


class SSHConnection(ForkServer):
    """A helper on another machine.

    Args:
        process: the ssh client.
        host: the machine.
        token: begins the frames of the helper.
        pace: that of starts over there.

    Attributes:
        output: what its nodes print.
        pace: that.
    """

    def __init__(self, process: trio.Process, host: str, token: bytes, pace: Pace) -> None:
        super().__init__(process, f"the connection to {host}")
        assert isinstance(process.stdin, trio.lowlevel.FdStream)
        assert process.stdout is not None
        self._stdin: trio.lowlevel.FdStream = process.stdin
        self._stdout: trio.abc.ReceiveStream = process.stdout
        self._host = host
        self._reader = FrameReader(self._handle_frame, token)
        self._greeting: Greeting | None = None
        self.output: FarOutput = FarOutput(self._grant)
        self.pace: Pace = pace
        self._shield = trio.CancelScope(shield=True)

    def finish(self) -> None:
        """End the helper."""
        self._shield.cancel()

    async def greet(self, hello: bytes) -> None:
        """Wait for the helper.

        Raises:
            NoGreeting: it doesn't come.
        """
        with contextlib.suppress(trio.BrokenResourceError):  # its exit status, or the log of ssh, has the reason
            await self._stdin.send_all(hello)
        received = 0
        with contextlib.suppress(trio.BrokenResourceError):
            while self._greeting is None and received < MAX_LINE_BYTES:
                data = await self._stdout.receive_some()
                if not data:
                    break
                received += len(data)
                self._reader.feed(data)
        if self._greeting is None and received >= MAX_LINE_BYTES:
            raise NoGreeting(1, f"what the command prints on {self._host} has no end: does it run trionet-node?")
        if self._greeting is None:
            raise NoGreeting(await self._status())
        if not are_compatible(self._greeting.version, __version__):
            raise NoGreeting(1, skew(__version__, self._greeting.version, self._host))
        if self._greeting.error:
            raise NoGreeting(1, f"{self._host} can't start nodes: {self._greeting.error}")
        if self._greeting.processors:
            self.pace.set_processors(self._greeting.processors)

    async def run(self, log: SSHLog) -> None:
        """Serve starts until `finish`, or until the connection breaks.

        It outlives a cancellation, because stopping nodes still need it.
        """
        with self._shield:
            # The helper has no other way to learn that the network is gone.
            beat, end = RECORD.pack(b"B", 0, 0), RECORD.pack(b"Q", 0, 0)
            life = Beat(self._stdin.fileno(), beat, BEAT_S, lineage()[:-1], end)
            try:
                while data := await self._stdout.receive_some():
                    self._reader.feed(data)
            except trio.BrokenResourceError:
                pass
            finally:
                life.close()
            self.is_alive = False
            status = await self._status()
            reason = "; ".join([explain_status(status), *log.lines()])
            _log.warning("the connection to %s broke: %s", self._host, reason, extra=about(self._host, host=self._host))
            self.close(status or BROKEN)

    async def end(self) -> None:
        """Close the connection, and wait until the helper, which ends its nodes, has ended; not without bound."""
        self.close()
        with trio.move_on_after(0 if self._greeting is None else END_S):
            await self._stdin.aclose()
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await self._stdout.receive_some():  # a login shell may print, and would block
                    self._reader.feed(data)
            await self._process.wait()
        self.output.close()
        if self._process.returncode is None:
            await kill_child(self._process)
        await trio.aclose_forcefully(self._stdin)
        await trio.aclose_forcefully(self._stdout)

    async def fork(self) -> ForkedNode:
        """Fork a node, which `boot` boots.

        Raises:
            SpawnError: the connection has ended.
        """
        line = _FarLine(self)
        node = await self.request_fork(line)
        line.number = node.number
        return node

    async def boot(self, node: ForkedNode, config: NodeConfig, task_status: trio.TaskStatus[NodeAddress]) -> int:
        """Boot a forked node and stay until it has ended; see `Launcher.start`."""
        return await self.supervise(
            node, Boot(config, is_output_named=is_output_named()), task_status, config.stop_grace_s
        )

    def check_code(self) -> None:
        """Raise `SpawnError` if code is passed to a node, and can't travel to the Python over there."""
        assert self._greeting is not None
        here, there = list(sys.version_info[:2]), self._greeting.python
        if passed_code() and there != here:
            raise SpawnError(
                f"on_start has no import path, and code travels to the same Python only: {_dotted(there)} on "
                f"{self._host}, {_dotted(here)} here; give 'package.module:function'"
            )

    async def send(self, records: bytes) -> None:
        """Send records, all or nothing; see `ForkServer.send`."""
        try:
            await self._stdin.send_all(records)
        except trio.BrokenResourceError:
            self.note_lost()  # the next start opens another one
            raise

    async def send_frame(self, frame: bytes) -> None:
        """Send a frame, all of it or, if cancelled, nothing.

        Raises:
            trio.BrokenResourceError: the connection has ended.
        """
        try:
            async with self._sending:
                await self.send(frame)
        except (OSError, trio.ClosedResourceError) as exc:
            raise trio.BrokenResourceError from exc

    def hang_up(self, node: ForkedNode) -> bytes:
        """Return the record that closes the line of a node."""
        return RECORD.pack(b"C", node.number, 0)

    def close(self, status: int = LOST) -> None:
        """Mark the helper and its nodes as ended."""
        for node in self._nodes.values():
            self._line_of(node).feed(b"")
        super().close(status)

    def _handle_frame(self, kind: bytes, number: int, value: int, data: bytes) -> None:
        node = self._nodes.get(number)
        if kind == b"G" and self._greeting is None:
            self._greeting = msgspec.json.decode(data, type=Greeting)
        elif kind == b"O":
            self.output.feed(data)
        elif node is not None and kind in b"DEX":
            self._line_of(node).feed(data)
        self.handle(kind, number, value)

    async def _grant(self, count: int) -> None:
        """Grant the helper so many bytes of output more."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self.send_frame(RECORD.pack(b"W", 0, count))

    def _line_of(self, node: ForkedNode) -> _FarLine:
        assert isinstance(node.line, _FarLine)
        return node.line

    async def _status(self) -> int:
        """Return the exit status of the ssh client, which has closed its output, and is killed if it doesn't end."""
        with trio.move_on_after(_EXIT_S):
            return await self._process.wait()
        return await kill_child(self._process)


def _dotted(version: list[int]) -> str:
    return ".".join(map(str, version))
