"""Nodes with a bug planted in them, by their configuration: each of them must be found by a search."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from trionet import Node, NodeConfig
from trionet.protocols.rumors import SeenIds
from trionet.protocols.statements import Statement, supersedes
from trionet.protocols.suspecting import Suspecting
from trionet.protocols.swim import Swim
from trionet.transports.link.incoming import LinkServer
from trionet.transports.link.outgoing import LinkClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.suspicion import Suspicion

__all__ = ["DEAF", "FORGETFUL", "LENIENT", "RESIGNED", "SILENT"]


class _Resigned(Swim):
    """Refutes a suspicion without raising its incarnation.

    It only spreads that it is alive, and answers nobody: the others would answer that, and so on, without end.
    """

    __slots__ = ()

    def _refute(self, _: str, statement: Statement) -> None:
        if supersedes(statement, self.own):
            self._broadcaster.put(self.own, is_urgent=True)


def _resign(node: Node) -> None:
    """Have the node refute as `_Resigned` does."""
    swim: Any = node._agent.swim  # noqa: SLF001
    swim.__class__ = _Resigned


class _Lenient(Suspecting):
    """Suspects for ever, and declares nobody dead."""

    __slots__ = ()

    def _declare(self, _: Suspicion) -> None:
        return


def _be_lenient(node: Node) -> None:
    """Have the node give no verdict."""
    swim: Any = node._agent.swim  # noqa: SLF001
    swim._suspecting.__class__ = _Lenient  # noqa: SLF001


class _ShortMemory(SeenIds):
    """Drops the ids of seen rumors after a second, without a trace of them."""

    __slots__ = ()

    def __init__(self, most: int) -> None:
        super().__init__(1.0, most)

    def _forget(self) -> None:
        super()._forget()
        self.forgotten_at = -math.inf


def _forget(node: Node) -> None:
    """Have the node's filter of duplicates forget too early."""
    core: Any = node._agent.gossip  # noqa: SLF001
    core._seen = _ShortMemory(core._settings.most_seen)  # noqa: SLF001


class _SilentClient(LinkClient):
    __slots__ = ()

    async def cancel(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()


class _DeafServer(LinkServer):
    __slots__ = ()

    def cancel(self, _: object) -> None: ...


def _break_links(node: Node, break_link: Callable[[Any], None]) -> None:
    """Break each link that the node makes or accepts."""
    transport: Any = node._endpoint.transport  # noqa: SLF001
    add = transport.add

    def add_broken(link: Any, peer: Any) -> None:
        break_link(link)
        add(link, peer)

    transport.add = add_broken


def _keep_silent(node: Node) -> None:
    """Make the node send no cancels."""

    def silence(link: Any) -> None:
        link.calls.__class__ = _SilentClient

    _break_links(node, silence)


def _turn_deaf(node: Node) -> None:
    """Have the node ignore that a call which it answers is cancelled."""

    def deafen(link: Any) -> None:
        link._server.__class__ = _DeafServer  # noqa: SLF001

    _break_links(node, deafen)


DEAF = NodeConfig(on_start=_turn_deaf)
RESIGNED = NodeConfig(on_start=_resign)
LENIENT = NodeConfig(on_start=_be_lenient)
FORGETFUL = NodeConfig(on_start=_forget)
SILENT = NodeConfig(on_start=_keep_silent)
