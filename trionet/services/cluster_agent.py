"""A node's part in its cluster: its protocols, with their driver, and their events for the services.

Invariant: while a node runs, others can join it at any time, and gossip in groups needs no cluster. The protocols begin
at their first use, by this node or another: many nodes only answer calls, and pay for nothing else.
"""

from __future__ import annotations

import secrets
import weakref
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar

from trionet.current_call import answered_call
from trionet.profiles import PROFILES
from trionet.protocols.border import Border, SenderRefused, SenderUnreachable
from trionet.protocols.effects import Send
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import UnknownGroup
from trionet.protocols.gossip_settings import settings_for
from trionet.protocols.mux import DATAGRAM_BYTES, ProtocolMux
from trionet.protocols.packets import sender_of
from trionet.protocols.proofs import Proofs
from trionet.protocols.swim import Swim
from trionet.protocols.swim_settings import SwimCounts, SwimOptions

from . import loopback
from .dial_back import DialBack
from .group_sync import GroupSync
from .missed_changes import MissedChanges
from .packet_answer import PacketAnswer
from .protocol_driver import ProtocolDriver, address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import trio

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.protocols.effects import Effect
    from trionet.protocols.entries import Put
    from trionet.protocols.mux import Packet
    from trionet.security.datagram_opener import RefusalCounts
    from trionet.transports.base import Endpoint
    from trionet.transports.datagrams import Datagrams

    from .comm import Comm
    from .departures import Departures
    from .groups import Groups
    from .sealed_traffic import SealedTraffic

__all__ = ["ClusterAgent", "ClusterLeft", "LifeBegun", "warm_up"]

E = TypeVar("E")

_BOOT_ID_BITS: Final = 63
_LIFE_BITS: Final = 64
_SECRET_BYTES: Final = 16


def warm_up() -> None:
    """Do now, once for this process, the one-time work of the first protocols."""
    random = Random(0)  # noqa: S311  nothing follows from it
    mux = ProtocolMux("", [Swim("a", PROFILES["lan"], random, 0.0, boot_id=1), GossipProtocol("a", random)])
    mux.receive_bytes(b"", 0.0)


class ClusterLeft:
    """This node has left its cluster."""


class LifeBegun:
    """This node, which has left its cluster, joins one again: another life, without the entries of the one before."""


class ClusterAgent:
    """The protocols of one node; the services `membership` and `gossip` use them.

    Attributes:
        config: the node's settings.
        seeks: whom the node is to join by its configuration, while it has joined none of them.
        is_running: whether the protocols run, or can begin.
        missed_changes: tells members that have returned of the changes that they missed.
        dial_back: checks the addresses of nodes that join by this one.
    """

    def __init__(
        self,
        config: NodeConfig,
        endpoint: Endpoint,
        comm: Comm,
        groups: Groups,
        nursery: trio.Nursery,
        random: Random,
    ) -> None:
        """Receive the endpoint's datagrams from now on, with tasks in `nursery`."""
        self._address, self._own = endpoint.address, str(endpoint.address)
        self.config: NodeConfig = config
        self.seeks: tuple[str, ...] = ()
        self._comm = comm
        self._groups = groups
        self._group_sync = GroupSync(groups)
        self._clock = endpoint.clock
        self._random = random
        self._sealed = self._sealed_traffic(endpoint)
        self._datagrams: Datagrams | None = self._sealed or endpoint.datagrams
        self._nursery = nursery
        endpoint.set_members(partial(ClusterAgent._is_member, weakref.proxy(self)))
        self._handlers: dict[type[Any], Callable[[Any], None]] = {}
        self._batch_handlers: list[Callable[[], None]] = []
        self.is_running: bool = True
        self.missed_changes: MissedChanges = MissedChanges(groups.absences, comm, nursery, random)
        self.dial_back: DialBack = DialBack(endpoint, comm, nursery)
        self._parts: tuple[Swim, GossipProtocol, ProtocolDriver] | None = None
        self._past = SwimCounts()  # of earlier lives
        # Never from `random`, whose numbers are predictable. All tokens have one length, so that they do not affect the
        # course of a simulation.
        # With keys, links and sealed datagrams prove their senders.
        is_proven = bool(endpoint.keys) and not endpoint.keys.is_rolling
        self._proofs = None if is_proven else Proofs(secrets.token_bytes(_SECRET_BYTES))
        self._exchange_proofs(endpoint)
        # The same for all its life, so that a mixed cluster can't come about.
        self._border: Border | None = None
        if endpoint.has_real_address:
            self._border = Border(partial(loopback.separates, endpoint.address), frozenset(Swim.messages))
        if self._datagrams is not None:
            nursery.start_soon(self._datagrams.serve, self._receive_datagram)

    def _exchange_proofs(self, endpoint: Endpoint) -> None:
        """Let sealed links prove the senders of datagrams, and sealed datagrams, in a rollout, those of plain ones."""
        if self._sealed is None:
            return
        endpoint.set_lives(self._sealed)
        if self._proofs is not None:
            self._sealed.on_opened = partial(ClusterAgent._prove_sender, weakref.proxy(self))

    def _is_member(self, node: NodeAddress) -> bool:
        return self._parts is not None and self._parts[0].member(str(node)) is not None

    @property
    def has_begun(self) -> bool:
        """Whether the protocols have begun."""
        return self._parts is not None

    @property
    def swim(self) -> Swim:
        """The protocol of membership."""
        return self._all()[0]

    @property
    def gossip(self) -> GossipProtocol:
        """The protocol of gossip."""
        return self._all()[1]

    @property
    def driver(self) -> ProtocolDriver:
        """The driver of the protocols."""
        return self._all()[2]

    def on(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """Call ``handler(event)`` with each event of this type from the protocols."""
        self._handlers[kind] = handler

    def on_batch_end(self, handler: Callable[[], None]) -> None:
        """Call ``handler()`` after the events of each packet or timer."""
        self._batch_handlers.append(handler)

    @property
    def departures(self) -> Departures:
        """The members whose failure or leave calls handle."""
        return self._comm.departures

    def _all(self) -> tuple[Swim, GossipProtocol, ProtocolDriver]:
        if self._parts is None:
            core = GossipProtocol(self._own, self._random, settings_for(PROFILES[self.config.profile]))
            # Only a hint: after a restart with an earlier clock, the other members report the number to exceed.
            swim = self._new_swim(self._clock.unix_time(), self.config.tags)
            handle = partial(ClusterAgent._handle_events, weakref.proxy(self))  # a cycle would outlive the node
            mux = self._new_mux(swim, core)
            driver = ProtocolDriver(mux, self._comm, self._datagrams, self._clock, self._nursery, handle)
            core.set_wall(self._clock.wall_ms(), driver.now())
            if not self.is_running:
                driver.close()
            self._parts = swim, core, driver
            for gid in self._groups.gids():
                self._group_sync.update(core, gid, driver.now())
            driver.act(())
        return self._parts

    def _new_swim(self, incarnation: int, tags: Mapping[str, str]) -> Swim:
        options = SwimOptions(has_objects=False)
        if self._border is not None:
            options = SwimOptions(has_objects=False, is_barred=self._border.separates)
        return Swim(
            self._own,
            PROFILES[self.config.profile],
            self._random,
            self._clock.now(),
            incarnation=incarnation,
            boot_id=self._random.getrandbits(_BOOT_ID_BITS),
            tags=tags,
            options=options,
        )

    def _new_mux(self, swim: Swim, core: GossipProtocol) -> ProtocolMux:
        packet_bytes = DATAGRAM_BYTES if self._sealed is None else self._sealed.packet_bytes
        traffic = None if self._parts is None else self.driver.mux.traffic
        return ProtocolMux(
            self._own,
            [swim, core],
            packet_bytes=packet_bytes,
            proofs=self._proofs,
            border=self._border,
            traffic=traffic,
        )

    def _sealed_traffic(self, endpoint: Endpoint) -> SealedTraffic | None:
        """Return the layer that seals the endpoint's datagrams; None without keys, or without datagrams."""
        if not (endpoint.keys or endpoint.keys.is_rolling) or endpoint.datagrams is None:
            return None
        from .sealed_traffic import SealedTraffic  # it needs the extra `secure`

        # Where other machines can hear it, no boot id may ever come a second time: its nonces would, too.
        boot_ids = secrets.randbits if endpoint.has_real_address else self._random.getrandbits
        now, new_boot_id = self._clock.now, partial(boot_ids, _LIFE_BITS)
        return SealedTraffic(endpoint.datagrams, endpoint.keys, endpoint.address, now, new_boot_id)

    @property
    def has_datagrams(self) -> bool:
        """Whether the node sends datagrams."""
        return self._datagrams is not None

    @property
    def datagram_refusals(self) -> RefusalCounts | None:
        """Counts of the datagrams that were refused; None where they are not sealed."""
        return None if self._sealed is None else self._sealed.refusals

    @property
    def datagrams_refused(self) -> int:
        """The number of datagrams that did not open: neither duplicates nor those of unproven senders."""
        counts = self.datagram_refusals
        return 0 if counts is None else counts.malformed + counts.unknown_key + counts.forged

    @property
    def datagrams_replayed(self) -> int:
        """See `NodeStatistics.datagrams_replayed`."""
        return 0 if self._sealed is None else self._sealed.replayed

    def swim_counts(self) -> SwimCounts:
        """Return the counts of membership, those of earlier lives included."""
        counts = SwimCounts()
        counts.add(self._past)
        if self._parts is not None:
            counts.add(self.swim.counts)
        return counts

    def on_other_key(self, handler: Callable[[NodeAddress, bytes], None]) -> None:
        """Call ``handler(node, key_id)`` with each member whose datagrams another key seals than this node's."""
        if self._sealed is not None:
            self._sealed.on_other_key = handler

    def forget(self, name: str) -> None:
        """Handle that the node `name` is no member any more."""
        if self._sealed is not None:
            self._sealed.forget(name)

    def renew(self) -> None:
        """Replace the membership protocol, which has left, by a new one, and forget the entries of its cluster."""
        if self._sealed is not None:
            self._sealed.renew()
        old, core, driver = self._all()
        swim = self._new_swim(old.own.incarnation + 1, old.own.tags)
        self._past.add(old.counts)
        driver.mux = self._new_mux(swim, core)
        core.forget_entries(driver.now())
        self._parts = swim, core, driver
        self.emit(LifeBegun())

    def emit(self, event: object) -> None:
        """Call the handler of an event that is not the protocols'."""
        if handler := self._handlers.get(type(event)):
            handler(event)

    def update_group(self, gid: str) -> None:
        """Handle a new group, or one with other members or another `subset`."""
        if self._parts is not None:
            self._group_sync.update(self.gossip, gid, self.driver.now())

    def drop_group(self, gid: str) -> None:
        """Handle the end of a group."""
        self._group_sync.drop(gid)
        if self._parts is not None:
            self.gossip.drop_group(gid)

    def put_entry(self, gid: str, key: str, value: bytes | None) -> Put:
        """Write an entry of a group's replicated map; see `GossipProtocol.put`."""
        return self.gossip.put(gid, key, value, self.driver.now(), self._clock.wall_ms())

    def first_hop(self, effects: Sequence[Effect]) -> dict[NodeAddress, Packet]:
        """Carry out effects, except that the packets of their messages are returned, to be sent by calls."""
        driver = self.driver
        driver.act([one for one in effects if type(one) is not Send])
        first = [Send(one.to, one.message, is_reliable=True) for one in effects if type(one) is Send]
        packets = driver.mux.packets(first, driver.now())
        return {node: packet for packet in packets if (node := address_of(packet.to)) is not None}

    def close(self) -> None:
        """Receive nothing more, and start no more tasks."""
        self.is_running = False
        if self._parts is not None:
            self.driver.close()

    def clear(self) -> None:
        """Remove all handlers."""
        self._handlers.clear()
        self._batch_handlers.clear()

    def _handle_events(self, events: list[Any]) -> None:
        if events:
            with self._groups.batch():
                for event in events:
                    self.emit(event)
        for end in self._batch_handlers:
            end()

    def _prove_sender(self, packet: bytes) -> None:
        """Take the seal of a packet or a link as the proof that plain senders give by echoes."""
        name, proofs = sender_of(packet), self._proofs
        if name and proofs is not None:
            proofs.accept_echo(name, proofs.token(name), self.driver.now())

    def receive_call(self, data: bytes) -> PacketAnswer:
        """Handle a packet that came by the call which is being answered, and return the answer."""
        answered = None if self._proofs is None else answered_call()
        call = None if answered is None else answered.current()
        if call is not None and call.key_id and sender_of(data) == str(call.caller):  # a forwarded one differs
            self._prove_sender(data)
        events = self.driver.receive(data)
        unknown_groups = dict.fromkeys(event.gid for event in events if type(event) is UnknownGroup)
        return PacketAnswer(
            node=self._address,
            unknown_groups=tuple(unknown_groups),
            refused_by=self._own if any(type(event) is SenderRefused for event in events) else "",
            unreachable=next((event.name for event in events if type(event) is SenderUnreachable), ""),
        )

    def _receive_datagram(self, data: bytes) -> None:
        (self._parts or self._all())[2].receive(data, is_reliable=False)
