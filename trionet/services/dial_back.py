"""Checks of the addresses of nodes that join by this one: can this node connect to them?

A node that advertises a wrong address can join all the same, because this node answers on the connection that the
joining node has made. But members to which it has made none can't reach it.

Invariant: a node counts as out of reach if a connection fails, the node then answers a call on its own connection, and
another connection fails. So a node that has crashed, restarted, or was cut off in between is not reported. A node is
checked once in `AGAIN_S`, and few at a time. A check is one connection without a byte, mostly.

Source: the dial-back of libp2p's AutoNAT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import TrionetError
from trionet.message import Remote
from trionet.protocols.reach import AGAIN_S
from trionet.protocols.recent import remember

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress
    from trionet.transports.base import Endpoint

    from .comm import Comm

__all__ = ["DialBack"]

_MOST_CHECKS: Final = 16
_MOST_RECENT: Final = 1024
_CALL_S: Final = 10.0
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

    async def _check(self, node: NodeAddress, report: Callable[[NodeAddress], None]) -> None:
        try:
            with trio.move_on_after(_CALL_S):
                if await self._is_out_of_reach(node):
                    report(node)
                    await self._comm.call(node, self._comm.prepare([self._comm.own], {}, _TELL))
        except TrionetError:  # it is gone, or of an earlier version
            pass
        finally:
            self._checks -= 1

    async def _is_out_of_reach(self, node: NodeAddress) -> bool:
        if await self._endpoint.can_connect(node):
            return False
        await self._comm.call(node, self._comm.prepare(["nid"], {}, _HEAR))
        return not await self._endpoint.can_connect(node)
