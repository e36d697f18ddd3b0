"""A call to every member of a group, along a tree: the caller's part.

The caller calls the first members of some runs, which call the rest; see `relaying`. What that misses it mends itself:
a call that surely has not run is made directly, as without a tree. One that may have run is *recalled* from its member:
the member returns the answer of its run, or waits for it; if it surely knows no such run, the call is sent to it again.

Invariants: there is one value or error for each member, the same as without a tree. No call runs twice.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import trio

from trionet.call_counts import outcome_of
from trionet.codec import JSON
from trionet.errors import (
    CallCancelled,
    CallTimeout,
    ConnectionLost,
    DecodeError,
    DefiniteError,
    NodeUnreachable,
    NotPermitted,
    OrphanedCalls,
    RemoteError,
    TrionetError,
    known_kind,
)
from trionet.nurseries import open_plain_nursery
from trionet.protocols.relaying import RelayedCall, arity_of
from trionet.replies import Replies
from trionet.transports.base import answered_error
from trionet.under_trio import check_under_trio

from .fan_out import Outcomes, span_of
from .relaying import Relaying, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trionet.identity import SID, NodeAddress
    from trionet.services.comm import Comm
    from trionet.transports.base import Request

__all__ = ["TreeCall", "call_tree", "from_own"]

_CLOCKS_DIFFER: float = 1.001
"""How much faster the clock of one node may be than that of another."""


async def call_tree(
    comm: Comm,
    gid: str,
    members: Mapping[SID, NodeAddress],
    request: Request,
    *,
    enough: int | None = None,
    partial: bool = False,
    convert: Callable[[Any], Any] | None = None,
    arity: int | None = None,
) -> Replies[Any]:
    """Send a prepared call to all `members` of a group along a tree, by `comm`; see `collect`.

    Args:
        comm: sends it.
        gid: the group.
        members: the nodes to call.
        request: the call.
        enough: see `collect`.
        partial: see `collect`.
        convert: see `collect`.
        arity: into how many runs members are divided; default: `arity_of`.
    """
    check_under_trio("a group-wide call")
    await trio.lowlevel.checkpoint_if_cancelled()
    outcomes = Outcomes(enough)
    with span_of(comm, gid, request, len(members)) as span:
        traced = request if span is None else span.traced(request)
        try:
            with nullcontext() if span is None else span.current():  # for the calls that are made directly
                await TreeCall(comm, members, traced, outcomes, convert).run(arity)
        except trio.Cancelled as exc:
            if not partial or exc.source != "deadline":
                raise
            outcomes.note_late(members)
        if not partial:
            await outcomes.leave_to_scope()
        replies = Replies(outcomes.values, outcomes.errors)
        if span is not None:
            span.describe(len(replies.values), len(replies.errors))
        return replies


class TreeCall:
    """One call along a tree."""

    def __init__(
        self,
        comm: Comm,
        members: Mapping[SID, NodeAddress],
        request: Request,
        outcomes: Outcomes,
        convert: Callable[[Any], Any] | None,
    ) -> None:
        self._comm = comm
        self._request = request
        self._outcomes = outcomes
        self._convert = convert
        self._begun_ns = comm.counts.now_ns()
        self._begun_at = trio.current_time()
        self._own = {sid: node for sid, node in members.items() if node == comm.own}
        self._others = from_own(members, comm.own)
        self._uncounted = {sid for sid, _ in self._others}
        self._nursery: trio.Nursery
        self._relaying: Relaying

    async def run(self, arity: int | None) -> None:
        """Make it, until each member has an outcome, or there are enough."""
        request = self._request
        call = RelayedCall(
            request.gid,
            request.service,
            request.method,
            request.args,
            request.kwargs,
            list(request.blobs),
            request.id,
            str(self._comm.own),
            request.parent,
            request.trace,
            self._comm.codec.content_type == JSON.content_type,
        )
        nodes = [node for _, node in self._others]
        arity = arity_of(len(nodes)) if arity is None else arity
        self._relaying = Relaying(self._comm, call, nodes, arity, [], request, self)
        outcome = "cancelled"  # what is left when there are enough values
        try:
            async with open_plain_nursery() as nursery:
                self._nursery = nursery
                self._outcomes.on_enough = nursery.cancel_scope.cancel
                for sid, node in self._own.items():
                    nursery.start_soon(self._call_directly, sid, node)
                await self._relaying.run()
        except BaseException as exc:
            outcome = outcome_of(exc)
            raise
        finally:
            self._count_rest(outcome)

    # ---- what comes

    def take(self, place: int, answer: Any, *, is_asked_here: bool) -> None:
        """Handle the answer of a member; see `Taker`."""
        sid, node = self._others[place]
        value, error = self._decoded(answer)
        has_run = answer[0] is not None
        if isinstance(error, NotPermitted) and not (has_run or is_asked_here):  # maybe one on the way may not
            self._nursery.start_soon(self._call_directly, sid, node)
        else:
            self._note(sid, node, value, error)

    def take_failure(self, place: int, error: TrionetError, *, is_asked_here: bool) -> None:
        """Handle that there is no answer of a member; see `Taker`."""
        sid, node = self._others[place]
        if isinstance(error, CallTimeout | CallCancelled | OrphanedCalls):
            self._note(sid, node, None, self._named(error, node))
        elif not isinstance(error, DefiniteError):
            self._nursery.start_soon(self._recall, sid, node, error)
        elif isinstance(error, NodeUnreachable) and is_asked_here:
            self._note(sid, node, None, error)
        else:
            self._nursery.start_soon(self._call_directly, sid, node)

    def _decoded(self, answer: list[Any]) -> tuple[Any, TrionetError | None]:
        """Return the value or the error that an answer holds."""
        is_value, data, blobs = answer
        try:
            decoded = self._comm.codec.decode(data, iter(blobs) if blobs else None)
        except DecodeError as exc:
            return None, ConnectionLost(f"the answer can't be read here: {exc}")
        if not is_value:
            return None, answered_error(decoded)
        try:
            return (decoded if self._convert is None else self._convert(decoded)), None
        except TrionetError as exc:
            return None, exc.with_traceback(None)

    def _note(self, sid: SID, node: NodeAddress, value: Any, error: TrionetError | None) -> None:
        """Handle the value or the error of a member, and count it."""
        comm, request = self._comm, self._request
        self._uncounted.discard(sid)
        if error is None:
            comm.counts.note_success(request.service, request.method, self._begun_ns)
        else:
            error.node = error.node or str(node)
            comm.counts.note_failure(request.service, request.method, error, self._begun_ns)
        self._outcomes.note(sid, value, error)

    def _named(self, error: TrionetError, node: NodeAddress) -> TrionetError:
        """Return the error of one member in place of one for several."""
        request = self._request
        name = f"{request.gid}/{request.service}/{request.method}"
        text = f"{name} ran out of time" if isinstance(error, CallTimeout) else error.text
        kind = known_kind(type(error))
        return kind(text, node=node, **{field: getattr(error, field) for field in kind.fields})

    def _count_rest(self, outcome: str) -> None:
        """Count the calls without an answer."""
        counts, request = self._comm.counts, self._request
        for _ in self._uncounted:
            spent_ns = counts.now_ns() - self._begun_ns
            counts.failed(counts.of(request.service, request.method), outcome, spent_ns)

    # ---- what was missed

    async def _call_directly(self, sid: SID, node: NodeAddress) -> None:
        """Call a member as without a tree."""
        self._uncounted.discard(sid)
        try:
            value = await self._comm.call(node, self._request)
            self._outcomes.note(sid, value if self._convert is None else self._convert(value), None)
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            self._outcomes.note(sid, None, exc.with_traceback(None))

    async def _recall(self, sid: SID, node: NodeAddress, error: TrionetError) -> None:
        """Ask a member whose call may have run for its answer; send the call again if it surely has not run there."""
        try:
            answer = await self._recalled(node)
        except TrionetError:
            lost = error if isinstance(error, ConnectionLost | RemoteError) else ConnectionLost(error.text)
            self._note(sid, node, None, self._named(lost, node))
            return
        value, failure = self._decoded(answer)
        self._note(sid, node, value, failure)

    async def _recalled(self, node: NodeAddress) -> list[Any]:
        """Return the answer of a member whose call may have run.

        Raises:
            TrionetError: it is lost.
        """
        comm, relaying = self._comm, self._relaying
        match await comm.call_unrecorded(node, relaying.request("recall")):
            case [None, float(sure_s), list(ticket)]:
                if sure_s < (trio.current_time() - self._begun_at) * _CLOCKS_DIFFER:
                    raise ConnectionLost("it may have run")
                return checked(await comm.call_unrecorded(node, relaying.request("answer", ticket)))
            case [answer, _, _]:
                return checked(answer)
        raise ConnectionLost("its answer can't be read here")


def from_own(members: Mapping[SID, NodeAddress], own: NodeAddress) -> list[tuple[SID, NodeAddress]]:
    """Return the other members, in the order of their SIDs and from that of `own` on.

    So each caller has another tree, and the same one for all its calls, whose links are there.
    """
    sid = own.sid
    return sorted((one for one in members.items() if one[1] != own), key=lambda one: (one[0] < sid, one[0]))
