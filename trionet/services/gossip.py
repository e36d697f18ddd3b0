"""This node's part in gossip: rumors that it starts, passes on, and carries out; and its periodic tasks.

A rumor is a call that every live member of a group is to make to itself, once. Invariant: it is made at most once on
each node for one rumor, and what becomes of it does not hold up its way to others.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import MESSAGEPACK, register_type
from trionet.errors import (
    CallTimeout,
    DecodeError,
    KeyDoesNotExist,
    MalformedRequest,
    MessageTooLarge,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.events import RumorFailed
from trionet.log_limits import about, limited_log
from trionet.message import Call, Remote, check_args
from trionet.protocols.effects import Send
from trionet.replies import Spread
from trionet.router import is_awaitable
from trionet.user_code import pass_endings

from .base import rpc
from .periodic import PeriodicTask, PeriodicTasks, owner_of
from .plane import address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from random import Random

    from trionet.codec import Codec
    from trionet.events import Event
    from trionet.identity import NodeAddress
    from trionet.protocols.gossip import GossipProtocol
    from trionet.protocols.gossip_messages import Delivered
    from trionet.protocols.mux import Packet
    from trionet.router import PreparedCall, Router

    from .cluster import Cluster
    from .comm import Comm
    from .groups import Groups
    from .plane import Plane

__all__ = ["Gossip"]

_log = limited_log(__name__)

_MOST_AT_ONCE: Final = 256
_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
_WAITING_BYTES: Final = 1024
"""What a rumor that waits costs, besides its payload; so no more than 65,536 of them wait."""

_ASK_AGAIN_S: Final = 0.02
_ASK_LATEST_S: Final = 1.0
_HAND_OVER_S: Final = 5.0
"""A member that hangs must not hold up a send for long, nor a periodic one for ever."""

register_type(Spread, name="trionet:Spread")


class _Payload(msgspec.Struct, array_like=True):
    gid: str
    service: str
    method: str
    args: msgspec.Raw
    kwargs: msgspec.Raw


_decoder = msgspec.msgpack.Decoder(_Payload)


class Gossip:
    """The local service ``gossip``.

    Attributes:
        tasks_of_node: this node's periodic tasks.
        failed: how many rumors' calls have failed here.
        on_rumor: told of each rumor that comes, if set.
    """

    def __init__(
        self, router: Router, groups: Groups, comm: Comm, random: Random, publish: Callable[[Event], None]
    ) -> None:
        self.tasks_of_node: PeriodicTasks = PeriodicTasks(random, publish)
        self.failed: int = 0
        self.on_rumor: Callable[[Delivered], None] | None = None
        self._router = router
        self._groups = groups
        self._comm = comm
        self._publish = publish
        self._cluster: Cluster | None = None
        self._nursery: trio.Nursery | None = None
        self._limiter = trio.CapacityLimiter(_MOST_AT_ONCE)
        self._without_subset: set[str] = set()  # the groups whose function failed last
        self._waiting_bytes = 0
        self._failures: list[tuple[Delivered, TrionetError]] | None = None
        self._most_payload_bytes = 0
        self._codec: Codec = MESSAGEPACK

    def begin(self, cluster: Cluster, most_payload_bytes: int, max_containers: int) -> None:
        """Take what has the protocols, once the node's address is known; and how large a rumor may be."""
        self._cluster, self._most_payload_bytes = cluster, most_payload_bytes
        self._codec = MESSAGEPACK.limited(max_containers)

    def attach(self, nursery: trio.Nursery) -> None:
        """Carry out rumors and periodic tasks in `nursery`."""
        self._nursery = nursery
        self.tasks_of_node.attach(nursery)

    def detach(self) -> None:
        """Start nothing more."""
        self._nursery = None
        self.tasks_of_node.detach()

    @rpc
    async def tasks(self, gid: str | None = None) -> list[PeriodicTask]:
        """Return this node's periodic tasks: those that were made in one group, or all."""
        return self.tasks_of_node.list(gid)

    @rpc
    async def del_(self, task_id: str) -> bool:
        """Cancel a periodic task, a run in progress included, and wait until it has ended.

        Args:
            task_id: what `at` returned, on whichever node of the cluster.

        Returns:
            Whether there was such a task. An unknown id is no error, nor one whose owner is not known here.

        Raises:
            NodeUnreachable: its owner counts as a live member and can't be reached: the task may go on.
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
        """Start a rumor in `gid`, which is carried out here too if this node is a member.

        Returns:
            Its id, and the packets of its first hop, which the caller hands over.

        Raises:
            MalformedRequest: the arguments are no list, or the remote names a node, or no service or method.
            EncodeError: an argument can't travel.
            MessageTooLarge: they are over the limit of this node.
        """
        core, plane = self._running()
        checked = check_args(args)
        remote.check(with_node=False)
        raw = (msgspec.Raw(MESSAGEPACK.encode(part)) for part in (checked, dict(kwargs)))
        payload = _encoder.encode(_Payload(remote.gid, remote.service, remote.method, *raw))
        if len(payload) > self._most_payload_bytes:
            raise MessageTooLarge(
                f"a rumor of {len(payload):,} bytes is over the limit of {self._most_payload_bytes:,} bytes, "
                f"which follows from max_message_bytes"
            )
        sent = core.send(gid, payload, plane.now())
        plane.act([one for one in sent.effects if type(one) is not Send])
        first = [Send(one.to, one.message, is_reliable=True) for one in sent.effects if type(one) is Send]
        packets = plane.stack.packets(first, plane.now())
        return sent.id.hex(), {node: packet for packet in packets if (node := address_of(packet.to)) is not None}

    async def hand_over(self, node: NodeAddress, packet: Packet) -> bool:
        """Bring a packet of a first hop to `node`; True when it has it.

        Raises:
            TrionetError: it may not have it.
        """
        _, plane = self._running()
        try:
            with trio.move_on_after(_HAND_OVER_S):
                await plane.call(node, packet)
                return True
            raise CallTimeout(f"{node} has not taken the rumor within {_HAND_OVER_S:g} s")
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            plane.unreachable(packet.to)
            raise

    async def wait_spread(self, gid: str, rumor_id: str, fraction: float) -> Spread:
        """Wait until a rumor of this node is known to have come far enough; see `Receipt.wait_spread`."""
        if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
            raise MalformedRequest(f"fraction is more than 0 and at most 1, not {fraction!r:.40}")
        pause_s = _ASK_AGAIN_S
        while True:
            core, plane = self._running()
            found = core.tracking.spread(gid, bytes.fromhex(rumor_id))
            if found is None:
                raise KeyDoesNotExist(f"nothing is known of the rumor {rumor_id} any more")
            if found.estimated >= fraction * found.members:
                return Spread(known=found.confirmed, members=found.members, estimate=found.estimated)
            plane.act(core.tracking.query(gid, bytes.fromhex(rumor_id)))
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _ASK_LATEST_S)

    def _running(self) -> tuple[GossipProtocol, Plane]:
        if self._cluster is None or self._nursery is None:
            raise TemporarilyUnavailable("the node is stopping")
        return self._cluster.gossip, self._cluster.plane

    # ---- for the node

    def set_group(self, gid: str) -> None:
        """The group has begun, or has other members or another `subset`."""
        if self._cluster is not None and self._cluster.has_begun:
            self._set_group(self._cluster.gossip, gid, self._cluster.plane.now())

    def set_groups(self, core: GossipProtocol, now: float) -> None:
        """Tell a new core of the groups that there are."""
        for gid in self._groups.gids():
            self._set_group(core, gid, now)

    def _set_group(self, core: GossipProtocol, gid: str, now: float) -> None:
        changes = self._groups.take_changes(gid)
        try:
            if changes is not None and gid in core.groups() and gid not in self._without_subset:
                core.change_group(gid, map(str, changes.added), map(str, changes.removed))
                return
            self._without_subset.discard(gid)
            members = list(map(str, self._groups.members(gid).values()))
            core.set_group(gid, members, self._subset(gid), now=now)
        except BaseException as exc:
            pass_endings(exc)
            self._without_subset.add(gid)  # at the next change the function is asked again
            members = list(map(str, self._groups.members(gid).values()))
            _log.warning("the subset of group %s is left as the default", gid, exc_info=exc, extra=about(gid))
            core.set_group(gid, members, now=now)

    def _subset(self, gid: str) -> int | Callable[[object], int] | None:
        """Return the group's `subset` for the core, which has names where the user's function gets SIDs."""
        asked, groups = self._groups.asked_subset(gid), self._groups
        return (lambda _: asked(list(groups.members(gid)))) if callable(asked) else asked

    def drop_group(self, gid: str) -> None:
        """The group has ended, and with it its periodic tasks."""
        self._without_subset.discard(gid)
        self.tasks_of_node.cancel_group(gid)
        if self._cluster is not None and self._cluster.has_begun:
            self._cluster.gossip.drop_group(gid)

    # ---- for the plane

    def deliver(self, rumor: Delivered) -> None:
        """Carry out a rumor that has come: a plain function on the spot, anything else in a task of its own."""
        if self.on_rumor is not None:
            self.on_rumor(rumor)
        if self._nursery is None:
            return
        size = len(rumor.payload) + _WAITING_BYTES
        try:
            if self._waiting_bytes and self._waiting_bytes + size > _MOST_WAITING_BYTES:
                raise TemporarilyUnavailable("too many rumors wait here to be carried out")
            prepared = self._router.prepare(_call_of(rumor, self._codec))
            if prepared.method.is_stream:
                raise MalformedRequest("the method is a stream")
            value = prepared.begin() if prepared.method.is_sync else None
        except TrionetError as exc:
            self._fail(rumor, exc)
            return
        if not prepared.method.is_sync or is_awaitable(value):
            self._waiting_bytes += size
            self._nursery.start_soon(self._carry_out, rumor, prepared, value, size, name=f"rumor {rumor.id.hex()}")

    async def _carry_out(self, rumor: Delivered, prepared: PreparedCall, value: Any, size: int) -> None:
        try:
            async with self._limiter:
                await prepared.finish(trio.CancelScope(), value)
        except TrionetError as exc:
            self._fail(rumor, exc)
        finally:
            self._waiting_bytes -= size
            if inspect.iscoroutine(value):
                value.close()  # where it was cancelled before its turn

    @contextmanager
    def gathered(self) -> Generator[None]:
        """Log the rumors that fail at once within the block in one line: they came in one packet."""
        if self._failures is not None:
            yield
            return
        self._failures = []
        try:
            yield
        finally:
            failures, self._failures = self._failures, None
            if failures:
                rumor, error = failures[0]
                _log_failure(rumor, error, len(failures) - 1)

    def _fail(self, rumor: Delivered, error: TrionetError) -> None:
        self.failed += 1
        if self._failures is None:
            _log_failure(rumor, error, 0)
        else:
            self._failures.append((rumor, error))
        self._publish(RumorFailed(node=self._comm.own, id=rumor.id.hex(), gid=rumor.gid, error=str(error)))


def _log_failure(rumor: Delivered, error: TrionetError, more: int) -> None:
    others = f"; so did {more:,} more that came with it" if more else ""
    _log.warning(
        "the rumor %s of %s failed here: %s%s", rumor.id.hex(), rumor.gid, error, others, extra=about(rumor.origin)
    )


def _call_of(rumor: Delivered, codec: Codec) -> Call:
    """Return the call that a rumor carries.

    Raises:
        DecodeError: it carries none.
    """
    try:
        payload = _decoder.decode(rumor.payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise DecodeError(f"not a call: {exc}") from exc
    args, kwargs = codec.decode(bytes(payload.args)), codec.decode(bytes(payload.kwargs))
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise DecodeError("not a call: its arguments are no list and mapping")
    caller = address_of(rumor.origin)
    return Call(payload.gid, payload.service, payload.method, args, kwargs, rumor.id.hex(), caller, None)


_encoder = msgspec.msgpack.Encoder()
_DELETE: Final = Remote(service="gossip", method="del")
