"""A node as a process: any program, in any language, on its standard input and output."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trionet.maelstrom.outbox import Outbox

from .errors import SetupFailed
from .node_base import RunningNode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from typing import IO

    from .messages import NetworkMessage
    from .network import Network

__all__ = ["NodeProcess", "program_path"]

_READ_BYTES: Final = 256 * 1024
_NO_FIRST_LINE: Final = "its first line doesn't name its interpreter; make it '#!/usr/bin/env python3', for example"


def program_path(name: str) -> str:
    """Return the absolute path of a program: a file, or a name on ``PATH``.

    Raises:
        SetupFailed: there is none, or it is not executable.
    """
    path = Path(name)
    if not path.exists() and "/" not in name:
        found = shutil.which(name)
        if found is not None:
            return found
    if not path.is_file():
        raise SetupFailed(f"--bin: there is no program {name!r}")
    if not os.access(path, os.X_OK):
        raise SetupFailed(f"--bin: {name} is not executable; try chmod +x")
    return os.path.abspath(path)  # without resolving links: a program may depend on its name


class NodeProcess(RunningNode):
    """One run of a node as a process.

    Args:
        name: its name.
        network: carries its messages.
        warn: called with a text about each fault of its output.
        command: the program and its arguments.
        log: receives its standard error, if given.
        echo: called with each line of its standard error, if given.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        warn: Callable[[str], None],
        command: Sequence[str],
        log: IO[bytes] | None = None,
        echo: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(name, network, warn)
        self._command = command
        self._log = log
        self._echo = echo
        self._process: trio.Process | None = None
        self._is_killed = False
        self._outbox = Outbox()

    async def start(self, nursery: trio.Nursery) -> None:
        """Start it in `nursery`, in the folder for temporary files, as Maelstrom does.

        Raises:
            SetupFailed: it can't be started.
        """
        try:
            self._process = await trio.lowlevel.open_process(
                list(self._command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=tempfile.gettempdir(),
                process_group=0,
            )
        except OSError as exc:
            remedy = _NO_FIRST_LINE if exc.errno == errno.ENOEXEC else exc
            raise SetupFailed(f"{self._command[0]} can't be started: {remedy}") from exc
        nursery.start_soon(self._run, self._process)

    async def _run(self, process: trio.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, process.stdin)
                nursery.start_soon(self._read_messages, process.stdout)
                nursery.start_soon(self._read_errors, process.stderr)
                await process.wait()
                if not self._is_killed:
                    with trio.move_on_after(0.2):  # its last output
                        await trio.sleep(0.05)
                    self.record_crash(_how_it_ended(process.returncode))
                nursery.cancel_scope.cancel()
        finally:
            self.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream is not None:
                        await stream.aclose()

    async def _write(self, stdin: trio.abc.SendStream | None) -> None:
        assert stdin is not None
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._outbox.run(stdin.send_all)

    async def _read_messages(self, stdout: trio.abc.ReceiveStream) -> None:
        async with aclosing(_lines(stdout)) as lines:
            async for line in lines:
                self.handle_line(line)
                if self.is_ignored:
                    break

    async def _read_errors(self, stderr: trio.abc.ReceiveStream) -> None:
        async with aclosing(_lines(stderr, self._log)) as lines:
            async for line in lines:
                self.stderr.append(line.decode("utf-8", "replace"))
                if self._echo is not None:
                    self._echo(f"{self.name}: {self.stderr[-1]}")

    def deliver(self, message: NetworkMessage) -> None:
        """Deliver a message to it; it is written when the process reads."""
        self._outbox.put(message.line())

    def kill(self) -> None:
        """End it and its children with SIGKILL."""
        self._is_killed = True
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """Pause it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


async def _lines(stream: trio.abc.ReceiveStream, log: IO[bytes] | None = None) -> AsyncGenerator[bytes]:
    """Return the lines of a stream, the last one even if it is incomplete; copy all bytes to `log`, at once."""
    begun: list[bytes] = []  # the pieces of an incomplete line
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := bytes(await stream.receive_some(_READ_BYTES)):
            if log is not None:
                log.write(data)
                log.flush()
            first, *lines = data.split(b"\n")
            begun.append(first)
            for line in lines:
                yield b"".join(begun)
                begun = [line]
    if any(begun):
        yield b"".join(begun)


def _how_it_ended(status: int | None) -> str:
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
