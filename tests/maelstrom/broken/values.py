"""Broadcast, sets, counters, ids and echo, on nodes that don't talk to each other or do so badly."""

from typing import Any

from trionet import TemporarilyUnavailable
from trionet.maelstrom import MaelstromNode, Message, main


def build(*, fault: str = "none") -> MaelstromNode:  # noqa: C901
    """Return a node with this fault."""
    node = MaelstromNode()
    values: list[Any] = []
    total = 0
    count = 0

    def take(value: Any) -> None:
        nonlocal total
        if fault == "forgets" and len(values) % 10 == 9:
            values.pop(0)
        if not (fault == "loses" and value % 10 == 3):
            values.append(value)
        if type(value) is int:
            total += value

    def spread(value: Any) -> None:
        take(value)
        for peer in node.peers if fault != "local" else ():
            if not (fault == "forsakes-n0" and peer == "n0" and value % 10 == 3):
                node.send(peer, {"type": "told", "value": value})

    @node.on("told")
    def told(message: Message) -> None:
        take(message["value"])

    @node.on("broadcast")
    def broadcast(message: Message) -> dict[str, object]:
        spread(message["message"])
        return {"message": message["message"]} if fault == "extra-key" else {}

    @node.on("add")
    def add(message: Message) -> dict[str, object]:
        spread(message.body.get("element", message.body.get("delta")))
        return {}

    @node.on("read")
    def read(_message: Message) -> dict[str, object]:
        if fault == "no-reads":
            raise TemporarilyUnavailable("not today")
        if fault == "broadcasts":
            return {"messages": values}
        shown = [*values, -1] if fault == "invents" else values * 2 if fault == "repeats" else values
        if fault == "miscounts":
            return {"value": total + 1}
        return {"value": total} if fault == "counts" else {"messages": shown}

    @node.on("generate")
    def generate(_message: Message) -> dict[str, object]:
        nonlocal count
        count += 1
        if fault == "unavailable" and count % 100 == 50:
            raise TemporarilyUnavailable("a moment, please")
        if fault == "mixed-types":
            return {"id": count * 10 + int(node.id[1:]) if count % 2 else f"{node.id}-{count}"}
        return {"id": count if fault == "repeats" else f"{node.id}-{count}"}

    @node.on("echo")
    def echo(message: Message) -> dict[str, object] | None:
        nonlocal count
        count += 1
        if fault == "silent" and count % 10 == 5:
            return None
        return {"echo": message["echo"] if fault != "wrong-echo" or count % 10 else "Echo?"}

    return node


if __name__ == "__main__":
    main(build)
