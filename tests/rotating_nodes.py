"""Nodes that call each other and gossip all the time, and count what is lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import trio

from trionet import Remote, TrionetError, rpc

if TYPE_CHECKING:
    from trionet import Node

__all__ = ["Busy", "begin"]

PAUSE_S = 0.05
RUMOR_EVERY = 20


class Busy:
    """Calls other members at random, and counts.

    Attributes:
        calls: the calls that were answered.
        lost: the texts of those that were not.
        sent, heard: the rumors.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.calls = 0
        self.lost: list[str] = []
        self.sent = self.heard = 0
        self.is_running = False

    @rpc
    def ping(self, value: int) -> int:
        return value

    @rpc
    def hear(self) -> None:
        self.heard += 1

    @rpc
    def counts(self) -> dict[str, Any]:
        return {"calls": self.calls, "lost": self.lost[:5], "sent": self.sent, "heard": self.heard}

    @rpc
    def start(self) -> None:
        self.is_running = True

    @rpc
    def end(self) -> None:
        self.is_running = False

    async def run(self) -> None:
        """Call and gossip from the start to the end."""
        node, rng = self._node, random.Random()
        while not node.is_stopping:
            await trio.sleep(PAUSE_S * rng.uniform(0.5, 1.5))
            others = [member.node for member in node.members() if member.node != node.address]
            if not (others and self.is_running):
                continue
            if rng.randrange(RUMOR_EVERY) == 0:
                await node.all.gossip.send([], Remote(service="busy", method="hear"))
                self.sent += 1
            number, other = self.calls, rng.choice(others)
            try:
                answer = await node.local.comm.send([number], Remote(node=other, service="busy", method="ping"))
                self.calls += 1
                assert answer == number
            except TrionetError as exc:
                self.lost.append(f"{node.address} to {other}: {exc!r}")


async def begin(node: Node) -> None:
    """Begin to be busy; for `on_start`."""
    busy = Busy(node)
    await node.local.routes.put(busy, "busy")
    trio.lowlevel.spawn_system_task(busy.run)
