"""Challenge 5, kafka: logs that every node appends to and reads from, by itself.

Nobody owns a log. Of n nodes the i-th gives the offsets i, i + n, i + 2n and so on, so that it can acknowledge a
message at once, under an offset that nobody else gives. What is left is to keep a reader from an offset as long as a
lower one may still be given: it would skip that message. So nodes promise: "below this offset I give no more in this
log". A message itself is such a promise, and whoever hears of one moves its own next offset above it, and promises
that. A log may be read up to the lowest promise of all nodes: below it nothing is missing and nothing will come.

All this goes to the other nodes together, ten times a second. A partition delays what is read, and loses nothing; a
kill loses what the node has told nobody. kafka-durable loses nothing.
"""

import bisect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from trionet.maelstrom import Envelope, MaelstromNode, ReplicatedLog, load_challenge, main


class Log:
    """One log, as this node knows it: messages by offset, and below which offset each node gives no more."""

    def __init__(self, nodes: int) -> None:
        self.messages: list[tuple[int, Any]] = []
        self.promises = list(range(nodes))

    def add(self, offset: int, message: Any) -> None:
        """Take a message in: who gave it this offset gives a higher one next."""
        bisect.insort(self.messages, (offset, message))
        self.promise(offset + len(self.promises))

    def promise(self, offset: int) -> None:
        """Note that the node whose offset this is gives none below it."""
        node = offset % len(self.promises)
        self.promises[node] = max(self.promises[node], offset)

    def read(self, offset: int) -> Sequence[tuple[int, Any]]:
        """Return what may be read, from `offset` on."""
        return self.messages[slice(*(bisect.bisect_left(self.messages, (at,)) for at in (offset, min(self.promises))))]


class Broker:
    """All logs, as one node knows them."""

    def __init__(self, node: MaelstromNode, period_s: float) -> None:
        self.node = node
        self.logs = defaultdict[str, Log](lambda: Log(len(node.node_ids)))
        self.committed: dict[str, int] = {}
        self.operations = ReplicatedLog(node, self.apply, period_s=period_s)
        for each in (self.send, self.poll, self.commit_offsets, self.list_committed_offsets):
            node.on(each.__name__)(each)

    def apply(self, operations: Sequence[Any]) -> None:
        """Do what nodes have done, this one included; promise where others have gone ahead."""
        highest: dict[str, int] = {}
        for kind, key, offset, *message in operations:
            if kind == "send":
                self.logs[key].add(offset, *message)
                highest[key] = max(offset, highest.get(key, 0))
            elif kind == "promise":
                self.logs[key].promise(offset)
            else:
                self.committed[key] = max(offset, self.committed.get(key, 0))
        for key, offset in highest.items():
            if self.logs[key].promises[self.node.index] < offset:
                own = offset + (self.node.index - offset) % len(self.node.node_ids)  # it is not `offset`'s turn
                self.operations.append(("promise", key, own))

    def send(self, message: Envelope) -> dict[str, Any]:
        """Append to a log."""
        offset = self.logs[message["key"]].promises[self.node.index]
        self.operations.append(("send", message["key"], offset, message["msg"]))
        return {"offset": offset}

    def poll(self, message: Envelope) -> dict[str, Any]:
        """Read logs."""
        return {"msgs": {key: self.logs[key].read(at) for key, at in message["offsets"].items() if key in self.logs}}

    def commit_offsets(self, message: Envelope) -> dict[str, Any]:
        """Note how far a client has come."""
        for key, offset in message["offsets"].items():
            if offset > self.committed.get(key, -1):
                self.operations.append(("commit", key, offset))
        return {}

    def list_committed_offsets(self, message: Envelope) -> dict[str, Any]:
        """Tell how far clients have come."""
        return {"offsets": {key: self.committed[key] for key in message["keys"] if key in self.committed}}


def build(*, period: float = 0.1, durable: bool = False) -> MaelstromNode:
    """Return a node that keeps logs; it sends a message every `period` seconds, at most. `durable`: kafka-durable."""
    return load_challenge("kafka-durable")(period=period) if durable else Broker(MaelstromNode(), period).node


if __name__ == "__main__":
    main(build)
