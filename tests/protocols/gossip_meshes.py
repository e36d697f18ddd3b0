"""Gossip cores on a simulated network, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.protocols.entries import EntryChanged, EntryConflict
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import Delivered
from trionet.protocols.mux import ProtocolMux
from trionet.simulation.heap import HeapCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trionet.protocols.entries import Entry
    from trionet.protocols.gossip_settings import GossipSettings
    from trionet.protocols.push import Push

__all__ = ["Mesh"]


class Mesh:
    """Nodes with full membership of one group or more, and what was delivered to each.

    Its physical clocks show the virtual time; those of members with a skew are ahead.
    """

    def __init__(
        self,
        seed: int,
        size: int,
        *,
        settings: GossipSettings | None = None,
        gids: Sequence[str] = ("g",),
        push: Callable[[], Push] | None = None,
        packet_bytes: int = 1400,
        **how: Any,
    ) -> None:
        self.cluster = HeapCluster(seed, **how)
        self.cluster.on_event = self._on_event
        self.names: tuple[str, ...] = tuple(f"n{number}" for number in range(size))
        self.cores: dict[str, GossipProtocol] = {}
        self.delivered: dict[bytes, list[tuple[float, str, float]]] = {}
        self.sent_at: dict[bytes, float] = {}
        self.changed: list[tuple[float, str, EntryChanged]] = []
        self.conflicts: list[tuple[float, str, EntryConflict]] = []
        self._settings = settings
        self._push = push
        self._packet_bytes = packet_bytes
        for name in self.names:
            self.add(name, gids)

    def add(self, name: str, gids: Sequence[str] = ("g",), *, life: str = "") -> None:
        """Add a node; one that has been restarted needs another `life`, or it would draw the same ids again."""
        core = self.cores[name] = GossipProtocol(name, self.cluster.random_for(name + life), self._settings)
        for gid in gids:
            core.set_group(gid, self.names, now=self.cluster.now, push=self._push() if self._push else None)
        self.cluster.add(name, ProtocolMux(name, [core], packet_bytes=self._packet_bytes, is_encoding=False))

    def join(self, name: str) -> None:
        """Let a node know of the group from now on."""

        def action(mux: ProtocolMux, now: float) -> list[Any]:
            self.cores[name].set_group("g", self.names, now=now)
            return mux.packets([], now)

        self.cluster.act(name, action)

    def send(self, name: str, gid: str = "g", payload: bytes = b"news") -> bytes:
        ids: list[bytes] = []

        def action(mux: ProtocolMux, now: float) -> list[Any]:
            sent = self.cores[name].send(gid, payload, now)
            ids.append(sent.id)
            self.delivered[sent.id] = []
            self.sent_at[sent.id] = now
            return mux.packets(sent.effects, now)

        self.cluster.act(name, action)
        return ids[0]

    def put(self, name: str, key: str, value: bytes | None, gid: str = "g") -> Entry:
        entries: list[Entry] = []

        def action(mux: ProtocolMux, now: float) -> list[Any]:
            put = self.cores[name].put(gid, key, value, now, int(1000 * now))
            entries.append(put.entry)
            return mux.packets(put.effects, now)

        self.cluster.act(name, action)
        return entries[0]

    def maps(self, gid: str = "g") -> list[dict[str, bytes | None]]:
        """Return the map of each live member."""
        return [{one.key: one.value for one in self.cores[name].entries(gid)} for name in self.live()]

    def agree(self, gid: str = "g") -> bool:
        """Return whether all live members have the same map."""
        maps = self.maps(gid)
        return all(one == maps[0] for one in maps)

    def run(self, duration_s: float) -> None:
        self.cluster.run(self.cluster.now + duration_s)

    def who(self, rumor_id: bytes) -> list[str]:
        """Return who has had it, sorted, and as often as they had it."""
        return sorted(name for _, name, _ in self.delivered[rumor_id])

    def live(self) -> list[str]:
        return sorted(name for name in self.names if self.cluster.members[name].is_up)

    def total(self, count: str) -> int:
        return sum(getattr(core.counts, count) for core in self.cores.values())

    def _on_event(self, at: float, name: str, event: object) -> None:
        if isinstance(event, EntryChanged):
            self.changed.append((at, name, event))
        elif isinstance(event, EntryConflict):
            self.conflicts.append((at, name, event))
        elif isinstance(event, Delivered):
            self.delivered[event.id].append((at, name, event.age_s))
