"""Challenge 4, g-counter: a counter that only grows, kept by all nodes.

An addition is acknowledged when it is in this node's log, and is sent to the others with the next exchange: two a
second, for any number of additions. Since each addition is applied once on each node, the sums agree once the logs do.
The exchange continues until they do, so that the additions of both sides of a partition arrive when it heals.

A read returns the sum of this node's additions, without a request to others, so that a partition delays no operation.
"""

from collections.abc import Sequence

from trionet import MalformedRequest
from trionet.maelstrom import Envelope, MaelstromNode, ReplicatedLog, main


def build(*, period: float = 0.5, signed: bool = False) -> MaelstromNode:
    """Return a node that counts; it sends at most one message every `period` seconds. `signed`: pn-counter."""
    node = MaelstromNode()
    total = 0

    def apply(deltas: Sequence[int]) -> None:
        nonlocal total
        total += sum(deltas)

    log = ReplicatedLog(node, apply, period_s=period)

    @node.on("add")
    def add(message: Envelope) -> dict[str, object]:
        delta = message["delta"]
        if type(delta) is not int or (delta < 0 and not signed):
            raise MalformedRequest(f"a delta is an integer, {'' if signed else 'at least 0, '}not {delta!r}")
        if delta:
            log.append(delta)
        return {}

    @node.on("read")
    def read(message: Envelope) -> dict[str, object]:
        return {"value": total}

    return node


if __name__ == "__main__":
    main(build)
