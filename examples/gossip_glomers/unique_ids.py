"""Challenge 2, unique-ids: an id that no other node gives, and this one gives once; without asking anybody.

An id is the node's name, a number drawn when the process starts, and a count. The name tells nodes apart, the count
the ids of one process, and the drawn number the processes that one node may have had: a node that was killed and comes
back doesn't know how far it had counted.
"""

import itertools

from trionet.maelstrom import Envelope, MaelstromNode, main


def build() -> MaelstromNode:
    """Return a node that makes ids."""
    node = MaelstromNode()
    counts = itertools.count()
    prefix = ""

    @node.on_init
    def draw() -> None:
        nonlocal prefix
        prefix = f"{node.id}-{node.random.getrandbits(64):016x}"

    @node.on("generate")
    def generate(message: Envelope) -> dict[str, object]:
        return {"id": f"{prefix}-{next(counts)}"}

    return node


if __name__ == "__main__":
    main(build)
