"""Challenges 3a to 3e, broadcast: every node receives every value, by trionet's gossip.

A value is acknowledged when this node has it, and is a rumor from then on. There are two strategies for new rumors.
*Fast* sends it from its origin to all other nodes: one hop. *Frugal* sends it to a hub, which collects rumors for a
while and sends them to each node in one message: two hops, two waits, and few messages. If the hub is silent, the nodes
use the next one, by name.

Neither has to be reliable. Periodically each node sends its recent rumors to one other node, and compares checksums of
all rumors with it; each requests the rumors that it lacks. So a value reaches every node that its holders can reach,
after lost messages, healed partitions and crashed hubs; and a restarted node receives all values.
"""

from math import ceil
from typing import Any

import msgspec

from trionet.maelstrom import Envelope, MaelstromNode, Rumors, main
from trionet.protocols.gossip_settings import GossipSettings
from trionet.protocols.push import Direct, Push, Star


def build(
    *,
    fast: bool = False,
    frugal: bool = False,
    up_wait: float = 0.25,
    down_wait: float = 0.7,
    interval: float = 2.0,
) -> MaelstromNode:
    """Return a node that broadcasts values: fast, unless `frugal` is set.

    If frugal, a value waits for others at most `up_wait` seconds before it goes to the hub, and `down_wait` there.
    Every `interval` seconds a node sends its recent rumors to another.
    """
    node = MaelstromNode()
    values: dict[bytes, Any] = {}  # by their JSON: a value may be a list

    def push() -> Push:
        if frugal and not fast:
            return Star(up_wait_s=up_wait, down_wait_s=down_wait, failover_s=up_wait + down_wait + 1)
        return Direct()

    def deliver(value: Any) -> None:
        values[msgspec.json.encode(value)] = value

    rumors = Rumors(
        node, deliver, push=push, settings=_settings(interval, up_wait + down_wait + 0.5 if frugal else 0.25)
    )

    @node.on("broadcast")
    def broadcast(message: Envelope) -> dict[str, object]:
        if msgspec.json.encode(message["message"]) not in values:
            rumors.send(message["message"])
        return {}

    @node.on("read")
    def read(message: Envelope) -> dict[str, object]:
        return {"messages": list(values.values())}

    return node


def _settings(interval: float, grace: float) -> GossipSettings:
    return GossipSettings(
        interval_s=interval,
        nodes=1,
        rounds=ceil(30 / interval),
        grace_s=grace,
        pull_timeout_s=0.3,
        compare_interval_s=2 * interval,
        settle_s=1.0,
        catch_up_interval_s=0.1,
        retention_s=86_400,
        most_bytes=1 << 30,
        most_seen=10_000_000,
    )


if __name__ == "__main__":
    main(build)
