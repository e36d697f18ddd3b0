"""A node's part in its cluster: its protocols, put together, joined, and kept running.

Invariant: while a node runs its protocols run, whether it belongs to a cluster or not: so others can join it at any
time, and gossip in groups needs no cluster. A node alone says nothing.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import MalformedRequest
from trionet.identity import NodeAddress
from trionet.profiles import PROFILES
from trionet.protocols.gossip import Gossip as GossipCore
from trionet.protocols.gossip_messages import Delivered
from trionet.protocols.gossip_settings import settings_for
from trionet.protocols.stack import Stack
from trionet.protocols.swim import Swim

from .plane import Plane

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from trionet.config import NodeConfig
    from trionet.transports.datagrams import Datagrams

    from . import LocalServices

__all__ = ["Cluster"]

_log = logging.getLogger(__name__)

_LIFE_BITS: Final = 63
_HEAD_BYTES: Final = 1024


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
        is_simulated: bool,
    ) -> None:
        """Put the protocols together; `local` has the services that use them from here on."""
        self._own = own
        self._config = config
        self._membership = local.membership
        self._gossip = local.gossip
        self._random = random
        self._core = GossipCore(str(own), random, settings_for(PROFILES[config.profile]))
        # A hint only: where the clock has gone back since the last life, others tell what this must rise above.
        self._swim = self._new_swim(0 if is_simulated else int(time.time()), config.tags)
        self._plane = Plane(self._stack(), local.comm, datagrams, self._note)
        self._membership.begin(own, self._swim, self._plane, self._renew)
        self._gossip.begin(self._core, self._plane, _most_payload_bytes(config))

    def _new_swim(self, incarnation: int, tags: Mapping[str, str]) -> Swim:
        return Swim(
            str(self._own),
            PROFILES[self._config.profile],
            self._random,
            trio.current_time(),
            incarnation=incarnation,
            life=self._random.getrandbits(_LIFE_BITS),
            tags=tags,
        )

    def _stack(self) -> Stack:
        return Stack(str(self._own), [self._swim, self._core])

    def _renew(self) -> Swim:
        """Begin another life in the place of one that has left."""
        own = self._swim.own
        self._swim = self._new_swim(own.incarnation + 1, own.tags)
        self._plane.stack = self._stack()
        return self._swim

    def _note(self, event: Any) -> None:
        if isinstance(event, Delivered):
            self._gossip.deliver(event)
        else:
            self._membership.note(event)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the protocols until cancelled; then say goodbye, in case that has not been done."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._plane.run)
                await nursery.start(self._gossip.run)
                task_status.started()
        finally:
            self._membership.farewell()

    async def join_at_start(self, nursery: trio.Nursery) -> None:
        """Join the configured cluster; when that takes long, go on trying in `nursery`."""
        seeds = self._config.join
        if seeds is None:
            return
        self._membership.begin_cluster()
        if all(NodeAddress.of(seed) == self._own for seed in seeds):
            return
        done = trio.Event()

        async def join() -> None:
            with suppress(MalformedRequest):  # the names all mean this node
                await self._membership.join(list(seeds))
            done.set()

        nursery.start_soon(join)
        with trio.move_on_after(self._config.connect_timeout_s) as scope:
            await done.wait()
        if scope.cancelled_caught:
            _log.warning("none of %s can be joined so far; this node goes on trying", ", ".join(seeds))
