"""The members of this node's cluster, as this node sees it: it joins, observes and leaves.

Invariant: the groups and the events of the node follow the membership protocol's changes, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.config import check_tags
from trionet.errors import ConfigError, KeyMismatch, MalformedRequest, SIDCollision, TemporarilyUnavailable
from trionet.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    MemberTrusted,
    MemberUpdated,
)
from trionet.identity import SID, NodeAddress
from trionet.log_limits import about, limited_log
from trionet.protocols.border import SenderRefused, SenderUnreachable
from trionet.protocols.statements import State
from trionet.protocols.swim_events import (
    JoinAnswered,
    JoinCompleted,
    LeaveCompleted,
    MemberChange,
    MemberChanged,
    MemberForgotten,
)

from .address_reports import AddressReports
from .base import rpc
from .cluster_agent import ClusterLeft
from .forgetting import forget_member
from .joining import FIRST_PAUSE_S, LONGEST_PAUSE_S, Attempt, resolved, seed_addresses, seek_others
from .member import Member, member_of
from .member_news import MemberNews
from .member_scopes import MemberScopes
from .packet_answer import PacketAnswer
from .protocol_driver import PacketMismatch, address_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trionet.events import Event, MemberEvent
    from trionet.protocols.swim import Swim
    from trionet.protocols.swim_events import MemberInfo

    from .cluster_agent import ClusterAgent
    from .groups import Groups

__all__ = ["Membership"]

_log = limited_log(__name__)

_EVENTS: Final[dict[MemberChange, type[MemberEvent]]] = {
    MemberChange.JOINED: MemberJoined,
    MemberChange.SUSPECTED: MemberSuspected,
    MemberChange.RECOVERED: MemberTrusted,
    MemberChange.FAILED: MemberFailed,
    MemberChange.LEFT: MemberLeft,
    MemberChange.UPDATED: MemberUpdated,
}
_GONE: Final = (MemberChange.FAILED, MemberChange.LEFT)


class Membership:
    """The local service ``membership``.

    Attributes:
        is_joining_at_start: whether the configured cluster has not been joined yet.
        joined_at_start: set when it has been joined.
        reports: the reports of addresses that can't work.
    """

    def __init__(self, own: NodeAddress, agent: ClusterAgent, groups: Groups, publish: Callable[[Event], None]) -> None:
        self._own = own
        self._agent = agent
        self._groups = groups
        self._publish = publish
        self._has_begun = False
        self.is_joining_at_start: bool = False
        self.joined_at_start: trio.Event = trio.Event()
        self._attempts: list[Attempt] = []
        self._left = trio.lowlevel.ParkingLot()
        self._scopes = MemberScopes(lambda sid: sid in (node.sid for node in groups.known()))
        self._is_alone = False
        self._news, self._about = MemberNews(own), about(own, node=own)
        self.reports: AddressReports = AddressReports(own, publish, trio.current_time)
        reports = self.reports
        agent.on(SenderRefused, reports.handle_refused)
        agent.on(SenderUnreachable, reports.handle_unreachable)
        agent.on(PacketAnswer, self._handle_answer)
        agent.on(PacketMismatch, self._handle_mismatch)
        agent.on(JoinAnswered, self._handle_join_answered)
        agent.on(JoinCompleted, self._handle_join_completed)
        agent.on(LeaveCompleted, self._handle_leave_completed)
        agent.on(MemberChanged, self._handle_change)
        agent.on(MemberForgotten, self._handle_forgotten)
        agent.on_batch_end(self._tell_news)

    @property
    def is_active(self) -> bool:
        """Whether this node belongs to a cluster: it has started or joined one, or others have joined it."""
        agent = self._agent
        if self._is_alone:
            return False
        return self._has_begun or (agent.has_begun and agent.swim.present_count > 1)

    def check_active(self) -> None:
        """Raise `ConfigError` unless this node belongs to a cluster."""
        if not self.is_active:
            raise ConfigError(
                "this node belongs to no cluster: start it with join=[] to begin one, or with join=[...] to join one"
            )

    # ---- called by other nodes

    @rpc
    def packet(self, data: bytes) -> dict[str, Any] | None:
        """Handle a packet of the protocols that was sent by a call, and answer it; for nodes only."""
        if not isinstance(data, bytes):
            raise MalformedRequest("a packet is bytes")
        return self._agent.receive_call(data).to_wire()

    @rpc
    def unreachable(self, by: NodeAddress) -> None:
        """Handle the report of `by` that it can't reach the address that this node advertises; for nodes only.

        Raises:
            MalformedRequest: `by` is no address.
        """
        self.reports.handle_own(NodeAddress.of(by))

    @rpc(read=True)
    async def members(self) -> list[Member]:
        """Return the present members, this node included, in SID order.

        Failed and left members are not present.
        """
        return self.present()

    @rpc
    async def join(self, seeds: list[Any] | tuple[Any, ...]) -> None:
        """Join the cluster of any of `seeds`; return when one has sent its members.

        Unreachable seeds are tried again, with growing pauses, until the caller is cancelled. Joining from inside a
        cluster merges the two. A node that has left may join again.

        Args:
            seeds: addresses, in any form; a host name stands for all its addresses, and is resolved repeatedly.

        Raises:
            ConfigError: all refuse this node: of its advertised address and theirs, one is a loopback address.
            KeyMismatch: all refuse this node, because of their cluster key or cluster name.
            MalformedRequest: one is not an address; or all are this node's own.
            TemporarilyUnavailable: the node leaves or stops.
        """
        if not self._agent.is_running:
            raise TemporarilyUnavailable("the node is stopping")
        addresses = seed_addresses(seeds)
        attempt = Attempt()
        self._attempts.append(attempt)
        try:
            await self._attempt(attempt, addresses)
        finally:
            self._attempts.remove(attempt)
            if attempt.is_refused or (attempt.names and not attempt.done.is_set()):
                self._ask_seeds()
        attempt.check()

    async def _attempt(self, attempt: Attempt, addresses: list[NodeAddress]) -> None:
        pause_s = FIRST_PAUSE_S
        while not attempt.done.is_set():
            found, is_complete = await resolved(addresses)
            names = [name for name in found if name != str(self._own)]
            if is_complete and not names:
                raise MalformedRequest("there is no seed but this node itself")
            if names and names != attempt.names and not attempt.done.is_set():
                attempt.names = names
                self._begin_to_join()
                self._check_later(attempt)
            with trio.move_on_after(LONGEST_PAUSE_S if names else pause_s):
                await attempt.done.wait()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _check_later(self, attempt: Attempt) -> None:
        seeds = filter(None, map(address_of, attempt.names))
        self._agent.dial_back.check_seeds_later(seeds, lambda: attempt in self._attempts, self.reports.report)

    @rpc
    async def leave(self) -> None:
        """Leave the cluster, which is no failure; return when other members have confirmed it.

        All groups of this node lose the other members. It may `join` again; a `join` in progress ends.
        """
        self._give_up("the node has left")
        swim = await self.depart()
        if swim is None or swim is not self._agent.swim:
            return
        self._is_alone, self._has_begun = True, False
        for info in list(swim.members()):
            node = address_of(info.name)
            if node is not None and node != self._own and info.state <= State.SUSPECT:
                self._remove(node)
        self._groups.absences.clear()
        self._agent.emit(ClusterLeft())

    @rpc
    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace the tags of this node in the cluster.

        Raises:
            ConfigError: they are not texts by name, or too many.
        """
        checked = check_tags(tags)
        self._agent.driver.act(self._agent.swim.set_tags(checked, self._agent.driver.now()))
        self._judge(self._agent.swim.member(str(self._own)))

    @rpc
    async def forget(self, node: Any) -> bool:
        """Forget a member that is gone for good, on this node; return whether it was known; see `forget_member`."""
        return forget_member(self._agent, node, self._publish)

    # ---- for the node

    async def depart(self) -> Swim | None:
        """Announce that this node leaves, and wait for the confirmation; keep the state of this node."""
        agent = self._agent
        if not agent.is_running or not self.is_active:
            await trio.lowlevel.checkpoint()
            return None
        _log.info("node %s leaves its cluster", self._own, extra=self._about)
        swim, driver = self._agent.swim, self._agent.driver
        driver.act(swim.leave(driver.now()))
        while agent.is_running and not swim.is_left and swim is agent.swim:
            await self._left.park()
        return swim

    async def join_at_start(self, seeds: Iterable[str], within_s: float, nursery: trio.Nursery) -> None:
        """Join the configured cluster; after `within_s` seconds, go on in `nursery`."""
        self._has_begun = True
        if all(NodeAddress.of(seed) == self._own for seed in seeds):
            return
        done = trio.Event()
        self.is_joining_at_start, self._agent.seeks = True, tuple(seeds)

        async def join() -> None:
            has_seed = await self._join_despite_refusals(list(seeds), done)
            self.is_joining_at_start, self._agent.seeks = False, ()
            self.joined_at_start.set()
            done.set()
            if not has_seed:
                await seek_others(self.join, list(seeds), lambda: self._agent.swim.present_count == 1)

        nursery.start_soon(join)
        with trio.move_on_after(within_s) as scope:
            await done.wait()
        if scope.cancelled_caught:
            _log.warning(
                "none of %s can be joined so far; this node goes on trying", ", ".join(seeds), extra=self._about
            )

    async def _join_despite_refusals(self, seeds: list[str], refused: trio.Event) -> bool:
        """Join, and return whether there was another seed; set `refused` if all refuse it, and go on trying."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self.join(seeds)
            except (ConfigError, KeyMismatch) as exc:
                if not refused.is_set():
                    text = "this node is in no cluster, and goes on trying to join one: %s"
                    _log.error(text, exc.text, extra=self._about)
                refused.set()
            except (MalformedRequest, TemporarilyUnavailable) as exc:
                return not isinstance(exc, MalformedRequest)  # all are this node itself
            else:
                return True
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def farewell(self) -> None:
        """Announce that this node leaves, without a confirmation, and end all waiting."""
        if self._agent.has_begun:
            self._news.tell(self._agent.swim.present_count, math.inf)
        self._give_up("the node is stopping")
        self._left.unpark_all()
        self._scopes.end()
        if self._agent.has_begun and self.is_active:
            swim, driver = self._agent.swim, self._agent.driver
            if not swim.is_left:
                driver.act(swim.leave(driver.now()))

    def present(self) -> list[Member]:
        """Return the present members, this node included, in SID order."""
        swim, own = self._agent.swim, str(self._own)
        infos = [info for info in swim.members() if info.name == own or not self._is_alone]
        shown = [member_of(info) for info in infos if info.name == own or info.state <= State.SUSPECT]
        return sorted((member for member in shown if member is not None), key=lambda member: member.sid)

    def has_failed(self, node: NodeAddress) -> bool:
        """Return whether `node` is a member that has failed, and has not returned."""
        info = None if self._is_alone else self._agent.swim.member(str(node))
        return info is not None and info.state == State.DEAD

    def scope(self, sid: SID | NodeAddress) -> AbstractAsyncContextManager[trio.CancelScope]:
        """Cancel the block when the member `sid` fails or leaves, or this node ends; at once if it is not present."""
        return self._scopes.scope(sid)

    def _handle_join_completed(self, event: JoinCompleted) -> None:
        extra = about(event.seed, node=self._own)
        _log.info("node %s has joined the cluster, by way of %s", self._own, event.seed, extra=extra)
        for attempt in self._attempts:
            attempt.done.set()

    def _handle_join_answered(self, event: JoinAnswered) -> None:
        node = address_of(event.name)
        if node is not None and self._agent.is_running:
            self._agent.dial_back.check_soon(node, self.reports.report)

    def _handle_answer(self, answer: PacketAnswer) -> None:
        self.reports.handle_answer(answer)
        reason = self.reports.reason_of(answer)
        for attempt in self._attempts if reason else ():
            attempt.handle_refusal(str(answer.node), ConfigError(reason))

    def _handle_mismatch(self, event: PacketMismatch) -> None:
        for attempt in self._attempts:
            attempt.handle_refusal(event.to, event.error)

    def _handle_leave_completed(self, _: LeaveCompleted) -> None:
        self._left.unpark_all()

    def _handle_change(self, event: MemberChanged) -> None:
        node = address_of(event.member.name)
        if node is None or node == self._own or self._is_alone:
            return
        change, member = event.change, event.member
        if change is MemberChange.JOINED:
            self._admit(node, member.boot_id)
        elif change in _GONE:
            self._remove(node, member.boot_id if change is MemberChange.FAILED else None)
        if change not in _GONE:
            self._judge(member)
        self._news.note(change, node)
        self._publish(_EVENTS[change](node=node, incarnation=member.incarnation, tags=dict(member.tags)))

    def _tell_news(self) -> None:
        if self._news.is_due:
            self._news.tell(self._agent.swim.present_count, self._agent.driver.now())

    def _judge(self, info: MemberInfo | None) -> None:
        """Have the rules of groups judge a present member that has changed."""
        if self._groups.has_rules and info is not None and (member := member_of(info)) is not None:
            self._groups.judge(member)

    def _handle_forgotten(self, event: MemberForgotten) -> None:
        node = address_of(event.name)
        if node is not None:
            self._groups.absences.forget(node)
            self._agent.forget(event.name)

    def _admit(self, node: NodeAddress, boot_id: int) -> None:
        try:
            self._groups.admit(node)
        except SIDCollision as exc:
            _log.error("the member %s can't be addressed: %s", node, exc, extra=about(node, node=self._own))
            return
        self._groups.restore(node, boot_id)
        self._agent.missed_changes.tell(node)

    def _remove(self, node: NodeAddress, boot_id: int | None = None) -> None:
        self._groups.expel(node, boot_id)
        self._scopes.cancel(node.sid)
        self._agent.departures.note(node)

    def _begin_to_join(self) -> None:
        """Begin to join, under a new boot id after a leave."""
        self._has_begun = True
        if self._agent.swim.own.state == State.LEFT:  # for good
            self._agent.renew()
            self._is_alone = False
            self._left.unpark_all()
        self._ask_seeds()

    def _ask_seeds(self) -> None:
        """Pass the seeds of all current attempts to the core, which has one list."""
        swim, driver = self._agent.swim, self._agent.driver
        driver.act(swim.join([name for attempt in self._attempts for name in attempt.names], driver.now()))

    def _give_up(self, reason: str) -> None:
        for attempt in self._attempts:
            attempt.end(reason)
