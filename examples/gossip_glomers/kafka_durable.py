"""Challenge 5, kafka, with durable messages: all operations are in one order in lin-kv, and no kill loses them.

An offset is the position of a message in its log. A send is acknowledged once lin-kv has the operation; polls read the
node's memory. A restarted node reads all operations before it is ready. ``kafka --durable`` is this program, too.
"""

from collections import defaultdict
from typing import Any

import trio

from trionet.maelstrom import DurableLog, Envelope, MaelstromNode, main


class Broker:
    """All logs, by the operations that one node has read from lin-kv."""

    def __init__(self, node: MaelstromNode, period_s: float) -> None:
        self.logs = defaultdict[str, list[Any]](list)
        self.committed: dict[str, int] = {}
        self.operations = DurableLog(node, self.apply, period_s=period_s)
        for each in (self.send, self.poll, self.commit_offsets, self.list_committed_offsets):
            node.on(each.__name__)(each)

    def apply(self, operation: Any) -> int:
        """Apply an operation; return the offset of a message."""
        kind, key, what = operation
        if kind == "send":
            self.logs[key].append(what)
            return len(self.logs[key]) - 1
        self.committed[key] = max(what, self.committed.get(key, 0))
        return self.committed[key]

    async def send(self, message: Envelope) -> dict[str, Any]:
        """Append to a log."""
        return {"offset": await self.operations.append(("send", message["key"], message["msg"]))}

    def poll(self, message: Envelope) -> dict[str, Any]:
        """Read logs."""
        found = {
            key: list(enumerate(self.logs[key]))[at:] for key, at in message["offsets"].items() if key in self.logs
        }
        return {"msgs": found}

    async def commit_offsets(self, message: Envelope) -> dict[str, Any]:
        """Record the offsets of a client."""
        async with trio.open_nursery() as nursery:
            for key, offset in message["offsets"].items():
                if offset > self.committed.get(key, -1):
                    nursery.start_soon(self.operations.append, ("commit", key, offset))
        return {}

    def list_committed_offsets(self, message: Envelope) -> dict[str, Any]:
        """Return the recorded offsets."""
        return {"offsets": {key: self.committed[key] for key in message["keys"] if key in self.committed}}


def build(*, period: float = 0.1) -> MaelstromNode:
    """Return a node that keeps logs; it reads the operations of others at least every `period` seconds."""
    node = MaelstromNode()
    Broker(node, period)
    return node


if __name__ == "__main__":
    main(build)
