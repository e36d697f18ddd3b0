"""The running calls of a node and of its cluster: reported, drawn as a tree, and cancelled.

Invariants: nothing is noted of a call for this but the time of its begin; all else is found at the time of the
question, in the links and the scopes. A member that gives no report is an error in the tree, and delays the others by
no more than the given time.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import trio

from .call_tree import CallTree, CancelledCalls, with_all_below
from .current_call import answered_call
from .errors import CallTimeout, MalformedRequest, TrionetError
from .histograms import SUM, UNTIMED
from .log_limits import about, limited_log
from .message import Remote, is_relaying
from .nesting import PACKETS
from .nurseries import open_plain_nursery
from .pauses import pauses_of
from .principal import ANYONE, Principal
from .protocols.assembling import assemble
from .protocols.call_reports import (
    MOST_CALLS,
    CallReport,
    EndCount,
    NodeReport,
    RequestReport,
    cut,
    decode_report,
    encode_report,
)
from .replies import Replies
from .trio_internals import is_scope_cancelled, scope_deadline, task_deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .current_call import AnsweredCall
    from .events import OrphanedCall
    from .identity import SID, NodeAddress
    from .prepared_call import PreparedCall
    from .router import Router
    from .services.comm import Comm
    from .services.groups import Groups
    from .transports.base import Endpoint, Request, Sending

__all__ = ["RunningCalls"]

_log = limited_log(__name__)

_REPORT: Final = Remote(service="inspection", method="report_calls")
_CANCEL: Final = Remote(service="inspection", method="cancel_own_calls")
_WITHIN_S: Final = 2.0
_END_S: Final = 5.0
_ALL: Final = "all"


class RunningCalls:
    """The running calls as seen by one node."""

    def __init__(
        self, router: Router, endpoint: Endpoint, comm: Comm, groups: Groups, orphans: Collection[OrphanedCall]
    ) -> None:
        self._own = endpoint.address
        self._router = router
        self._endpoint = endpoint
        self._comm = comm
        self._groups = groups
        self._orphans = orphans

    # ---- of this node

    def dump(self) -> CallTree:
        """Return the running calls of this node alone."""
        return assemble({self._own: self.report()})

    def report(
        self, without: AnsweredCall | None = None, most: int = MOST_CALLS, *, with_ends: bool = False
    ) -> NodeReport:
        """Return the report of this node.

        Args:
            without: the call that asks for it.
            most: the most calls of each kind.
            with_ends: whether to say how calls have ended.
        """
        running = self._running(without)
        deadlines = {prepared: scope_deadline(scope) for prepared, scope in running.items()}
        by_id: dict[str, PreparedCall] = {}
        for prepared in running:
            by_id.setdefault(prepared.call.id, prepared)
        shown = dict(islice(running.items(), most))
        pauses, now, calls = pauses_of(shown), trio.current_time(), []
        for prepared, scope in shown.items():
            call, deadline = prepared.call, deadlines[prepared]
            parent = by_id.get(call.parent) if call.caller == self._own else None
            calls.append(
                CallReport(
                    cut(call.id),
                    cut(call.parent),
                    "" if call.caller is None else str(call.caller),
                    call.gid,
                    call.service,
                    call.method,
                    str(call.principal or ANYONE),
                    now - getattr(prepared, "started_at", now),
                    None if deadline == math.inf else max(0.0, deadline - now),
                    is_scope_cancelled(scope),
                    None if parent is None else deadline < deadlines[parent],
                    tuple(sorted(set(pauses.get(prepared, ())))),
                )
            )
        sending = self._sending()
        requests = [
            _reported(one, None if (parent := by_id.get(one.request.parent)) is None else deadlines[parent])
            for one in sending[:most]
        ]
        orphans = tuple((str(orphan.node), cut(orphan.id)) for orphan in self._orphans)
        omitted = len(running) - len(calls) + len(sending) - len(requests)
        return NodeReport(tuple(calls), tuple(requests), orphans, omitted, self._ends() if with_ends else ())

    def _running(self, without: AnsweredCall | None) -> dict[PreparedCall, trio.CancelScope]:
        """Return the running calls, without those that only relay others: these are reported where they run."""
        running = self._router.running.items()
        return {one: scope for one, scope in running if one is not without and not is_relaying(one.call)}

    def _ends(self) -> tuple[EndCount, ...]:
        """Return how the calls of each method have ended."""
        return tuple(
            EndCount(cut(service), cut(method), outcome, sum(histogram[:SUM]) + histogram[UNTIMED])
            for service, method, outcome, histogram in self._router.counts
        )

    def _sending(self) -> list[Sending]:
        """Return the calls in progress to other nodes, without those of the protocols."""
        transport, links = self._endpoint.transport, self._endpoint.links
        found = transport.in_progress()
        if links is not None and links is not transport:
            found += links.in_progress()
        return [one for one in found if one.request.depth != PACKETS and not _relays_further(one.request)]

    def encoded_report(self, most: int = MOST_CALLS, *, with_ends: bool = False) -> bytes:
        """Return the encoded report of this node, for `decode_report` at another one.

        Raises:
            MalformedRequest: `most` is no such number, or `with_ends` is not True or False.
        """
        from .templates.fan_out import check_bool  # few nodes are asked

        check_bool("with_ends", with_ends)
        if not isinstance(most, int) or isinstance(most, bool) or not 0 <= most <= MOST_CALLS:
            raise MalformedRequest(f"most is a number of calls, from 0 to {MOST_CALLS}, not {most!r:.80}")
        return encode_report(self.report(answered_call(), most, with_ends=with_ends))

    async def cancel_own(self, call_id: str) -> int:
        """Cancel the running calls with an id on this node, and wait a while for their end; return how many."""
        by = self._asker()
        found = [(prepared, scope) for prepared, scope in self._router.running.items() if prepared.call.id == call_id]
        endings = [self._router.endings.begin(one, f"{one.name} was cancelled by {by}") for one, _ in found]
        for prepared, scope in found:
            _log.info("%s cancels the call %.100s of %s", by, call_id, prepared.name, extra=about(by))
            scope.cancel()
        with trio.move_on_after(_END_S):
            for ending in endings:
                await ending.ended.wait()
        await trio.lowlevel.checkpoint()
        return len(found)

    def _asker(self) -> str:
        """Return in whose name it is asked; where nobody proves a name, from where."""
        answered = answered_call()
        if answered is None:
            return str(Principal.node(self._own))
        call = answered.current()
        if call.principal != ANYONE:
            return str(call.principal)
        return "a client without a name" if call.caller is None else f"someone at {call.caller}"

    # ---- of the cluster

    async def tree(self, *, within_s: float = _WITHIN_S) -> CallTree:
        """Return the running calls of all members that this node knows, as a tree.

        Args:
            within_s: how long to wait for the reports of members, in seconds; others are errors of the tree.

        Raises:
            MalformedRequest: `within_s` is no such number.
        """
        if not isinstance(within_s, int | float) or isinstance(within_s, bool) or not 0 < within_s < math.inf:
            raise MalformedRequest(f"within_s is a number of seconds, more than 0, not {within_s!r:.80}")
        found, errors = await self._reports(self._members(), [], within_s)
        reports = {node: report for node, (_, report) in found.items()}
        return assemble({self._own: self.report()} | reports, errors, self._asking())

    async def reports(
        self, nodes: Mapping[SID, NodeAddress], *, most: int, within_s: float = _WITHIN_S
    ) -> tuple[dict[NodeAddress, tuple[float, NodeReport]], dict[SID, TrionetError]]:
        """Return the reports of some members and when they came, on Trio's clock; and why others gave none.

        They say also how calls have ended.

        Args:
            nodes: whom to ask.
            most: the most calls of each kind in one report.
            within_s: how long to wait for the reports, in seconds.
        """
        until = trio.current_time() + within_s
        reports, errors = await self._reports(nodes, [most, True], within_s, most)
        older = {sid: nodes[sid] for sid, error in errors.items() if isinstance(error, MalformedRequest)}
        if older:  # nodes of an earlier version know no bound
            more, left = await self._reports(older, [], max(0.0, until - trio.current_time()), most)
            reports, errors = reports | more, {sid: one for sid, one in errors.items() if sid not in older} | left
        if self._own in nodes.values():
            reports[self._own] = trio.current_time(), self.report(most=most, with_ends=True)
        return reports, errors

    async def _reports(
        self, nodes: Mapping[SID, NodeAddress], args: list[Any], within_s: float, most: int = MOST_CALLS
    ) -> tuple[dict[NodeAddress, tuple[float, NodeReport]], dict[SID, TrionetError]]:
        """Ask others for their reports; return them with the time at which each came, and why others gave none."""

        def received(data: object) -> tuple[float, NodeReport]:
            return trio.current_time(), decode_report(data, most)

        replies = await self._ask_all(nodes, _REPORT, args, within_s, received)
        return {nodes[sid]: one for sid, one in replies.values.items()}, dict(replies.errors)

    def _asking(self) -> list[tuple[NodeAddress, str]]:
        """Return the call that asks, if one does: it is of no interest."""
        answered = answered_call()
        return [] if answered is None else [(self._own, answered.current().id)]

    def _members(self) -> dict[SID, NodeAddress]:
        return self._groups.members(_ALL)

    async def _ask_all(
        self,
        nodes: Mapping[SID, NodeAddress],
        remote: Remote,
        args: list[Any],
        within_s: float,
        convert: Callable[[Any], Any] | None = None,
    ) -> Replies[Any]:
        """Call a method on all others of `nodes`, which needs no slot, and is not waited for once it is cancelled."""
        from .templates.fan_out import collect

        request = self._comm.prepare(args, {}, remote, depth=PACKETS)
        others = {sid: node for sid, node in nodes.items() if node != self._own}
        with trio.move_on_after(within_s):
            return await collect(others, lambda node: self._comm.call(node, request), partial=True, convert=convert)
        late = CallTimeout(f"no answer within {within_s:g} s")
        return Replies({}, dict.fromkeys(others, late))

    async def cancel(self, call_id: str, *, within_s: float = _WITHIN_S) -> CancelledCalls:
        """Cancel a call on all nodes that run it: its handler, and with that all that is below it in the tree.

        Its caller gets a `CallCancelled`. Waits for the ends, up to some seconds.

        Args:
            call_id: its id; see `RunningCall.id`.
            within_s: how long to wait for the answers of members, in seconds.

        Raises:
            MalformedRequest: an argument has another type.
        """
        if not isinstance(call_id, str) or not call_id:
            raise MalformedRequest(f"a call is named by its id, a text, not by {call_id!r:.80}")
        before = await self.tree(within_s=within_s)
        below = with_all_below(before.calls, call_id)
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self.cancel_own, call_id)
            replies = await self._ask_all(self._members(), _CANCEL, [call_id], within_s + _END_S)
        after = await self.tree(within_s=within_s) if below else before
        left = {(one.node, one.id) for one in after.calls}
        return CancelledCalls(
            ended=tuple(one for one in below if (one.node, one.id) not in left),
            running=tuple(one for one in below if (one.node, one.id) in left),
            errors={**before.errors, **replies.errors, **after.errors},
        )


def _relays_further(request: Request) -> bool:
    """Return whether a relayed call goes further: of a tree, only its caller waits."""
    return request.parent == request.id and is_relaying(request)


def _reported(one: Sending, outer: float | None) -> RequestReport:
    request = one.request
    own: bool | None = None
    if outer is not None and one.task is not None and one.state != "cancelled":
        deadline = task_deadline(one.task)
        own = None if deadline is None else deadline < outer
    return RequestReport(
        cut(request.id),
        cut(request.parent),
        str(one.node),
        request.gid,
        request.service,
        request.method,
        one.state,
        own,
    )
