"""A Maelstrom node: handlers by message type, and messages to others.

Invariants: handlers start in the order in which their messages arrived, and run concurrently; none starts before the
node has a name. A message has at most one reply, and exactly one when its handler fails. An exception of a handler
becomes an error reply, and leaves the node as it is; an invalid reply is a crash, which is indefinite, since the
handler has run. Every task of the node has ended when `MaelstromNode.serve` returns. All state is in the object, so
that a process can hold many nodes, under any clock of Trio.
"""

from __future__ import annotations

import inspect
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from trionet.errors import (
    ConnectionLost,
    MalformedRequest,
    MethodNotFound,
    NodeUnreachable,
    PreconditionFailed,
    RemoteError,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.log_limits import about, limited_log
from trionet.user_code import is_a, pass_endings

from .envelope import BadLine, Envelope, decode, encode, reply_body
from .errors import error_body, error_from_body, is_crash
from .outbox import Outbox
from .pending_calls import PendingCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio.abc import ReceiveChannel, SendChannel

    Answer = Mapping[str, Any] | None
    Handler = Callable[[Envelope], Answer | Awaitable[Answer]]
    Hook = Callable[[], Awaitable[object] | object]

__all__ = ["MaelstromNode"]

HandlerT = TypeVar("HandlerT", bound="Handler")
HookT = TypeVar("HookT", bound="Hook")

_GRACE_S: Final = 1.0
_MAX_HELD: Final = 100_000
_JITTER: Final = 0.1

_log = limited_log(__name__)


class MaelstromNode:
    """A node of a Maelstrom network.

    Attributes:
        id: its name, such as ``"n1"``; empty until it has been initialised.
        node_ids: the names of all nodes, itself included.
        topology: the neighbours of each node, once a ``topology`` message has arrived.
        random: its source of randomness; seed it to repeat a run.
    """

    def __init__(self) -> None:
        self.id: str = ""
        self.node_ids: tuple[str, ...] = ()
        self.topology: dict[str, list[str]] = {}
        self.random: random.Random = random.Random()
        self._handlers: dict[str, Handler] = {"topology": self._handle_topology}
        self._hooks: list[Hook] = []
        self._background: list[Callable[[], Awaitable[object]]] = []
        self._calls = PendingCalls()
        self._held: deque[Envelope] | None = deque()
        self._initialised = trio.Event()
        self._ready: deque[tuple[Handler, Envelope]] = deque()
        self._outbox = Outbox()
        self._handling: trio.Nursery | None = None
        self._running: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<MaelstromNode {self.id or '(without a name yet)'}>"

    @property
    def peers(self) -> tuple[str, ...]:
        """The names of the other nodes."""
        return tuple(node for node in self.node_ids if node != self.id)

    @property
    def index(self) -> int:
        """Its position among all nodes, sorted by name: 0 for the first."""
        return sorted(self.node_ids).index(self.id)

    @property
    def neighbors(self) -> tuple[str, ...]:
        """The neighbours of this node in the topology; without a topology, all other nodes."""
        return tuple(self.topology[self.id]) if self.id in self.topology else self.peers

    # ---- registration

    def on(self, kind: str) -> Callable[[HandlerT], HandlerT]:
        """Decorate the handler of messages of type `kind`: a function of one `Envelope`, async or not.

        The handler of ``"*"`` receives the messages of types without a handler.

        The result is the reply's body, whose type is ``<kind>_ok`` unless it has another; None sends no reply. An
        exception becomes the reply, too: see `error_body`.

        Raises:
            MalformedRequest: this type has a handler already.
        """
        if kind == "init" or (kind in self._handlers and kind != "topology"):
            raise MalformedRequest(f"there is a handler for {kind!r} already")

        def register(handler: HandlerT) -> HandlerT:
            self._handlers[kind] = handler
            return handler

        return register

    def on_init(self, hook: HookT) -> HookT:
        """Decorate a function, async or not, that runs when the node has its name, before it replies to ``init``."""
        self._hooks.append(hook)
        return hook

    def background(self, task: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        """Decorate an async function that runs from initialisation to the end of the node. An exception ends both."""
        self._background.append(task)
        return task

    def every(self, period_s: float) -> Callable[[HookT], HookT]:
        """Decorate a function, async or not, that is called repeatedly, `period_s` after its last call ended.

        The pause varies by a tenth, so that the nodes are not in step.
        """

        def register(action: HookT) -> HookT:
            async def repeat() -> None:
                while True:
                    await trio.sleep(period_s * self.random.uniform(1 - _JITTER, 1 + _JITTER))
                    await _finished(action())

            self._background.append(repeat)
            return action

        return register

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run an async function as a task of the node, until the node ends. Its exception ends the node.

        Raises:
            TemporarilyUnavailable: the node is not running.
        """
        if self._running is None:
            raise TemporarilyUnavailable("the node is not running")
        self._running.start_soon(function, *args)

    # ---- messages

    def send(self, dest: str, body: Mapping[str, Any]) -> None:
        """Send a message that expects no reply. It is written when the running task next waits.

        Raises:
            EncodeError: the body can't be JSON.
        """
        self._outbox.put(encode(self.id, dest, dict(body)))

    def reply(self, message: Envelope, body: Mapping[str, Any] | None = None) -> None:
        """Reply to `message`; one without a ``msg_id`` has no reply.

        Args:
            message: the request.
            body: the reply; its type is ``<type>_ok`` unless it has another.

        Raises:
            EncodeError: the body can't be JSON, or is invalid for a reply.
            PreconditionFailed: the message has a reply already.
        """
        if message.is_answered:
            raise PreconditionFailed(f"{message!r} has a reply already")
        line = encode(self.id, message.src, reply_body(message, body))
        message.is_answered = True
        if message.msg_id is not None:
            self._outbox.put(line)

    async def rpc(self, dest: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and return the body of the reply. Set a deadline with ``trio.fail_after``.

        Raises:
            DefiniteError: the reply is an error, and the request had no effect.
            IndefiniteError: the reply is an error, and the request may have had an effect.
            ConnectionLost: the node's input has ended.
            EncodeError: the body can't be JSON.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._handling is None:
            raise ConnectionLost("the node's input has ended, and no reply can come")
        msg_id = self._calls.next_id()
        self._outbox.put(encode(self.id, dest, {**body, "msg_id": msg_id}))
        reply = await self._calls.wait(msg_id, dest)
        if reply["type"] == "error":
            raise error_from_body(reply)
        return reply

    # ---- running

    async def serve(self, lines: ReceiveChannel[bytes], out: SendChannel[bytes]) -> None:
        r"""Handle messages from `lines` and send to `out`, until `lines` ends or `out` is closed.

        Handlers in progress then have a second to finish.

        Args:
            lines: each item is one or more whole lines.
            out: receives one or more whole lines at once, each with its ``\n``.
        """
        async with trio.open_nursery() as writing:
            writing.start_soon(self._write, out, writing.cancel_scope)
            async with trio.open_nursery() as handling:
                async with trio.open_nursery() as running:
                    self._handling, self._running = handling, running
                    await self._read(lines)
                    running.cancel_scope.cancel()
                self._calls.close()
                handling.cancel_scope.deadline = trio.current_time() + _GRACE_S
                self._handling = self._running = None
            with trio.move_on_after(_GRACE_S):
                await self._outbox.wait_short(0)
            writing.cancel_scope.cancel()

    async def _write(self, out: SendChannel[bytes], scope: trio.CancelScope) -> None:
        try:
            await self._outbox.run(out.send)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            _log.info("the output is closed: %s", exc)
            scope.cancel()

    async def _read(self, lines: ReceiveChannel[bytes]) -> None:
        async for chunk in lines:
            for line in chunk.split(b"\n"):
                if line and not line.isspace():
                    self._receive_line(line)
            await self._outbox.wait_short()
        if self.id:
            with trio.move_on_after(_GRACE_S):
                await self._initialised.wait()
        for message in self._held or ():
            self.refuse(message, TemporarilyUnavailable("the node has not been initialised"))

    def _receive_line(self, line: bytes) -> None:
        try:
            message = decode(line)
        except BadLine as exc:
            _log.warning("a bad line is ignored: %s", exc, extra=about(exc.src))
            if exc.src is not None and exc.msg_id is not None:
                body = error_body(MalformedRequest(exc.reason)) | {"in_reply_to": exc.msg_id}
                self._outbox.put(encode(self.id, exc.src, body))
            return
        if "in_reply_to" in message.body:
            if not self._calls.resolve(message):
                _log.debug("no call waits for this reply: %r", message)
        elif message.body["type"] == "init":
            self._handle_init(message)
        elif self._held is None:
            self._dispatch(message)
        elif len(self._held) < _MAX_HELD:
            self._held.append(message)
        else:
            self.refuse(message, TemporarilyUnavailable("the node has not been initialised"))

    def _dispatch(self, message: Envelope) -> None:
        handler = self._handlers.get(message.body["type"]) or self._handlers.get("*")
        if message.dest != self.id:
            self.refuse(message, NodeUnreachable(f"this is {self.id}, not {message.dest:.100}"))
        elif handler is None:
            self.refuse(message, MethodNotFound(f"{self.id} knows no messages of type {message.type!r:.100}"))
        elif self._ready or inspect.iscoroutinefunction(handler):
            self._ready.append((handler, message))
            self._start_handling(self._handle_next)
        else:
            self._handle(handler, message)

    def _start_handling(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        assert self._handling is not None
        self._handling.start_soon(function, *args)

    def _handle(self, handler: Handler, message: Envelope) -> None:
        try:
            answer = handler(message)
            if inspect.isawaitable(answer):
                self._start_handling(self._finish, lambda _: answer, message)
            elif answer is not None:
                self.reply(message, answer)
        except BaseException as exc:
            self._fail(message, exc)

    async def _handle_next(self) -> None:
        # Trio starts tasks in any order; the queue keeps the order of the messages.
        await self._finish(*self._ready.popleft())

    async def _finish(self, handler: Handler, message: Envelope) -> None:
        try:
            body: Answer = await _finished(handler(message))
            if body is not None:
                self.reply(message, body)
        except BaseException as exc:
            self._fail(message, exc)

    def _fail(self, message: Envelope, exc: BaseException) -> None:
        """Reply to `message` with the exception of its handler."""
        try:
            pass_endings(exc)
            self.refuse(message, exc if is_a(exc, Exception) else RemoteError.from_exception(exc))
        finally:
            del exc  # its traceback has this frame

    def refuse(self, message: Envelope, exc: Exception) -> None:
        """Reply to `message` with an error, unless it has a reply, and log the error."""
        if is_a(exc, TrionetError) and not is_crash(exc):
            _log.info("the reply to %r is an error: %s: %s", message, type(exc).__name__, exc, extra=about(message.src))
        else:
            _log.error("the handler of %r failed", message, exc_info=exc, extra=about(message.src))
        if message.msg_id is not None and not message.is_answered:
            message.is_answered = True
            self._outbox.put(encode(self.id, message.src, error_body(exc) | {"in_reply_to": message.msg_id}))

    # ---- init and topology

    def _handle_init(self, message: Envelope) -> None:
        name, names = message.body.get("node_id"), message.body.get("node_ids")
        if not isinstance(name, str) or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            self.refuse(message, MalformedRequest("init needs node_id, a text, and node_ids, a list of texts"))
        elif not self.id:
            self.id, self.node_ids = name, tuple(names)
            if self._hooks:
                self._start_handling(self._prepare, message)
            else:
                self._begin(message)
        elif self.id == name:
            self.reply(message)
        else:
            self.refuse(message, PreconditionFailed(f"this is {self.id} already"))

    async def _prepare(self, message: Envelope) -> None:
        for hook in self._hooks:
            await _finished(hook())
        if self._running is not None:
            self._begin(message)

    def _begin(self, message: Envelope) -> None:
        self._initialised.set()
        self.reply(message)
        for task in self._background:
            self.start_soon(task)
        held, self._held = self._held or (), None
        for each in held:
            self._dispatch(each)

    def _handle_topology(self, message: Envelope) -> Mapping[str, Any]:
        topology = message.body.get("topology")
        if not isinstance(topology, dict) or not all(isinstance(near, list) for near in topology.values()):
            raise MalformedRequest("topology needs a topology: for each node a list of neighbours")
        self.topology = topology
        return {}


async def _finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
