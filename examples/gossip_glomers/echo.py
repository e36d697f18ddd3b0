"""Challenge 1, echo: a node returns the text of each request."""

from trionet.maelstrom import Envelope, MaelstromNode, main


def build() -> MaelstromNode:
    """Return a node that echoes."""
    node = MaelstromNode()

    @node.on("echo")
    def echo(message: Envelope) -> dict[str, object]:
        return {"echo": message["echo"]}

    return node


if __name__ == "__main__":
    main(build)
