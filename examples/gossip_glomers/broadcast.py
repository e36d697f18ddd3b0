"""Challenges 3a to 3e, broadcast: every node comes to know every value; by trionet's gossip.

A value is acknowledged when this node has it, and is a rumor from then on. There are two ways for it to go at once.
*Fast* takes it straight from where it came to all others: one hop. *Frugal* takes it to a hub, which hands on what has
come in a while in one message to each: two hops, two waits, and few messages. If the hub keeps silent, the nodes take
the next one, by name.

Neither has to be certain. From time to time each node tells one other what came lately, and compares with it all that
they hold, by checksums; what one of them lacks, it asks for. So a value reaches every node that its holders can talk
to, after messages were lost, partitions healed, and hubs crashed; and a node that comes back is told everything.
"""

from math import ceil
from typing import Any

import msgspec

from trionet.maelstrom import MaelstromNode, Message, Rumors, main
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
    """Return a node that hands values on: fast, unless it is to be frugal.

    Frugal, a value waits for company at most `up_wait` seconds before it goes to the hub, and `down_wait` there; every
    `interval` seconds the nodes tell each other what came lately.
    """
    node = MaelstromNode()
    values: dict[bytes, Any] = {}  # by their JSON: a value may be a list

    def push() -> Push:
        if frugal and not fast:
            return Star(up_wait_s=up_wait, down_wait_s=down_wait, failover_s=up_wait + down_wait + 1)
        return Direct()

    def deliver(value: Any) -> None:
        values[msgspec.json.encode(value)] = value

    settings = GossipSettings(
        interval_s=interval,
        nodes=1,
        rounds=ceil(30 / interval),
        grace_s=up_wait + down_wait + 0.5 if frugal else 0.25,
        pull_timeout_s=0.3,
        compare_interval_s=2 * interval,
        settle_s=1.0,
        catch_up_interval_s=0.1,
        retention_s=86_400,
        most_bytes=1 << 30,
        most_seen=10_000_000,
    )
    rumors = Rumors(node, deliver, push=push, settings=settings)

    @node.on("broadcast")
    def broadcast(message: Message) -> dict[str, object]:
        if msgspec.json.encode(message["message"]) not in values:
            rumors.send(message["message"])
        return {}

    @node.on("read")
    def read(message: Message) -> dict[str, object]:
        return {"messages": list(values.values())}

    return node


if __name__ == "__main__":
    main(build)
