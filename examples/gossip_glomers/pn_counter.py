"""pn-counter: a counter that goes up and down, kept by all nodes.

It is the g-counter with negative deltas: the log of additions accepts them as well. See g_counter.py.
"""

from trionet.maelstrom import MaelstromNode, load_challenge, main


def build(*, period: float = 0.5) -> MaelstromNode:
    """Return a node that counts; it sends at most one message every `period` seconds."""
    return load_challenge("g-counter")(period=period, signed=True)


if __name__ == "__main__":
    main(build)
