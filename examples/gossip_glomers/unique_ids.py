"""Challenge 2, unique-ids: each id is made only once, on one node, without messages between nodes.

An id is the node's name, a random number of the process, and a count. The name distinguishes nodes, the count the ids
of one process, and the random number the processes of one node: a restarted node has lost its last count.
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
