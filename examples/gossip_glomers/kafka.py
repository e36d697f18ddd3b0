"""Challenge 5, kafka: logs that every node appends to and reads from, by itself.

No node owns a log. Of n nodes the i-th assigns the offsets i, i + n, i + 2n and so on, so that it can acknowledge a
message at once, under an offset that no other node assigns. An offset must not be read as long as a lower one may still
be assigned: the reader would skip that message. So nodes promise: "I assign no more offsets below this one in this
log". A message is such a promise itself; a node that receives one moves its own next offset above it, and promises
that. A log may be read up to the lowest promise of all nodes: below it the log is complete.

Messages and promises go to the other nodes together, ten times a second. A partition delays reads, and loses nothing; a
kill loses the messages that no other node has. kafka-durable loses nothing.
"""

import bisect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from trionet.maelstrom import Envelope, MaelstromNode, ReplicatedLog, load_challenge, main


class Log:
    """One log on this node: messages by offset, and the promise of each node."""

    def __init__(self, nodes: int) -> None:
        self.messages: list[tuple[int, Any]] = []
        self.promises = list(range(nodes))

    def add(self, offset: int, message: Any) -> None:
        """Add a message; the next offset of the node that assigned its offset is higher."""
        bisect.insort(self.messages, (offset, message))
        self.promise(offset + len(self.promises))

    def promise(self, offset: int) -> None:
        """Record that the node of this offset assigns none below it."""
        node = offset % len(self.promises)
        self.promises[node] = max(self.promises[node], offset)

    def read(self, offset: int) -> Sequence[tuple[int, Any]]:
        """Return the readable messages, from `offset` on."""
        return self.messages[slice(*(bisect.bisect_left(self.messages, (at,)) for at in (offset, min(self.promises))))]


class Broker:
    """All logs on one node."""

    def __init__(self, node: MaelstromNode, period_s: float) -> None:
        self.node = node
        self.logs = defaultdict[str, Log](lambda: Log(len(node.node_ids)))
        self.committed: dict[str, int] = {}
        self.operations = ReplicatedLog(node, self.apply, period_s=period_s)
        for each in (self.send, self.poll, self.commit_offsets, self.list_committed_offsets):
            node.on(each.__name__)(each)

    def apply(self, operations: Sequence[Any]) -> None:
        """Apply operations of all nodes; promise an offset above those of others."""
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
                own = offset + (self.node.index - offset) % len(self.node.node_ids)  # this node's lowest one above
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
        """Record the offsets of a client."""
        for key, offset in message["offsets"].items():
            if offset > self.committed.get(key, -1):
                self.operations.append(("commit", key, offset))
        return {}

    def list_committed_offsets(self, message: Envelope) -> dict[str, Any]:
        """Return the recorded offsets."""
        return {"offsets": {key: self.committed[key] for key in message["keys"] if key in self.committed}}


def build(*, period: float = 0.1, durable: bool = False) -> MaelstromNode:
    """Return a node that keeps logs; it sends at most one message every `period` seconds. `durable`: kafka-durable."""
    return load_challenge("kafka-durable")(period=period) if durable else Broker(MaelstromNode(), period).node


if __name__ == "__main__":
    main(build)
