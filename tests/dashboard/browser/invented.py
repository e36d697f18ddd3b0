"""Invented clusters behind the real page: a real node with the real stream, whose topics show what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from trionet import NodeAddress, rpc
from trionet.dashboard.topics import TOPICS, Topic

if TYPE_CHECKING:
    from trionet import Node
    from trionet.dashboard.looked_at import LookedAt

__all__ = ["BEGUN", "Invention", "cluster_of", "details_of", "expose"]

BEGUN: Final = 1_790_000_000
"""The time at which invented members began, in seconds."""


class Invention:
    """The local service ``invention``."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}

    @rpc
    def show(self, topic: str, document: dict[str, Any]) -> None:
        """Have a topic show a document from now on."""
        self.documents[topic] = document

    @rpc
    def change(self, sid: str, status: str) -> None:
        """Change the state of a member."""
        cluster = self.documents["cluster"]
        member = cluster["members"][sid] | {"status": status}
        self.documents["cluster"] = cluster | {"members": cluster["members"] | {sid: member}}


def _topic(name: str, invention: Invention) -> type[Topic]:
    real = TOPICS[name]

    class Invented(real):  # type: ignore[valid-type, misc]  # whichever it is
        """A topic that shows what was invented; until then, what there is."""

        async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
            if name not in invention.documents:
                found: dict[str, Any] = await super().gather(looked_at)
                return found
            await trio.lowlevel.checkpoint()
            return invention.documents[name]

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


def details_of(cluster: dict[str, Any], turn: int = 0) -> dict[str, Any]:
    """Return the topic ``details`` of all members of a cluster; another `turn` has other numbers."""
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
        for index, sid in enumerate(cluster["members"])
    }
