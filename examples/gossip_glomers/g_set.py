"""g-set: a set that only grows, kept by all nodes.

An element is acknowledged when it is in this node's log, and is sent to the others with the next exchange; see
g_counter.py. A read returns the elements of this node.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from trionet.maelstrom import Envelope, MaelstromNode, ReplicatedLog, main


def build(*, period: float = 0.5) -> MaelstromNode:
    """Return a node that has the set; it sends at most one message every `period` seconds."""
    node = MaelstromNode()
    elements: dict[bytes, Any] = {}  # by their JSON: an element may be a list

    def apply(added: Sequence[Any]) -> None:
        for element in added:
            elements.setdefault(msgspec.json.encode(element), element)

    log = ReplicatedLog(node, apply, period_s=period)

    @node.on("add")
    def add(message: Envelope) -> dict[str, object]:
        element = message["element"]
        if msgspec.json.encode(element) not in elements:
            log.append(element)
        return {}

    @node.on("read")
    def read(message: Envelope) -> dict[str, object]:
        return {"value": list(elements.values())}

    return node


if __name__ == "__main__":
    main(build)
