"""lin-kv: a linearizable key-value store, by way of Maelstrom's own.

Every node sends its requests to the service, which is linearizable, and reachable during partitions. The client gets
the errors of the service (no such key, another value) unchanged. The outcome of a request without a reply in time is
unknown: the client gets a timeout, which is an indefinite error.
"""

import trio

from trionet.maelstrom import KV, Envelope, MaelstromNode, main


def build(*, patience: float = 5.0) -> MaelstromNode:
    """Return a node that uses the service; it waits `patience` seconds for a reply."""
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
