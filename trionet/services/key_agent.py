"""A node's part in the rotation of its cluster's keys: its ring, its key file, and what it tells and hears of others.

Invariants: the keys that the node uses are those of the ring. What the ring holds is written as soon as it can be;
until then it is volatile, and said to be. Nothing is sent while no rotation goes on and no peer uses another key.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import ConfigError
from trionet.identity import NodeAddress, is_loopback
from trionet.log_limits import about, limited_log
from trionet.security.key_records import KeyRecords
from trionet.security.key_ring import NO_RECORDS, KeyRing

from .key_exchange import KeyExchange
from .key_store import KeyStore
from .met_members import may_return

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from random import Random

    from trionet.security.node_keys import NodeKeys
    from trionet.transports.base import Endpoint

__all__ = ["KeyAgent"]

_log = limited_log(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_ANEW_S: Final = 10.0
"""A peer with another key is told of the change at most so often."""

_MOST_TOLD: Final = 4096
_PLAIN: Final = b""
"""The key id of plain links."""


class KeyAgent:
    """The keys of one node that has some.

    Attributes:
        ring: what it holds and knows.
        exchange: its exchange of news.
        fault: why the key file can't be written; empty if it can.
        partners: nodes that are asked, too, whether they are members or not: its spawner and its children.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        keys: NodeKeys,
        known: Callable[[], Collection[NodeAddress]],
        nursery: trio.Nursery,
        random: Random,
    ) -> None:
        """Rotate the keys of an endpoint.

        Args:
            endpoint: the node's; it has links.
            keys: its keys now.
            known: returns the present members.
            nursery: for tasks.
            random: random numbers.
        """
        links, records = endpoint.links, KeyRecords.of(keys.file)
        assert links is not None
        self._own = endpoint.address
        self._live = endpoint.keys
        self._links = links
        self._known = known
        self._nursery = nursery
        self._random = random
        self._clock = endpoint.clock
        is_given, life = keys.giver is not None, endpoint.clock.unix_time()
        self._store = KeyStore(keys.path, is_given=is_given, members={*records.members} - {str(self._own)})
        self.ring: KeyRing = KeyRing(str(self._own), records, life=life, is_given=is_given)
        self.fault: str = ""
        if not self._store.is_lasting:
            self.ring.note_written(NO_RECORDS)
            self.fault = "this node has no key file"
        self.partners: set[NodeAddress] = _reachable(keys.giver, self._own)
        changed = partial(KeyAgent.handle_change, weakref.proxy(self))  # a cycle would outlive the node
        self.exchange: KeyExchange = KeyExchange(self._own, links, self.ring, random, changed)
        self._told: dict[NodeAddress, float] = {}
        self._woken = trio.Event()
        self._is_settling = self._is_closed = False
        links.on_other_key = partial(KeyAgent.handle_other_key, weakref.proxy(self))

    def close(self) -> None:
        """Tell and ask nothing more."""
        self._is_closed = True
        self._links.on_other_key = _ignore
        self._woken.set()

    # ---- members

    def present(self) -> frozenset[str]:
        """Return the names of those whose confirmation counts, this node included."""
        return frozenset(str(node) for node in self.present_nodes())

    def present_nodes(self) -> set[NodeAddress]:
        """Return their addresses."""
        return {*self._known(), *self.partners, self._own}

    def handle_members(self) -> None:
        """Handle a change of the members."""
        self.ring.note_members(self.present())
        self._go_on()

    def handle_left(self, node: NodeAddress) -> None:
        """Handle a member that has left; one that can't come back is not waited for."""
        if not may_return(node) and self.ring.reports.get(str(node)) is None:
            self.ring.forget_member(str(node))
            self._go_on()

    def add_child(self, node: NodeAddress) -> None:
        """Handle a child that has booted: it gets the keys at each of its starts."""
        self.partners.add(node)
        self.ring.note_given(str(node))

    def discard(self, node: NodeAddress) -> None:
        """Handle a child that has ended, or a member that is gone for good: nothing waits for it."""
        self.partners.discard(node)
        self.ring.forget_member(str(node))
        self._go_on()

    async def gather(self) -> None:
        """Exchange news with all present members."""
        self.ring.note_members(self.present())
        await self.exchange.with_all(self.present_nodes())

    # ---- changes

    async def handle_change(self) -> None:
        """Handle a change of the ring: use its keys, and write them."""
        self._use_ring()
        self.wake()  # a caller that gives up ends only this attempt
        await self.write()
        self._forget()
        self.wake()

    def _use_ring(self) -> None:
        now = self._live.now
        assert now is not None
        try:
            file = self.ring.records().file()
        except ConfigError:
            _log.error(
                "node %s holds no key any more with which it may seal: install the new one by file",
                self._own,
                extra=self._about(),
            )
            return
        if (file.entries, file.rollout) == (now.file.entries, now.file.rollout):
            return
        new = now.replaced(file)
        if new.sealing.key_id != now.sealing.key_id:
            name = new.sealing.key_id.hex()
            _log.info("node %s seals with the key %s from now on", self._own, name, extra=self._about(key_id=name))
        self._live.replace(new)
        replaced = (new.retired - now.retired) | (now.opening.keys() - new.opening.keys())
        if new.rollout != now.rollout:
            _log.info("node %s has %s from now on", self._own, new.rollout, extra=self._about())
            if new.rollout.is_protected:
                replaced |= {_PLAIN}
        for key_id in sorted(replaced):
            if not self._is_closed:
                # Each has its own time: a link of a key that is retired later has later calls.
                self._nursery.start_soon(self._replace_links, key_id)

    async def _replace_links(self, key_id: bytes) -> None:
        await self._links.replace_links(key_id)
        if key_id == _PLAIN:
            self._live.hears_plain = False

    async def write(self) -> None:
        """Have the key file hold what the ring does."""
        ring = self.ring
        while self._store.is_lasting and not ring.is_written:
            records = ring.records()
            try:
                content = await self._store.save(records)
            except ConfigError as exc:
                if not self.fault and ring.has_rotated:
                    _log.warning(
                        "node %s can't keep its keys, and a restart would lose the new ones: %s",
                        self._own,
                        exc.text,
                        extra=self._about(),
                    )
                self.fault = exc.text
                return
            self.fault = ""
            ring.note_written(records)
            if ring.keys.reload(content.entries):  # others share the file
                self._use_ring()
        ring.report()

    def _forget(self) -> None:
        forgotten = self.ring.forget_retired(self.present())
        if forgotten:
            names = ", ".join(one.hex() for one in forgotten)
            _log.info("node %s has forgotten the retired keys %s", self._own, names, extra=self._about(key_id=names))
            self._use_ring()

    async def reload(self) -> None:
        """Read the key file again, and take what is new in it.

        Raises:
            ConfigError: it can't be read; the text says why.
        """
        if self._store.is_given:
            return  # its spawner reads the file
        content = await self._store.load()
        keys = self.ring.keys
        before = frozenset(keys)
        is_new = self.ring.reach(content.rollout)
        if keys.reload(content.entries) or is_new:
            for key_id in sorted(keys.dialing):
                if key_id not in before:
                    name = key_id.hex()
                    _log.info(
                        "node %s has installed the key %s from its file",
                        self._own,
                        name,
                        extra=self._about(key_id=name),
                    )
            await self.handle_change()

    def _about(self, **fields: object) -> dict[str, object]:
        """Return the fields of a line in the log."""
        return {**about(self._own, node=self._own), **fields}

    # ---- until all agree

    def handle_other_key(self, node: NodeAddress, _: bytes) -> None:
        """Handle a peer that uses another key than this node: one of the two has missed a change."""
        now = self._clock.now()
        if self._is_closed or now - self._told.get(node, -_ANEW_S) < _ANEW_S:
            return
        self._told.pop(node, None)
        self._told[node] = now
        if len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._nursery.start_soon(self._tell, node)

    async def _tell(self, node: NodeAddress) -> None:
        if not await self.exchange.with_one(node):
            self._told.pop(node, None)

    def wake(self) -> None:
        """Go on until all present members agree, in a task."""
        self._woken.set()
        self._go_on()

    def _go_on(self) -> None:
        if not (self._is_settling or self._is_closed or self._is_settled):
            self._is_settling = True
            self._nursery.start_soon(self._settle)

    @property
    def _is_settled(self) -> bool:
        ring = self.ring
        is_closing = len(ring.keys.opening) > len(ring.keys.dialing)
        return self._is_kept_well and not (is_closing or self._lagging() or ring.keys.wanted())

    @property
    def _is_kept_well(self) -> bool:
        """Whether the key file needs no other attempt; without a rotation only the names of members are new in it."""
        ring = self.ring
        return ring.is_written or not self._store.is_lasting or (bool(self.fault) and not ring.has_rotated)

    def _lagging(self) -> list[str]:
        return self.ring.lagging(self.present()) if self.ring.is_rotating else []

    async def _settle(self) -> None:
        pause_s = _FIRST_PAUSE_S
        try:
            while not (self._is_closed or self._is_settled):
                self._woken = trio.Event()
                with trio.move_on_after(pause_s * self._random.uniform(0.5, 1.5)):
                    await self._woken.wait()
                    pause_s = _FIRST_PAUSE_S / 2
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                await self.write()
                self._forget()
                await self._ask_one()
        finally:
            self._is_settling = False

    async def _ask_one(self) -> None:
        if not self.ring.is_rotating:
            return
        lagging = self._lagging()
        others = [NodeAddress.of(name) for name in lagging] or sorted(self.present_nodes() - {self._own})
        if others:
            node = self._random.choice(others)
            if not await self.exchange.with_one(node):
                _log.debug("%s has not answered", node, extra=about(node))


def _ignore(_: NodeAddress, __: bytes) -> None: ...


def _reachable(giver: str | None, own: NodeAddress) -> set[NodeAddress]:
    """Return the address of a spawner, unless it is one of another machine's loopback."""
    if not giver:
        return set()
    node = NodeAddress.of(giver)
    return set() if is_loopback(node.ip) and not is_loopback(own.ip) else {node}
