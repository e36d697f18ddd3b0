"""A node's part in its cluster: its protocols, put together, joined, and kept running.

Invariant: while a node runs, others can join it at any time, and gossip in groups needs no cluster. The protocols begin
when they are first needed, by this node or another: many nodes are only called, and shall pay for nothing else.
"""

from __future__ import annotations

import secrets
import time
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import MalformedRequest, TemporarilyUnavailable
from trionet.identity import NodeAddress
from trionet.log_limits import limited_log
from trionet.profiles import PROFILES
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import Delivered
from trionet.protocols.gossip_settings import settings_for
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.proofs import Proofs
from trionet.protocols.swim import Swim
from trionet.transports.datagrams import QueuedDatagrams

from .plane import Plane

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from trionet.config import NodeConfig
    from trionet.transports.base import Clock
    from trionet.transports.datagrams import Datagrams

    from . import LocalServices

__all__ = ["Cluster", "warm_up"]

_log = limited_log(__name__)

_BOOT_ID_BITS: Final = 63
_HEAD_BYTES: Final = 1024
_SECRET_BYTES: Final = 16


def warm_up() -> None:
    """Do now, once for this process, what beginning the first protocols would do."""
    random = Random(0)
    stack = ProtocolMux("", [Swim("a", PROFILES["lan"], random, 0.0, boot_id=1), GossipProtocol("a", random)])
    stack.receive_bytes(b"", 0.0)


def _most_payload_bytes(config: NodeConfig) -> int:
    """Return how long a rumor may be, so that what carries it is no message over the limit; JSON has base64."""
    limit = config.max_message_bytes
    return max(0, (limit if config.transport == "link" else limit * 3 // 4) - _HEAD_BYTES)


class Cluster:
    """The protocols of one node, and the services that speak for them."""

    def __init__(
        self,
        own: NodeAddress,
        config: NodeConfig,
        local: LocalServices,
        datagrams: Datagrams | None,
        random: Random,
        *,
        clock: Clock | None = None,
    ) -> None:
        """Be there for the services of `local` that use the protocols."""
        self._own = own
        self._config = config
        self._local = local
        self._datagrams = datagrams
        self._random = random
        self._clock = clock
        self._nursery: trio.Nursery | None = None
        self._parts: tuple[Swim, GossipProtocol, Plane] | None = None
        # Never of `random`, whose numbers others can calculate from those that they have seen. All tokens are of one
        # length, so that a simulation takes its course whatever they are.
        self._proofs = Proofs(secrets.token_bytes(_SECRET_BYTES))
        known = weakref.proxy(self)  # the node keeps it, and through it the services: a cycle would outlive the node
        local.membership.begin(own, known)
        local.gossip.begin(known, _most_payload_bytes(config), config.max_message_containers)

    @property
    def has_begun(self) -> bool:
        """Whether there are protocols already."""
        return self._parts is not None

    @property
    def is_running(self) -> bool:
        """Whether the protocols run, or would if they had begun."""
        return self._nursery is not None

    @property
    def swim(self) -> Swim:
        """Membership's protocol."""
        return self._all()[0]

    @property
    def gossip(self) -> GossipProtocol:
        """Gossip's protocol."""
        return self._all()[1]

    @property
    def plane(self) -> Plane:
        """What drives the protocols."""
        return self._all()[2]

    def _all(self) -> tuple[Swim, GossipProtocol, Plane]:
        if self._parts is None:
            core = GossipProtocol(str(self._own), self._random, settings_for(PROFILES[self._config.profile]))
            # A hint only: where the clock has gone back since the last life, others tell what this must rise above.
            swim = self._new_swim(int(time.time()) if self._clock is None else 0, self._config.tags)
            stack = ProtocolMux(str(self._own), [swim, core], proofs=self._proofs)
            known = weakref.proxy(self)
            plane = Plane(
                stack,
                self._local.comm,
                self._datagrams,
                partial(Cluster._note, known),
                self._clock,
                partial(Cluster._gathered, known),
            )
            self._parts = swim, core, plane
            self._local.gossip.set_groups(core, plane.now())
            if self._nursery is not None:
                plane.attach(self._nursery)
        return self._parts

    def _new_swim(self, incarnation: int, tags: Mapping[str, str]) -> Swim:
        return Swim(
            str(self._own),
            PROFILES[self._config.profile],
            self._random,
            trio.current_time() if self._clock is None else self._clock.now(),
            incarnation=incarnation,
            boot_id=self._random.getrandbits(_BOOT_ID_BITS),
            tags=tags,
        )

    def renew(self) -> Swim:
        """Begin another life in the place of one that has left."""
        old, core, plane = self._all()
        swim = self._new_swim(old.own.incarnation + 1, old.own.tags)
        plane.stack = ProtocolMux(str(self._own), [swim, core], proofs=self._proofs)
        self._parts = swim, core, plane
        return swim

    @contextmanager
    def _gathered(self) -> Generator[None]:
        """Have what follows from one packet told once: the changes of each group, and the rumors that fail."""
        with self._local.groups.gathered(), self._local.gossip.gathered():
            yield

    def _note(self, event: Any) -> None:
        if isinstance(event, Delivered):
            self._local.gossip.deliver(event)
        else:
            self._local.membership.note(event)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be ready to run the protocols until cancelled; then say goodbye, in case that has not been done."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._local.gossip.attach(self._nursery)
                if self._parts is not None:
                    self.plane.attach(self._nursery)
                task_status.started()
                await self._receive()
        finally:
            self._nursery = None
            self._local.gossip.detach()
            if self._parts is not None:
                self.plane.detach()
            self._local.membership.farewell()

    async def _receive(self) -> None:
        if isinstance(self._datagrams, QueuedDatagrams):
            with self._datagrams.received_by(self._take_datagram):
                await trio.sleep_forever()
        if self._datagrams is not None:
            with suppress(trio.ClosedResourceError):
                while True:
                    self._take_datagram(await self._datagrams.receive())
        await trio.sleep_forever()

    def _take_datagram(self, data: bytes) -> None:
        (self._parts or self._all())[2].take_packet(data, is_reliable=False)

    async def join_at_start(self, nursery: trio.Nursery) -> None:
        """Join the configured cluster; when that takes long, go on trying in `nursery`."""
        seeds = self._config.join
        if seeds is None:
            return
        self._local.membership.begin_cluster()
        if all(NodeAddress.of(seed) == self._own for seed in seeds):
            return
        done = trio.Event()

        async def join() -> None:
            with suppress(MalformedRequest, TemporarilyUnavailable):  # the names all mean this node; it leaves
                await self._local.membership.join(list(seeds))
            done.set()

        nursery.start_soon(join)
        with trio.move_on_after(self._config.connect_timeout_s) as scope:
            await done.wait()
        if scope.cancelled_caught:
            _log.warning("none of %s can be joined so far; this node goes on trying", ", ".join(seeds))
