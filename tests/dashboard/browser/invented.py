"""Invented clusters behind the real page: a real node with the real stream, whose topics show what they are told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet import NodeAddress, rpc
from trionet.dashboard.topics import TOPICS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet import Node
    from trionet.dashboard.looked_at import LookedAt

__all__ = ["BEGUN", "Invention", "calls_of", "cluster_of", "details_of", "expose"]

BEGUN: Final = 1_790_000_000
"""The time at which invented members began, in seconds."""


class Invention:
    """The local service ``invention``."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self._is_lively = False
        self._turn = 0

    @rpc
    def show(self, topic: str, document: dict[str, Any]) -> None:
        """Have a topic show a document from now on."""
        self.documents[topic] = document

    @rpc
    def live(self) -> None:
        """Change all figures and the state of one member at each gathering from now on."""
        self._is_lively = True

    @rpc
    def tag(self, sid: str, name: str, value: str) -> float:
        """Give a member a tag; return the time."""
        tags = self.documents["cluster"]["members"][sid]["tags"]
        self._change(sid, tags=tags | {name: value})
        return time.time()

    def _change(self, sid: str, **changes: object) -> None:
        cluster = self.documents["cluster"]
        member = cluster["members"][sid] | changes
        self.documents["cluster"] = cluster | {"members": cluster["members"] | {sid: member}}

    def gathered(self, topic: str, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document of a topic for its viewers."""
        if self._is_lively and topic == "cluster":
            self._turn += 1
            sids = list(self.documents["cluster"]["members"])
            self._change(sids[self._turn % len(sids)], status=("alive", "suspect")[self._turn % 2])
        if self._is_lively and topic == "details":
            return details_of(looked_at.of, self._turn)
        return self.documents[topic]


def _topic(name: str, invention: Invention) -> type[Topic]:
    real = TOPICS[name]

    class Invented(real):  # type: ignore[valid-type, misc]  # whichever it is
        """A topic that shows what was invented; until then, what there is."""

        async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
            if name not in invention.documents:
                found: dict[str, Any] = await super().gather(looked_at)
                return found
            await trio.lowlevel.checkpoint()
            return invention.gathered(name, looked_at)

        def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
            if name != "details" or name not in invention.documents:
                found: dict[str, Any] | None = super().view(document, looked_at)
                return found
            return {sid: document[sid] for sid in looked_at.of if sid in document}

    Invented.__name__ = f"Invented{real.__name__}"
    return Invented


async def expose(node: Node) -> None:
    """An `on_start`: invent all topics of this process."""
    invention = Invention()
    TOPICS.update({name: _topic(name, invention) for name in TOPICS})
    await node.local.routes.put(invention, "invention")


def cluster_of(count: int) -> dict[str, Any]:
    """Return the topic ``cluster`` of that many members, all alive but for some."""
    members = {}
    for number in range(count):
        address = NodeAddress(f"10.0.{number // 250}.{number % 250 + 1}", 8080)
        members[address.sid] = {
            "address": str(address),
            "status": "suspect" if number % 97 == 5 else "alive",
            "incarnation": BEGUN + number,
            "since": BEGUN + number,
            "tags": {"role": ("web", "store", "queue")[number % 3], "zone": f"z{number % 4}"},
            "version": "1.0",
        }
    return {"self": next(iter(members)), "cluster": "invented", "now": BEGUN + 5000, "members": members, "views": {}}


def details_of(sids: Iterable[str], turn: int = 0) -> dict[str, Any]:
    """Return the topic ``details`` of some members; another `turn` has other numbers."""
    return {
        sid: {
            "rtt_ms": round(0.2 + (index * 7 + turn * 3) % 90 / 10, 2),
            "lag_ms": (index + turn) % 4,
            "health": 0,
            "version": "1.0",
            "calls_per_s": (index * 13 + turn * 5) % 300,
            "running": (index + turn) % 6,
            "links": 1 + index % 9,
            "uptime_s": 5000 - index + turn,
            "heap_used": 9_000_000 + 1000 * ((index + turn) % 500),
        }
        for index, sid in enumerate(sids)
    }


def calls_of(count: int, now: float) -> dict[str, Any]:
    """Return the topic ``calls`` of that many calls at one time: trees of forty, over twenty nodes."""
    nodes = {address.sid: str(address) for address in (NodeAddress("10.0.0.1", 8080 + number) for number in range(20))}
    sids = list(nodes)
    rows: dict[str, Any] = {}
    for number in range(count):
        root = number - number % 40
        row = {"node": sids[number % 20], "service": "shop", "method": "order", "begun": now - 100 + number / 100}
        if number != root:
            row |= {"method": "pay", "parent": f"{sids[root % 20]}:id-{root}", "deadline": now + 60 + number}
        rows[f"{sids[number % 20]}:id-{number}"] = row
    found = {"errors": {sids[3]: "no answer within 0.7 s"}, "cut": {sids[4]: 7}, "unseen": 7, "turn_s": 1}
    return {"calls": rows, "nodes": nodes, "total": count + 7, "now": now} | found
