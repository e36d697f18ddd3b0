"""The near side of a fork server: what a spawner does with nodes that a helper process forks for it.

The helper is on this machine (`trionet.launchers.forkserver`) or at the other end of an ssh connection
(`trionet.launchers.connection`). Both serve the same requests: records of 9 bytes, a letter and two 32-bit numbers.

To the helper: ``F id 0``, fork a node; ``K id 0``, kill it; ``A 0 0``, request an answer. From the helper: ``R 0 0``,
ready; ``P id pid``, forked; ``E id errno``, not forked; ``X id status``, ended; ``A 0 0``, the answer. Each node has a
line of its own for its boot message and its report; it stops when that closes. When the connection to the helper
closes, the helper ends its nodes, and itself.

Invariant: once cancelled, nothing waits for the helper without bound: a helper that doesn't answer is killed, or the
connection to it is.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import struct
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trionet.errors import SpawnError
from trionet.log_limits import limited_log

from .base import KILL_AFTER_S, ObservedStatus
from .children import explain_failure, kill_child
from .lineage import ORPHANED_S
from .supervised import address_from, encode_line

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

    from .supervised import Boot

__all__ = ["END_S", "LOST", "RECORD", "ForkServer", "ForkedNode", "Line"]

_log = limited_log(__name__)

RECORD: Final = struct.Struct("!cii")
END_S: Final = ORPHANED_S + KILL_AFTER_S
"""The time that the helper has to end its nodes, and itself."""

_MOST_WAITS: Final = 10
LOST: Final = -9
"""The status of a node whose helper was killed. It proves nothing: the node notices that in a moment, and ends."""


class Line(Protocol):
    """The near end of a node's own line."""

    async def send_all(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            trio.BrokenResourceError: the node, or its helper, has ended.
        """
        ...

    async def receive_some(self) -> bytes | bytearray:
        """Return some bytes from the node; none after its end."""
        ...


class ForkedNode:
    """One forked node.

    Attributes:
        number: its number among those of its helper.
        line: the near end of its line.
        status: its exit status, when it has ended; an `ObservedStatus` if its helper has reported it.
        failure: why it was not forked, if it was not.
        ended: set when it has ended.
    """

    def __init__(self, number: int, line: Line) -> None:
        self.number: int = number
        self.line: Line = line
        self.status: int | None = None
        self.failure: str | None = None
        self.ended: trio.Event = trio.Event()

    def end(self, status: int) -> None:
        """Note that it has ended."""
        self.status = status
        self.ended.set()


class ForkServer:
    """One helper process.

    Args:
        process: the helper, or what connects to it.
        name: its name in logs and errors.

    Attributes:
        is_alive: whether it may still serve requests.
        is_ready: set when it serves them, and when it has ended.
    """

    def __init__(self, process: trio.Process, name: str) -> None:
        self.is_alive: bool = True
        self.is_ready: trio.Event = trio.Event()
        self._process = process
        self._name = name
        self._nodes: dict[int, ForkedNode] = {}
        self._numbers = itertools.count(1)
        self._sending = trio.Lock()
        self._answered = trio.Event()
        self._heard = -math.inf

    async def send(self, records: bytes) -> None:
        """Send records, all or, if cancelled, none of them; the lock is held.

        Raises:
            OSError: the helper has ended.
            trio.ClosedResourceError: the same.
            trio.BrokenResourceError: the same.
        """
        raise NotImplementedError

    def note_lost(self) -> None:
        """Serve no requests any more; what runs goes on."""
        self.is_alive = False

    def hang_up(self, node: ForkedNode) -> bytes:
        """Close the line of a node; return the records that the helper needs for that."""
        raise NotImplementedError

    def handle(self, kind: bytes, number: int, value: int) -> None:
        """Handle a record of the helper."""
        self._heard = trio.current_time()
        if kind == b"R":
            self.is_ready.set()
        elif kind == b"A":
            self._answered.set()
            self._answered = trio.Event()
        elif kind == b"E" and number in self._nodes:
            node = self._nodes.pop(number)
            node.failure = os.strerror(value)
            node.end(1)
        elif kind == b"X" and number in self._nodes:
            self._nodes.pop(number).end(ObservedStatus(value))

    def close(self, status: int = LOST) -> None:
        """Mark the helper as ended, and its nodes as ended with `status`."""
        self.is_alive = False
        self.is_ready.set()
        self._answered.set()
        for node in self._nodes.values():
            node.end(status)
        self._nodes.clear()

    async def request_fork(self, line: Line, theirs: Any = None) -> ForkedNode:
        """Fork a node.

        Args:
            line: the near end of its line.
            theirs: the far end, where the helper can't open a line itself.

        Raises:
            SpawnError: the helper has ended.
        """
        node = ForkedNode(next(self._numbers), line)
        self._nodes[node.number] = node
        try:
            async with self._sending:
                await self.send_fork(node, theirs)
        except trio.Cancelled:  # it has not been sent
            self._nodes.pop(node.number, None)
            raise
        except (OSError, trio.ClosedResourceError, trio.BrokenResourceError) as exc:
            self._nodes.pop(node.number, None)  # `close` may have been here before
            reason = explain_failure(exc) if isinstance(exc, OSError) else "it has ended"
            raise SpawnError(f"{self._name} can't start a node: {reason}") from exc
        return node

    async def send_fork(self, node: ForkedNode, theirs: Any) -> None:
        """Send the request to fork `node`; see `send`."""
        await self.send(RECORD.pack(b"F", node.number, 0))

    async def supervise(
        self, node: ForkedNode, boot: Boot, task_status: trio.TaskStatus[NodeAddress], grace_s: float
    ) -> int:
        """Boot a forked node, stay until it has ended, and return its exit status; see `Launcher.start`.

        Args:
            node: what `request_fork` has returned.
            boot: the boot message.
            task_status: started with the node's address when it has booted.
            grace_s: how long it may take to stop.
        """

        async def ended() -> int:
            await self._ask(RECORD.pack(b"K", node.number, 0))
            await node.ended.wait()
            if node.failure is not None:
                raise SpawnError(f"the node did not boot: can't fork: {node.failure}")
            return node.status or 0

        try:
            with contextlib.suppress(trio.BrokenResourceError):
                await node.line.send_all(encode_line(boot))
            task_status.started(await address_from(node.line.receive_some, ended))
            await node.ended.wait()
            return 0 if node.status is None else node.status
        finally:
            with trio.CancelScope(shield=True):
                await self._stop(node, grace_s + KILL_AFTER_S)

    async def _stop(self, node: ForkedNode, grace_s: float) -> None:
        """Have a node stop, and wait for its end; kill it when it takes longer than `grace_s`.

        A helper that doesn't answer meanwhile, stopped by SIGSTOP perhaps, is killed, and its nodes with it.
        """
        answers = await self._wait_for_end(node, self.hang_up(node), grace_s)
        if node.status is None and answers:
            _log.warning("a forked node did not stop and is killed")
            answers = await self._wait_for_end(node, RECORD.pack(b"K", node.number, 0), KILL_AFTER_S)
        if node.status is None and not answers:
            _log.warning("%s does not answer, and is killed", self._name)
            await kill_child(self._process)
            self.close()
        elif node.status is None:
            _log.error("a forked node has been killed, and doesn't end")

    async def _wait_for_end(self, node: ForkedNode, request: bytes, wait_s: float) -> bool:
        """Send a request, and wait for the end of a node; return whether the helper answers.

        Both take `wait_s` at most. A helper that is only busy, because it reports of others, has some more time.
        """
        for _ in range(_MOST_WAITS):
            answers = False
            with trio.move_on_after(wait_s):
                await self._ask(request)
                answers = True
                await node.ended.wait()
            if answers or node.status is not None or trio.current_time() - self._heard > wait_s:
                return answers
        return False

    async def _ask(self, request: bytes = b"") -> None:
        """Send a request, and wait until the helper has handled it, or has ended."""
        answered = self._answered
        with contextlib.suppress(OSError, trio.ClosedResourceError, trio.BrokenResourceError):
            async with self._sending:
                await self.send(request + RECORD.pack(b"A", 0, 0))
            await answered.wait()
