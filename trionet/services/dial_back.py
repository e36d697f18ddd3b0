"""Checks of the addresses of nodes that join by this one, and of its seeds: can this node connect to them?

A node that advertises a wrong address can join all the same, because this node answers on the connection that the
joining node has made. But members to which it has made none can't reach it. A seed that advertises a wrong address
can't be joined: it is dialed at another one, and its packets come from an address that this node can't reach.

Invariant: a newcomer counts as out of reach if a connection fails, the node then answers a call on its own
connection, and another connection fails; a seed, if it answers, and a connection to what it advertises fails. So a
node that has crashed, restarted, or was cut off in between is not reported. A node is checked once in `AGAIN_S`, and
few at a time. A check is one connection without a byte, mostly.

Source: the dial-back of libp2p's AutoNAT.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import TrionetError
from trionet.identity import NodeAddress
from trionet.message import Remote
from trionet.protocols.reach import AGAIN_S
from trionet.protocols.recent import remember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet.transports.base import Endpoint

    from .comm import Comm

__all__ = ["DialBack"]

_MOST_CHECKS: Final = 16
_MOST_RECENT: Final = 1024
_CALL_S: Final = 10.0
_PATIENCE_S: Final = 5.0
"""A seed that hasn't sent its members for so long is checked."""
_HEAR: Final = Remote(service="status", method="get")
_TELL: Final = Remote(service="membership", method="unreachable")


class DialBack:
    """The checks of one node."""

    def __init__(self, endpoint: Endpoint, comm: Comm, nursery: trio.Nursery) -> None:
        self._endpoint = endpoint
        self._comm = comm
        self._nursery = nursery
        self._checked_at: dict[NodeAddress, float] = {}
        self._checks = 0

    def check_soon(self, node: NodeAddress, report: Callable[[NodeAddress], None]) -> None:
        """Check `node` in the background; if it is out of reach, call ``report(node)`` and tell it."""
        now = trio.current_time()
        if self._checks < _MOST_CHECKS and now >= self._checked_at.get(node, now - AGAIN_S) + AGAIN_S:
            remember(self._checked_at, node, now, _MOST_RECENT)
            self._checks += 1
            self._nursery.start_soon(self._check, node, report)

    def check_seeds_later(
        self, seeds: Iterable[NodeAddress], is_waiting: Callable[[], bool], report: Callable[[NodeAddress], None]
    ) -> None:
        """Check `seeds` if ``is_waiting()`` after a while; ``report(node)``, and tell it, if it is out of reach."""
        if self._endpoint.has_real_address:
            self._nursery.start_soon(self._check_seeds, list(seeds), is_waiting, report)

    async def _check_seeds(
        self, seeds: list[NodeAddress], is_waiting: Callable[[], bool], report: Callable[[NodeAddress], None]
    ) -> None:
        await trio.sleep(_PATIENCE_S)
        for seed in seeds:
            with suppress(TrionetError), trio.move_on_after(_CALL_S):  # it is dead, or no node
                if is_waiting():
                    await self._check_seed(seed, report)

    async def _check_seed(self, seed: NodeAddress, report: Callable[[NodeAddress], None]) -> None:
        ip, port = [
            await self._comm.call_unrecorded(seed, self._comm.prepare([key], {}, _HEAR, is_own=True))
            for key in ("ip", "port")
        ]
        node = NodeAddress.of({"ip": ip, "port": port})
        if node != seed and not await self._endpoint.can_connect(node):
            report(node)
            await self._comm.call_unrecorded(seed, self._comm.prepare([self._comm.own], {}, _TELL, is_own=True))

    async def _check(self, node: NodeAddress, report: Callable[[NodeAddress], None]) -> None:
        try:
            with trio.move_on_after(_CALL_S):
                if await self._is_out_of_reach(node):
                    report(node)
                    await self._comm.call_unrecorded(node, self._comm.prepare([self._comm.own], {}, _TELL, is_own=True))
        except TrionetError:  # it is gone, or of an earlier version
            pass
        finally:
            self._checks -= 1

    async def _is_out_of_reach(self, node: NodeAddress) -> bool:
        if await self._endpoint.can_connect(node):
            return False
        await self._comm.call_unrecorded(node, self._comm.prepare(["nid"], {}, _HEAR, is_own=True))
        return not await self._endpoint.can_connect(node)
