"""What a node of a watched cluster notes: events about members, rumors, packets; on hosts and in simulations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import trio

import trionet
from trionet.virtual_time import is_time_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Note", "Report", "Watch", "clock"]


def clock() -> float:
    """Return the time in seconds: virtual, or on the machine's monotonic clock, which all hosts share."""
    return trio.current_time() if is_time_virtual() else time.monotonic()


class Note(msgspec.Struct, frozen=True):
    """An event about a member: when, which, whose."""

    at: float
    what: str
    name: str


class Report(msgspec.Struct, frozen=True):
    """What a node has noted.

    Attributes:
        members: the names of its members.
        notes: the events.
        heard: when it heard each rumor.
        packets: how many packets it has sent so far.
        received: how many it has received.
        processor_s: the processor time of its process so far; simulated, of its inputs.
        health: its local health score, 0 to 8.
        messages: how many messages of each kind it has sent so far.
    """

    members: list[str]
    notes: list[Note]
    heard: dict[str, float]
    packets: int
    received: int
    processor_s: float
    health: int
    messages: dict[str, int]


class Watch:
    """The notes of one node; a service, whose method rumors call."""

    def __init__(self) -> None:
        self._notes: list[Note] = []
        self._heard: dict[str, float] = {}

    async def open(self, node: trionet.Node, start_soon: Callable[..., object]) -> None:
        """Watch `node` from now on."""
        await node.local.routes.put(self, "watch")
        start_soon(self._watch, node.events())

    async def _watch(self, events: trionet.Events) -> None:
        async for event in events:
            if isinstance(event, trionet.MemberEvent):
                self._notes.append(Note(clock(), type(event).__name__, str(event.node)))

    @trionet.rpc
    def hear(self, word: str) -> None:
        """Take a rumor."""
        self._heard.setdefault(word, clock())

    async def say(self, node: trionet.Node, word: str) -> float:
        """Send a rumor to all; return when it was sent."""
        began = clock()
        await node.all.gossip.send([word], trionet.Remote(service="watch", method="hear"))
        return began

    def report(self, node: trionet.Node) -> Report:
        """Return all notes."""
        figures = node.figures()
        return Report(
            members=[str(member.node) for member in node.members()],
            notes=self._notes,
            heard=self._heard,
            packets=figures.datagrams.sent + figures.datagrams.by_call,
            received=figures.datagrams.received,
            processor_s=time.process_time(),
            health=figures.cluster.health,
            messages=figures.datagrams.messages_sent,
        )
