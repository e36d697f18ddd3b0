"""Broadcast, sets, counters, ids and echo, on nodes that don't talk to each other or do so badly."""

from typing import Any

from trionet import TemporarilyUnavailable
from trionet.maelstrom import Envelope, MaelstromNode, main


class Values:
    """The values of one node."""

    def __init__(self, fault: str, node: MaelstromNode) -> None:
        self.fault = fault
        self.node = node
        self.values: list[Any] = []
        self.total = 0
        for kind in ("broadcast", "add"):
            node.on(kind)(self.put)
        node.on("told")(self.receive)
        node.on("read")(self.read)

    def add(self, value: Any) -> None:
        """Keep a value."""
        if self.fault == "forgets" and len(self.values) % 10 == 9:
            self.values.pop(0)
        if not (self.fault == "loses" and value % 10 == 3):
            self.values.append(value)
        self.total += value

    def receive(self, message: Envelope) -> None:
        """Handle a value from another node."""
        self.add(message["value"])

    def put(self, message: Envelope) -> dict[str, object]:
        """Handle a value from a client, and send it to the others."""
        value = next(message.body[key] for key in ("message", "element", "delta") if key in message.body)
        self.add(value)
        for peer in self.node.peers if self.fault != "local" else ():
            if not (self.fault == "forsakes-n0" and peer == "n0" and value % 10 == 3):
                self.node.send(peer, {"type": "told", "value": value})
        return {"message": value} if self.fault == "extra-key" else {}

    def read(self, _message: Envelope) -> dict[str, object]:
        """Return the known values: a sum for counters, else a list."""
        if self.fault == "no-reads":
            raise TemporarilyUnavailable("not today")
        if self.fault in {"counts", "miscounts"}:
            return {"value": self.total + (self.fault == "miscounts")}
        extra = [-1] if self.fault == "invents" else self.values if self.fault == "repeats" else []
        return {"messages": [*self.values, *extra]}


class Answers:
    """The workloads whose only state is a number."""

    def __init__(self, fault: str, node: MaelstromNode) -> None:
        self.fault = fault
        self.node = node
        self.count = 0
        node.on("generate")(self.generate)
        node.on("echo")(self.echo)

    def generate(self, _message: Envelope) -> dict[str, object]:
        """Give an id."""
        self.count += 1
        if self.fault == "unavailable" and self.count % 100 == 50:
            raise TemporarilyUnavailable("a moment, please")
        if self.fault == "mixed-types" and self.count % 2:
            return {"id": self.count * 10 + int(self.node.id[1:])}
        return {"id": self.count if self.fault == "repeats" else f"{self.node.id}-{self.count}"}

    def echo(self, message: Envelope) -> dict[str, object] | None:
        """Return the text of the request."""
        self.count += 1
        if self.fault == "silent" and self.count % 10 == 5:
            return None
        return {"echo": message["echo"] if self.fault != "wrong-echo" or self.count % 10 else "Echo?"}


def build(*, fault: str = "none") -> MaelstromNode:
    """Return a node with this fault."""
    node = MaelstromNode()
    Values(fault, node)
    Answers(fault, node)
    return node


if __name__ == "__main__":
    main(build)
