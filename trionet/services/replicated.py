"""The replicated maps of this node's groups: what those who come late have to know, too.

Settings, kept routes and groups by rule are entries of one map for each group, told apart by the beginnings of their
keys: ``setting/NAME``, ``route/NAME``, ``group/GID``. `protocols/entries.py` has the rules by which maps agree.

Invariant: each change of a map is passed on once, in the order in which the changes hold on this node, and a handler
that raises stops no other. A node that has left its cluster has no maps: when it joins one again, it has those of that
cluster, and brings nothing along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trionet.errors import Abort, DecodeError, GroupNotFound, MalformedRequest, MessageTooLarge, TemporarilyUnavailable
from trionet.log_limits import about, limited_log
from trionet.protocols.entries import EntriesFull, Entry, EntryChanged, EntryConflict, is_valid, is_valid_key
from trionet.protocols.hybrid_time import StampsUsedUp
from trionet.user_code import pass_endings

from .cluster_agent import ClusterLeft, LifeBegun

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress
    from trionet.protocols.effects import Effect
    from trionet.protocols.gossip import GossipProtocol
    from trionet.protocols.mux import Packet

    from .cluster_agent import ClusterAgent
    from .membership import Membership

__all__ = ["Replicated", "Written", "decode_entry", "encode_entry"]

_log = limited_log(__name__)
_decoder = msgspec.msgpack.Decoder(Entry)
_encoder = msgspec.msgpack.Encoder()


def encode_entry(entry: Entry) -> bytes:
    """Return an entry for `Replicated.merge` on another node."""
    return _encoder.encode(entry)


def decode_entry(encoded: bytes) -> Entry:
    """Return the entry that another node has encoded.

    Raises:
        DecodeError: it is no entry that a node can write.
    """
    try:
        entry = _decoder.decode(encoded)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as exc:
        raise DecodeError(f"not an entry: {exc}") from exc
    if not is_valid(entry):
        raise DecodeError("not an entry that a node can write")
    return entry


class Written(NamedTuple):
    """The result of a put.

    Attributes:
        id: the entry's id, in hex; `Gossip.wait_spread` follows its spread.
        encoded: the entry, for `Replicated.merge` on another node.
    """

    id: str
    encoded: bytes


class Replicated:
    """The replicated maps of one node."""

    def __init__(self, agent: ClusterAgent, membership: Membership) -> None:
        self._agent = agent
        self._membership = membership
        self._changed: dict[str, Callable[[EntryChanged], None]] = {}
        self._in_conflict: dict[str, Callable[[EntryConflict], None]] = {}
        self._left: list[Callable[[], None]] = []
        self._forgotten: list[Callable[[], None]] = []
        agent.on(EntryChanged, self._handle_change)
        agent.on(EntryConflict, self._handle_conflict)
        agent.on(ClusterLeft, self._handle_left)
        agent.on(LifeBegun, self._handle_forgotten)

    @property
    def is_active(self) -> bool:
        """Whether this node belongs to a cluster, and so has maps."""
        return self._agent.is_running and self._membership.is_active

    def on(self, prefix: str, handler: Callable[[EntryChanged], None]) -> None:
        """Call ``handler(event)`` with each change of an entry whose key begins with `prefix`, on this node or not.

        The event's entry holds now; a ``value`` of None has removed the key. A deleted group has no such event.
        """
        self._changed[prefix] = handler

    def on_conflict(self, prefix: str, handler: Callable[[EntryConflict], None]) -> None:
        """Call ``handler(event)`` with each conflict about a key that begins with `prefix`."""
        self._in_conflict[prefix] = handler

    def on_left(self, handler: Callable[[], None]) -> None:
        """Call ``handler()`` when this node has left its cluster, and so has no maps."""
        self._left.append(handler)

    def on_forgotten(self, handler: Callable[[], None]) -> None:
        """Call ``handler()`` when this node joins a cluster again, and all maps begin empty."""
        self._forgotten.append(handler)

    def clear(self) -> None:
        """Remove all handlers."""
        for handlers in (self._changed, self._in_conflict, self._left, self._forgotten):
            handlers.clear()

    def put(self, gid: str, key: str, value: bytes | None) -> Written:
        """Write an entry, which spreads by itself; None removes the key.

        Raises:
            ConfigError: this node belongs to no cluster.
            GroupNotFound: it knows no such group.
            MalformedRequest: the key is empty, or too long.
            MessageTooLarge: the map or the value would be over a bound.
            TemporarilyUnavailable: the node is stopping.
        """
        written, effects = self._put(gid, key, value)
        self._agent.driver.act(effects)
        return written

    def begin_put(self, gid: str, key: str, value: bytes | None) -> tuple[Written, dict[NodeAddress, Packet]]:
        """Do the same as `put`, and return the packets of the first hop, for `Gossip.hand_over`."""
        written, effects = self._put(gid, key, value)
        return written, self._agent.first_hop(effects)

    def merge(self, encoded: bytes) -> None:
        """Hold an entry of another node, the `Written.encoded` there, which came by a call.

        Raises:
            ConfigError: this node belongs to no cluster.
            GroupNotFound: it knows no such group.
            DecodeError: it is no entry that a node can write.
        """
        self._check_usable()
        entry = decode_entry(encoded)
        driver = self._agent.driver
        driver.act(self._core(entry.gid).merge(entry, driver.now()))

    def get(self, gid: str, key: str) -> Entry | None:
        """Return the entry of a key; None if there is none, or it is removed.

        Raises:
            ConfigError: this node belongs to no cluster.
            GroupNotFound: it knows no such group.
        """
        return self._core(gid).entry(gid, key)

    def items(self, gid: str, prefix: str) -> dict[str, Entry]:
        """Return the entries whose keys begin with `prefix`, less the removed ones, in the order of their keys.

        Raises:
            ConfigError: this node belongs to no cluster.
            GroupNotFound: it knows no such group.
        """
        return {entry.key: entry for entry in self._core(gid).entries(gid) if entry.key.startswith(prefix)}

    def _put(self, gid: str, key: str, value: bytes | None) -> tuple[Written, list[Effect]]:
        self._core(gid)
        if not is_valid_key(key):
            raise MalformedRequest(f"the key {key!r:.80} is empty, or too long")
        try:
            put = self._agent.put_entry(gid, key, value)
        except EntriesFull as exc:
            raise MessageTooLarge(f"the replicated map of group {gid!r:.130} is full: {exc}") from exc
        except StampsUsedUp as exc:
            raise Abort(
                f"no entry can be written in group {gid!r:.130} any more: a node has written one at the end of time. "
                f"Set the clocks of all nodes, and restart all of them at once"
            ) from exc
        return Written(put.id.hex(), _encoder.encode(put.entry)), put.effects

    def _check_usable(self) -> None:
        if not self._agent.is_running:
            raise TemporarilyUnavailable("the node is stopping")
        self._membership.check_active()

    def _core(self, gid: str) -> GossipProtocol:
        """Return the protocol, if it knows the group."""
        self._check_usable()
        core = self._agent.gossip
        if not core.has_group(gid):
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        return core

    def _handle_left(self, _: ClusterLeft) -> None:
        for handler in self._left:
            handler()

    def _handle_forgotten(self, _: LifeBegun) -> None:
        for handler in self._forgotten:
            handler()

    def _handle_change(self, event: EntryChanged) -> None:
        _call(self._changed, event.entry.key, event)

    def _handle_conflict(self, event: EntryConflict) -> None:
        _call(self._in_conflict, event.key, event)


def _call(handlers: dict[str, Callable[[Any], None]], key: str, event: EntryChanged | EntryConflict) -> None:
    for prefix, handler in handlers.items():
        if key.startswith(prefix):
            try:
                handler(event)
            except BaseException as exc:
                pass_endings(exc)
                _log.exception(
                    "the change of %r in group %s could not be handled",
                    key,
                    event.gid,
                    extra=about(event.gid, gid=event.gid, key=key),
                )
