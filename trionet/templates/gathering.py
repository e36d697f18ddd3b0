"""The calls of one fan-out that are sent at once, and that no task waits for.

A task for each member costs as much as its call. So the calls on open links are sent in one pass, and their answers are
handled as they come; one task waits for all of them, and for the connections of the others. A call that has to wait for
something else gets a task of its own, and so does each unanswered one when the fan-out is cancelled: it waits until its
handler has ended, if it was sent.

Invariants: each call that was sent has one answer, or is one of `take_unanswered`. A call is sent by the task that
makes it, within the deadline of that. Code of the user's that makes a value, as the constructor of a registered type,
has the context variables of the caller.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from trionet.errors import TrionetError

if TYPE_CHECKING:
    from trionet.identity import SID, NodeAddress
    from trionet.services.comm import Comm
    from trionet.transports.base import Request
    from trionet.transports.sent import Awaited, SendAtOnce, Sent

__all__ = ["Answer", "Gathering", "MemberCall"]


class Answer(NamedTuple):
    """The answer of a member: a value, or an error."""

    sid: SID
    node: NodeAddress
    value: Any
    error: TrionetError | None


class Gathering:
    """One call to many members, without a task for each.

    Attributes:
        comm: makes and counts the calls.
        request: the call.
        context: the context variables of the caller.
    """

    def __init__(self, comm: Comm, request: Request, *, is_each_awaited: bool) -> None:
        """Send nothing yet; `is_each_awaited`: `wait` is to end with each answer, and not with the last one."""
        self.comm: Comm = comm
        self.request: Request = request
        self.context: contextvars.Context = contextvars.copy_context()
        self._unanswered: dict[MemberCall, Awaited | None] = {}
        self._connected: list[MemberCall] = []
        self._answers: list[Answer] = []
        self._is_each_awaited = is_each_awaited
        self._waiter: trio.lowlevel.Task | None = None

    def send(self, sid: SID, node: NodeAddress) -> bool:
        """Send the call to a member, if that takes no task; return whether it was sent, or will be once connected."""
        if self.comm.send_at_once is None or node == self.comm.own:
            return False
        call = MemberCall(sid, node, self)
        return self._send(call, self.comm.send_at_once) or self._connect(call)

    def _send(self, call: MemberCall, send_at_once: SendAtOnce) -> bool:
        self._unanswered[call] = None  # first: where the link is lost at once, the call is answered at once
        sent = send_at_once(call.node, self.request, call.handle)
        if sent is None:
            del self._unanswered[call]
        elif call in self._unanswered:
            self._unanswered[call] = sent
        return sent is not None

    def _connect(self, call: MemberCall) -> bool:
        connect_soon = self.comm.connect_soon
        waiting = None if connect_soon is None else connect_soon(call.node, self.request, call.handle_connected)
        if waiting is not None:
            self._unanswered[call] = waiting
        return waiting is not None

    def handle_connected(self, call: MemberCall, failure: TrionetError | None) -> None:
        """Handle that there is a connection for a call, or none can be made."""
        if failure is not None:
            self.handle(call, None, failure)
        elif call in self._unanswered:
            self._connected.append(call)
            self._wake()

    def send_connected(self) -> list[MemberCall]:
        """Send the calls whose connections have been made; return those that have to wait for something else."""
        connected, self._connected = self._connected, []
        send_at_once = self.comm.send_at_once
        return [call for call in connected if send_at_once is None or not self._send(call, send_at_once)]

    @property
    def is_waiting(self) -> bool:
        """Whether there are unanswered calls."""
        return bool(self._unanswered)

    def handle(self, call: MemberCall, value: Any, error: TrionetError | None) -> None:
        """Handle the answer of a call, a value or an error; one for which a task is to wait is that task's."""
        if call not in self._unanswered:
            return
        request = self.request
        if error is None:
            self.comm.counts.note_success(request.service, request.method, call.begun_ns)
        else:
            self.comm.note_failure(call.node, request, error, call.begun_ns)
        del self._unanswered[call]
        self._answers.append(Answer(call.sid, call.node, value, error))
        if self._is_each_awaited or not self._unanswered:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None

    async def wait(self) -> None:
        """Wait until there are answers, of all calls, or of any, if each is awaited; or connections for some."""
        self._waiter = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def take_answers(self) -> list[Answer]:
        """Return the answers since the last time."""
        answers, self._answers = self._answers, []
        return answers

    def take_unanswered(self) -> list[tuple[MemberCall, Awaited]]:
        """Return the calls without an answer, each with what waits for it; this one waits for them no longer."""
        found = [(call, sent) for call, sent in self._unanswered.items() if sent is not None]
        self._unanswered.clear()
        return found

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED


class MemberCall:
    """The call to one member.

    Attributes:
        sid, node: the member.
        begun_ns: when it began.
    """

    __slots__ = ("_gathering", "begun_ns", "node", "sid")

    def __init__(self, sid: SID, node: NodeAddress, gathering: Gathering) -> None:
        self.sid: SID = sid
        self.node: NodeAddress = node
        self._gathering = gathering
        self.begun_ns: int = gathering.comm.now_ns()

    def handle(self, sent: Sent) -> None:
        """Handle the answer. No local variable has its error, whose traceback may refer to this frame."""
        context = self._gathering.context.copy()
        self._gathering.handle(self, *context.run(_outcome, sent))

    def handle_connected(self, failure: TrionetError | None) -> None:
        """Handle that there is a connection, or none can be made."""
        self._gathering.handle_connected(self, failure)

    async def answer(self, sent: Awaited) -> Any:
        """Wait for the answer in a task; return the value, or raise the error, as `Comm.call` does."""
        comm, request = self._gathering.comm, self._gathering.request
        try:
            value = await sent.wait()
        except BaseException as exc:
            comm.note_failure(self.node, request, exc, self.begun_ns)
            raise
        comm.counts.note_success(request.service, request.method, self.begun_ns)
        return value


def _outcome(sent: Sent) -> tuple[Any, None] | tuple[None, TrionetError]:
    """Return the value or the error of an answer.

    The traceback of the error ends here: a frame with the call in it would make a reference cycle.
    """
    try:
        return sent.value(), None
    except TrionetError as exc:
        return None, exc
