"""lin-kv: a linearizable key-value store, by way of Maelstrom's own.

Every node asks the service, which is linearizable and can be reached by all of them, partition or not. Its errors (no
such key, another value) are the client's, as they are. Whether a request that is not answered in time was carried out,
nobody can tell: the client gets a timeout, which is an indefinite error.
"""

import trio

from trionet.maelstrom import KV, Envelope, MaelstromNode, main


def build(*, patience: float = 5.0) -> MaelstromNode:
    """Return a node that asks the service; it waits for an answer as many seconds as `patience` says."""
    node = MaelstromNode()
    kv = KV(node, "lin-kv")

    @node.on("read")
    async def read(message: Envelope) -> dict[str, object]:
        with trio.fail_after(patience):
            return {"value": await kv.read(message["key"])}

    @node.on("write")
    async def write(message: Envelope) -> dict[str, object]:
        with trio.fail_after(patience):
            await kv.write(message["key"], message["value"])
        return {}

    @node.on("cas")
    async def cas(message: Envelope) -> dict[str, object]:
        with trio.fail_after(patience):
            await kv.cas(message["key"], message["from"], message["to"])
        return {}

    return node


if __name__ == "__main__":
    main(build)
