"""A register of one node that is not linearizable; the workbench must find it."""

from typing import Any

from trionet import KeyDoesNotExist, PreconditionFailed
from trionet.maelstrom import Envelope, MaelstromNode, main


def build(*, fault: str = "none") -> MaelstromNode:
    """Return a node with this fault: ``stale``, ``forgets`` or ``careless``."""
    node = MaelstromNode()
    values: dict[Any, list[Any]] = {}

    @node.on("read")
    def read(message: Envelope) -> dict[str, object]:
        if message["key"] not in values:
            raise KeyDoesNotExist("no such key")
        history = values[message["key"]]
        return {"value": history[-2 if fault == "stale" and len(history) > 1 and node.random.random() < 0.1 else -1]}

    @node.on("write")
    def write(message: Envelope) -> dict[str, object]:
        if fault != "forgets" or node.random.random() < 0.9:
            values.setdefault(message["key"], []).append(message["value"])
        return {}

    @node.on("cas")
    def cas(message: Envelope) -> dict[str, object]:
        history = values.get(message["key"])
        if history is None:
            raise KeyDoesNotExist("no such key")
        is_right = history[-1] == message["from"]
        if not is_right and not (fault == "careless" and node.random.random() < 0.1):
            raise PreconditionFailed("another value")
        history.append(message["to"])
        return {}

    return node


if __name__ == "__main__":
    main(build)
