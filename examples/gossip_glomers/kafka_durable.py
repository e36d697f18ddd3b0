"""Challenge 5, kafka, so that no kill loses what was acknowledged: all operations are in one order in lin-kv.

An offset is the place of a message in its log. It is told once lin-kv has the operation; polls are answered from the
node's memory. A node that comes back reads all operations before it says that it is ready. ``kafka --durable`` is this
program, too.
"""

from collections import defaultdict
from typing import Any

import trio

from trionet.maelstrom import DurableLog, Envelope, MaelstromNode, main


class Broker:
    """All logs, as far as one node has read the operations in lin-kv."""

    def __init__(self, node: MaelstromNode, period_s: float) -> None:
        self.logs = defaultdict[str, list[Any]](list)
        self.committed: dict[str, int] = {}
        self.operations = DurableLog(node, self.apply, period_s=period_s)
        for each in (self.send, self.poll, self.commit_offsets, self.list_committed_offsets):
            node.on(each.__name__)(each)

    def apply(self, operation: Any) -> int:
        """Do what a node has asked for; return the offset of a message."""
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
        """Note how far a client has come."""
        async with trio.open_nursery() as nursery:
            for key, offset in message["offsets"].items():
                if offset > self.committed.get(key, -1):
                    nursery.start_soon(self.operations.append, ("commit", key, offset))
        return {}

    def list_committed_offsets(self, message: Envelope) -> dict[str, Any]:
        """Tell how far clients have come."""
        return {"offsets": {key: self.committed[key] for key in message["keys"] if key in self.committed}}


def build(*, period: float = 0.1) -> MaelstromNode:
    """Return a node that keeps logs; it reads what others have appended every `period` seconds, at least."""
    node = MaelstromNode()
    Broker(node, period)
    return node


if __name__ == "__main__":
    main(build)
