"""Rumors in virtual time: their reach, time and cost.

Each run is one seed of a simulated cluster with full membership and no probing; one rumor is sent by one member, and
the run ends when all live members have it, or when the rumor's time to live is over. Seeds run
in processes in parallel.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import Delivered
from trionet.protocols.group_members import OrderedNames
from trionet.protocols.mux import ProtocolMux
from trionet.simulation.heap import HeapCluster

from .results import Goal, median, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trionet.protocols.gossip_settings import GossipSettings

    from .results import Result

__all__ = ["RumorCluster", "RumorRun", "add_rumor_rows", "rumor_rate", "rumor_run"]

_GID: Final = "g"
_WARM_S: Final = 1.0
_PAYLOAD: Final = b"x" * 100
_SECONDS_TO_99: Final = {
    (100, 0.0): 0.5,
    (1_000, 0.0): 0.6,
    (10_000, 0.0): 0.8,
    (100, 0.25): 0.8,
    (1_000, 0.25): 1.0,
    (10_000, 0.25): 1.2,
}
_SIZES: Final = (10, 100, 1_000, 10_000)
_LOSSES: Final = (0.0, 0.1, 0.25, 0.3)


class RumorRun(msgspec.Struct, frozen=True):
    """The results of one run.

    Attributes:
        reached: how many members have the rumor.
        deliveries: how often it was delivered in all.
        to_99_s, to_all_s: after how long 99 % and all had it; infinite if never.
        copies: payload copies received, per member.
        messages: packets sent for it, per member, until the end of the run.
        per_s: packets simulated per second of processor time.
    """

    reached: int
    deliveries: int
    to_99_s: float
    to_all_s: float
    copies: float
    messages: float
    per_s: float


class RumorCluster:
    """Gossip cores, all in one group, and a record of the deliveries.

    Attributes:
        cluster: the virtual network.
        names: of all members.
        cores: the protocol of each.
        deliveries: for each rumor id, when and to whom it was delivered.
    """

    def __init__(
        self, seed: int, size: int, *, settings: GossipSettings | None = None, gids: Sequence[str] = (_GID,), **how: Any
    ) -> None:
        """Make a cluster; `how` is for `HeapCluster`."""
        self.cluster = HeapCluster(seed, **how)
        self.cluster.on_event = self._on_event
        self.names: tuple[str, ...] = OrderedNames(f"n{number}" for number in range(size))
        self.cores: dict[str, GossipProtocol] = {}
        self.deliveries: dict[bytes, list[tuple[float, str]]] = {}
        for name in self.names:
            self.add(name, gids, settings)

    def add(self, name: str, gids: Sequence[str], settings: GossipSettings | None = None) -> None:
        """Add a node that is, or becomes, a member of these groups."""
        core = self.cores[name] = GossipProtocol(name, self.cluster.random_for(name), settings)
        for gid in gids:
            core.set_group(gid, self.names, now=self.cluster.now, is_member=True)
        self.cluster.add(name, ProtocolMux(name, [core], is_encoding=False))

    def send(self, name: str, gid: str = _GID, payload: bytes = _PAYLOAD) -> bytes:
        """Start a rumor; return its id."""
        ids: list[bytes] = []

        def action(mux: ProtocolMux, now: float) -> list[Any]:
            sent = self.cores[name].send(gid, payload, now)
            ids.append(sent.id)
            self.deliveries[sent.id] = []
            return mux.packets(sent.effects, now)

        self.cluster.act(name, action)
        return ids[0]

    def reached(self, rumor_id: bytes) -> int:
        """Return the number of members to which a rumor was delivered."""
        return len({name for _, name in self.deliveries[rumor_id]})

    def copies(self) -> int:
        """Return the number of received copies of payloads."""
        counted = [core.counts for core in self.cores.values()]
        return sum(counts.delivered + counts.duplicates - counts.sent for counts in counted)

    def _on_event(self, at: float, name: str, event: Any) -> None:
        if isinstance(event, Delivered):
            self.deliveries[event.id].append((at, name))


def rumor_run(seed: int, *, size: int, loss: float, rest_s: float = 0.0) -> RumorRun:
    """Simulate one rumor, and `rest_s` after it has reached all."""
    gc.collect()
    gc.disable()  # a run makes no garbage in cycles, and a collector that looks at 100,000 events takes half the time
    rumors = RumorCluster(seed, size, loss=loss)
    cluster = rumors.cluster
    cluster.run(_WARM_S)
    sent, began, before = cluster.sent, cluster.now, time.process_time()
    rumor_id = rumors.send(rumors.names[0])
    delivered = rumors.deliveries[rumor_id]
    cluster.run(began + 60.0, while_=lambda: len(delivered) < size)
    if rest_s:
        cluster.run(cluster.now + rest_s)
    spent = time.process_time() - before
    times = sorted(at - began for at, _ in delivered)
    return RumorRun(
        reached=rumors.reached(rumor_id),
        deliveries=len(delivered),
        to_99_s=times[math.ceil(0.99 * size) - 1] if len(times) >= 0.99 * size else math.inf,
        to_all_s=times[size - 1] if len(times) >= size else math.inf,
        copies=rumors.copies() / size,
        messages=(cluster.sent - sent) / size,
        per_s=(cluster.sent - sent) / spent,
    )


def rumor_rate(seed: int, size: int = 1_000, count: int = 10) -> float:
    """Return the packets delivered and handled per second of processor time, with a rumor every second."""
    gc.collect()
    gc.disable()
    rumors = RumorCluster(seed, size)
    cluster, senders = rumors.cluster, rumors.cluster.random_for("senders")
    cluster.run(_WARM_S)
    received, began = cluster.received, time.process_time()
    for _ in range(count):
        rumors.send(senders.choice(rumors.names))
        cluster.run(cluster.now + 1.0)
    rate = (cluster.received - received) / (time.process_time() - began)
    assert all(rumors.reached(rumor_id) == size for rumor_id in list(rumors.deliveries)[:-1])
    return rate


def _lowered() -> None:
    os.nice(5)


def add_rumor_rows(
    result: Result,
    seeds: int,
    say: Callable[[str], None],
    *,
    sizes: Sequence[int] = _SIZES,
    losses: Sequence[float] = _LOSSES,
) -> None:
    """Add a row for each size and loss: `seeds` runs each, a tenth of that for 10,000 members."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, initializer=_lowered) as pool:
        for size in sizes:
            count = seeds if size < 10_000 else max(1, seeds // 10)
            for loss in losses:
                say(f"gossip: {count} rumors to {size:,} members, {loss:.0%} loss")
                run = partial(rumor_run, size=size, loss=loss, rest_s=1.0 if loss == 0 else 0.0)
                runs = list(pool.map(run, range(count), chunksize=max(1, min(20, count // 16))))
                _add_row(result, size, loss, runs)


def _add_row(result: Result, size: int, loss: float, runs: list[RumorRun]) -> None:
    whole = sum(run.reached == run.deliveries == size for run in runs)
    what = f"rumor to {size:,}, {loss:.0%} loss"
    figures = {
        "until 99 % have it": ([run.to_99_s for run in runs], _SECONDS_TO_99.get((size, loss)), "s"),
        "until all have it": ([run.to_all_s for run in runs], None, "s"),
        "copies received": ([run.copies for run in runs], 4.0 if (size, loss) == (1_000, 0.0) else None, "per member"),
        "messages sent": ([run.messages for run in runs], None, "per member"),
    }
    for name, (found, limit, unit) in figures.items():
        result.rows.append([f"{what}: {name}", len(runs), median(found), max(found), limit, unit])
        result.samples.setdefault(name, {})[what] = list(found)
        if limit is not None:
            measured = percentile(found, 0.99)
            result.goals.append(
                Goal(f"{what}: {name}, 99 % of seeds", limit, at_least=False, measured=measured, unit=unit)
            )
    share = whole / len(runs)
    result.goals.append(
        Goal(f"{what}: seeds where all had it once", 1.0, at_least=True, measured=share, unit="of them")
    )
    if (size, loss) == (1_000, 0.0):
        best = max(run.per_s for run in runs)
        result.goals.append(Goal("the heap, fastest seed", 100_000, at_least=True, measured=best, unit="messages/s"))
