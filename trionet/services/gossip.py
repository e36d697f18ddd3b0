"""Rumors, as one node starts and executes them, and its periodic tasks.

A rumor is a call that every live member of a group makes to itself, once. Invariants: a node executes each rumor at
most once; the execution does not delay the forwarding.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import MESSAGEPACK, register_type
from trionet.errors import (
    CallTimeout,
    GroupNotFound,
    KeyDoesNotExist,
    MalformedRequest,
    MessageTooLarge,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.events import RumorFailed
from trionet.log_limits import about, limited_log
from trionet.message import Call, Remote, check_args
from trionet.prepared_call import is_awaitable
from trionet.profiles import PROFILES
from trionet.protocols.gossip_messages import Delivered, Rumor
from trionet.protocols.gossip_settings import settings_for
from trionet.replies import Spread
from trionet.security.code_stamps import SentCode
from trionet.under_trio import check_under_trio

from .arrivals import Arrival, arrival_of
from .base import rpc
from .periodic import PeriodicTask, PeriodicTasks, owner_of
from .rumor_payloads import call_in, payload_of, purpose_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trionet.codec import Codec
    from trionet.events import Event
    from trionet.identity import NodeAddress
    from trionet.prepared_call import PreparedCall
    from trionet.protocols.gossip import GossipProtocol
    from trionet.protocols.mux import Packet
    from trionet.router import Router

    from .cluster_agent import ClusterAgent
    from .code_trust import CodeTrust
    from .comm import Comm
    from .groups import Groups
    from .protocol_driver import ProtocolDriver

__all__ = ["Gossip"]

_log = limited_log(__name__)

_MOST_AT_ONCE: Final = 256
_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
_HEAD_BYTES: Final = 1024
_WAITING_BYTES: Final = 1024
"""The memory of a pending rumor besides its payload; it bounds them to 65,536."""

_ASK_AGAIN_S: Final = 0.02
_ASK_LATEST_S: Final = 1.0
_COMPARISONS: Final = 3
"""For how many comparisons at rest `wait_spread` waits for members that lack the group: these bring a kept group."""

_HAND_OVER_S: Final = 5.0
"""A limit for members that hang."""

register_type(Spread, name="trionet:Spread")


class Gossip:
    """The local service ``gossip``.

    Attributes:
        tasks_of_node: this node's periodic tasks.
        failed: the number of rumors whose call has failed here.
        on_rumor: called with each rumor that arrives, if set.
    """

    def __init__(
        self,
        agent: ClusterAgent,
        groups: Groups,
        comm: Comm,
        code: CodeTrust,
        router: Router,
        tasks: PeriodicTasks,
        nursery: trio.Nursery,
        publish: Callable[[Event], None],
    ) -> None:
        self.tasks_of_node: PeriodicTasks = tasks
        self.failed: int = 0
        self.on_rumor: Callable[[Delivered], None] | None = None
        self._agent = agent
        self._groups = groups
        self._comm = comm
        self._code = code
        self._router = router
        self._nursery = nursery
        self._publish = publish
        self._limiter = trio.CapacityLimiter(_MOST_AT_ONCE)
        self._waiting_bytes = 0
        self._failures: list[tuple[Delivered, TrionetError]] = []
        self._group_s = _COMPARISONS * settings_for(PROFILES[agent.config.profile]).compare_interval_s
        self._codec: Codec = MESSAGEPACK.limited(agent.config.max_message_containers)
        # A packet with one rumor must fit into a message.
        self._most_payload_bytes = max(0, comm.codec.most_bytes(agent.config.max_message_bytes) - _HEAD_BYTES)
        agent.on(Delivered, self._deliver)
        agent.on_batch_end(self._log_failures)

    @rpc(read=True)
    async def tasks(self, gid: str | None = None) -> list[PeriodicTask]:
        """Return this node's periodic tasks, of one group or all."""
        return self.tasks_of_node.list(gid)

    @rpc
    async def del_(self, task_id: str) -> bool:
        """Cancel a periodic task, with a run in progress, and wait for its end.

        Args:
            task_id: the result of `at`, on any node of the cluster.

        Returns:
            Whether the task existed. An unknown id, or an unknown owner, is no error.

        Raises:
            NodeUnreachable: its owner is a live member and can't be reached: the task may still run.
        """
        owner = owner_of(task_id)
        if owner is None:
            return False
        if owner == self._comm.own:
            return await self.tasks_of_node.cancel(task_id)
        if owner not in self._groups.known():
            return False
        found = await self._comm.call(owner, self._comm.prepare([task_id], {}, _DELETE))
        return found is True

    # ---- for the group-wide service

    def start(
        self, gid: str, args: list[Any] | tuple[Any, ...], kwargs: Mapping[str, Any], remote: Remote
    ) -> tuple[str, dict[NodeAddress, Packet]]:
        """Start a rumor in `gid`; this node executes it, too, if it is a member.

        Returns:
            Its id, and the packets of its first hop, for `hand_over`.

        Raises:
            MalformedRequest: the arguments are no list.
            EncodeError: an argument can't travel.
            MessageTooLarge: they are over the limit.
        """
        check_under_trio("gossip")
        core, driver = self._running()
        purpose = purpose_of(remote)
        sent = [self._code.sent_by_rumor(arg, purpose) for arg in check_args(args)]
        by_name = {name: self._code.sent_by_rumor(arg, purpose) for name, arg in kwargs.items()}
        principal, trace = self._comm.forwarded(), self._comm.trace()
        payload = payload_of(remote, sent, by_name, principal, trace)
        if len(payload) > self._most_payload_bytes:
            raise MessageTooLarge(
                f"a rumor of {len(payload):,} bytes is over the limit of {self._most_payload_bytes:,} bytes, "
                f"which follows from max_message_bytes"
            )
        started = core.send(gid, payload, driver.now())
        return started.id.hex(), self._agent.first_hop(started.effects)

    async def hand_over(self, node: NodeAddress, packet: Packet) -> bool:
        """Send a packet of a first hop to `node`; return True once it is confirmed.

        Raises:
            GroupNotFound: the node doesn't know the rumor's group, and has dropped the rumor.
            TrionetError: it may not have arrived.
        """
        _, driver = self._running()
        try:
            with trio.fail_after(_HAND_OVER_S):
                answer = await driver.call(node, packet)
        except (TrionetError, trio.TooSlowError) as exc:
            driver.unreachable(packet.to)
            self._share_again(packet)
            if isinstance(exc, TrionetError):
                raise
            raise CallTimeout(f"{node} has not confirmed the rumor within {_HAND_OVER_S:g} s", node=node) from None
        for gid in answer.unknown_groups:
            self._share_again(packet)
            raise _group_not_found(gid, node)
        return True

    def _share_again(self, packet: Packet) -> None:
        """Send the rumors in a packet that was not accepted to the members that its receiver was to forward them to."""
        if self._agent.is_running:
            core, driver = self._running()
            for message in packet.messages:
                if isinstance(message, Rumor):
                    driver.act(core.delivering.share_again(message, packet.to, driver.now()))

    async def wait_spread(self, gid: str, rumor_id: str, fraction: float) -> Spread:
        """Wait until a rumor of this node has spread far enough; see `Receipt.wait_spread`."""
        if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
            raise MalformedRequest(f"fraction is more than 0 and at most 1, not {fraction!r:.40}")
        pause_s = _ASK_AGAIN_S
        core, driver = self._running()
        key = bytes.fromhex(rumor_id)
        core.tracking.ask_again(key)
        give_up_at = math.inf
        while True:
            core, driver = self._running()
            found = core.tracking.spread(gid, key)
            if found is None:
                raise KeyDoesNotExist(f"nothing is known of the rumor {rumor_id} any more")
            if found.estimated >= fraction * found.members:
                return Spread(known=found.confirmed, members=found.members, estimate=found.estimated)
            is_in_vain = found.members - found.groupless < fraction * found.members
            give_up_at = min(give_up_at, driver.now() + self._group_s) if is_in_vain else math.inf
            if driver.now() >= give_up_at:
                raise _group_not_found(gid, found.first_groupless)
            driver.act(core.tracking.query(gid, key))
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _ASK_LATEST_S)

    def spread(self, gid: str, rumor_id: str) -> Spread:
        """Return how far a rumor of this node is known to have come, and query the members that have not confirmed it.

        Raises:
            KeyDoesNotExist: nothing is known of it.
            MalformedRequest: it is no id.
        """
        core, driver = self._running()
        key = _key_of(rumor_id)
        found = core.tracking.spread(gid, key)
        if found is None:
            raise KeyDoesNotExist(f"nothing is known of the rumor {rumor_id:.80} in the group {gid!r:.80}")
        driver.act(core.tracking.query(gid, key))
        return Spread(known=found.confirmed, members=found.members, estimate=found.estimated)

    def arrival(self, gid: str, rumor_id: str) -> Arrival | None:
        """Return how a rumor came to this node; None if it holds no such rumor.

        Raises:
            MalformedRequest: it is no id.
        """
        core, driver = self._running()
        held = core.tracking.held(gid, _key_of(rumor_id))
        return None if held is None else arrival_of(held, driver.now())

    def arrivals(self, most: int) -> list[Arrival]:
        """Return how the latest rumors that this node holds came to it, the latest first; at most `most`."""
        core, driver = self._running()
        return [arrival_of(held, driver.now()) for held in core.tracking.latest(most)]

    def _running(self) -> tuple[GossipProtocol, ProtocolDriver]:
        if not self._agent.is_running:
            raise TemporarilyUnavailable("the node is stopping")
        return self._agent.gossip, self._agent.driver

    # ---- for the protocol

    def _deliver(self, rumor: Delivered) -> None:
        """Execute a rumor that has arrived: a plain function at once, any other in a new task."""
        if self.on_rumor is not None:
            self.on_rumor(rumor)
        if not self._agent.is_running:
            return
        size = len(rumor.payload) + _WAITING_BYTES
        try:
            if self._waiting_bytes and self._waiting_bytes + size > _MOST_WAITING_BYTES:
                raise TemporarilyUnavailable("too many rumors wait here to be carried out")
            call = self._received(call_in(rumor, self._codec, self._router.access))
            prepared = self._router.prepare(call, is_rumor=True)
            if prepared.method.is_stream:
                raise MalformedRequest("the method is a stream")
            value = prepared.begin() if prepared.method.is_sync else None
        except TrionetError as exc:
            self._fail(rumor, exc)
            return
        if not prepared.method.is_sync or is_awaitable(value):
            self._waiting_bytes += size
            self._nursery.start_soon(self._execute, rumor, prepared, value, size, name=f"rumor {rumor.id.hex()}")

    def _received(self, call: Call) -> Call:
        """Return a call whose arguments have been read, where they are code.

        Raises:
            NotPermitted: its principal may not make it.
            CodeRefused: code may not be read, or can't be.
        """
        if not any(type(arg) is SentCode for arg in (*call.args, *call.kwargs.values())):
            return call
        self._router.permitted(call)  # before its code is read
        purpose = purpose_of(call)
        args = [self._code.received(arg, purpose, origin=call.caller) for arg in call.args]
        kwargs = {name: self._code.received(arg, purpose, origin=call.caller) for name, arg in call.kwargs.items()}
        return msgspec.structs.replace(call, args=args, kwargs=kwargs)

    async def _execute(self, rumor: Delivered, prepared: PreparedCall, value: Any, size: int) -> None:
        try:
            async with self._limiter:
                prepared.started_at = trio.current_time()
                await prepared.finish(trio.CancelScope(), value)
        except TrionetError as exc:
            self._fail(rumor, exc)
            self._log_failures()
        finally:
            prepared.abandon()  # it may have been cancelled before its turn
            self._waiting_bytes -= size
            if inspect.iscoroutine(value):
                value.close()

    def _fail(self, rumor: Delivered, error: TrionetError) -> None:
        self.failed += 1
        self._failures.append((rumor, error))
        self._publish(RumorFailed(node=self._comm.own, id=rumor.id.hex(), gid=rumor.gid, error=str(error)))

    def _log_failures(self) -> None:
        """Log the rumors of one packet that have failed, in one line."""
        if self._failures:
            (rumor, error), more = self._failures[0], len(self._failures) - 1
            self._failures.clear()
            _log.warning(
                "the rumor %s of %s failed here: %s%s",
                rumor.id.hex(),
                rumor.gid,
                error,
                f"; so did {more:,} more that came with it" if more else "",
                extra=about(rumor.origin, node=self._comm.own, gid=rumor.gid, call_id=rumor.id.hex()),
            )


def _key_of(rumor_id: str) -> bytes:
    try:
        return bytes.fromhex(rumor_id)
    except ValueError:
        raise MalformedRequest(f"the id of a rumor has hex digits; this is {rumor_id!r:.80}") from None


def _group_not_found(gid: str, node: object) -> GroupNotFound:
    return GroupNotFound(
        f"{node} does not know the group {gid!r:.130}, and drops its rumors: put the group there, as "
        f"group.groups.put does on all members, or remove that node from it",
        node=node,
    )


_DELETE: Final = Remote(service="gossip", method="del")
