"""A node in this process, for virtual time: an object that receives lines from a channel and sends lines to another.

`MaelstromNode` is one; a function that returns an object with ``async serve(lines, out)`` will do.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import trio

from trionet.errors import ConfigError, TrionetError
from trionet.import_paths import import_reference
from trionet.maelstrom.challenges import load_challenge
from trionet.maelstrom.program import build_node, load_build

from .errors import SetupFailed
from .node_base import RunningNode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio.abc import ReceiveChannel, SendChannel

    from .messages import NetworkMessage
    from .network import Network

__all__ = ["InProcessNode", "Program", "load_program"]


class Program(Protocol):
    """A node's program."""

    async def serve(self, lines: ReceiveChannel[bytes], out: SendChannel[bytes]) -> None:
        """Handle lines and send lines, until the input ends."""


class _Out(trio.abc.SendChannel[bytes]):
    """A channel that calls `handle` with each line of a node."""

    def __init__(self, handle: Callable[[bytes], None]) -> None:
        self._handle = handle

    async def send(self, value: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for line in value.removesuffix(b"\n").split(b"\n"):
            self._handle(line)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class InProcessNode(RunningNode):
    """One run of a node as a task.

    Args:
        name: its name.
        network: carries its messages.
        warn: called with a text about each fault of its output.
        build: makes the program.
        seed: the seed of the program's ``random``, if it has one.
    """

    def __init__(
        self, name: str, network: Network, warn: Callable[[str], None], build: Callable[[], Program], seed: str
    ) -> None:
        super().__init__(name, network, warn)
        self._build = build
        self._seed = seed
        self._scope = trio.CancelScope()
        self._inbox: trio.MemorySendChannel[bytes]
        self._held_in: list[bytes] | None = None  # while it is paused
        self._held_out: list[bytes] = []

    async def start(self, nursery: trio.Nursery) -> None:
        """Start it in `nursery`."""
        program = self._build()
        random = getattr(program, "random", None)
        if random is not None:
            random.seed(self._seed)
        self._inbox, lines = trio.open_memory_channel[bytes](math.inf)
        nursery.start_soon(self._serve, program, lines)
        await trio.lowlevel.checkpoint()

    async def _serve(self, program: Program, lines: trio.MemoryReceiveChannel[bytes]) -> None:
        reason = "it returned, though its input had not ended"
        with self._scope:
            try:
                async with lines:
                    await program.serve(lines, _Out(self._put))
            except Exception as exc:
                self.stderr.extend("".join(traceback.format_exception(exc)).splitlines())
                reason = f"{type(exc).__name__}: {exc}"
        if not self._scope.cancelled_caught and not self._scope.cancel_called:
            self.record_crash(reason)

    def _put(self, line: bytes) -> None:
        if self._scope.cancel_called:
            return
        if self._held_in is not None:
            self._held_out.append(line)
        else:
            self.handle_line(line)

    def deliver(self, message: NetworkMessage) -> None:
        """Deliver a message to it."""
        if self._held_in is not None:
            self._held_in.append(message.line())
        elif not self._scope.cancel_called and self.crash is None:
            self._inbox.send_nowait(message.line())

    def kill(self) -> None:
        """End it; messages that it has sent still arrive."""
        self._scope.cancel()

    def pause(self) -> None:
        """Hold back its input and output; its clock continues."""
        if self._held_in is None:
            self._held_in = []

    def resume(self) -> None:
        """Release its input and output."""
        held, self._held_in = self._held_in or [], None
        out, self._held_out = self._held_out, []
        for line in out:
            self.handle_line(line)
        if not self._scope.cancel_called and self.crash is None:
            for line in held:
                self._inbox.send_nowait(line)


def load_program(name: str, arguments: Sequence[str]) -> Callable[[], Any]:
    """Return a function that makes the program, once for each run of a node.

    Args:
        name: a challenge, such as ``"broadcast"``; ``module:function``, also from the working directory; or a Python
            file that has a function ``build``.
        arguments: options of the program, as on its command line.

    Raises:
        SetupFailed: there is no such program, or it does not have these options.
    """
    try:
        build = _loaded(name)
        build_node(build, arguments)  # an invalid option raises here
    except SetupFailed:
        raise
    except (TrionetError, ImportError, AttributeError, TypeError) as exc:
        raise SetupFailed(f"--bin: {name!r} can't be simulated: {exc}") from exc
    return lambda: build_node(build, arguments)


def _loaded(name: str) -> Callable[..., Any]:
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise SetupFailed(f"--bin: there is no file {name!r}")
        return load_build(path)
    if ":" in name:
        with contextlib.suppress(OSError):  # the working directory has been deleted: nothing can be imported from there
            if (here := os.getcwd()) not in sys.path:
                sys.path.insert(0, here)
        build: Callable[..., Any] = import_reference(name)
        return build
    try:
        return load_challenge(name)
    except ConfigError as exc:
        raise SetupFailed(f"--bin, in a simulation: {exc}; or module:function, or a Python file") from exc
