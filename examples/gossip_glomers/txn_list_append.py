"""txn-list-append: transactions on lists, strictly serializable, by way of Maelstrom's lin-kv.

The whole database is one value: a map from key to the name of a list, kept under ``root``. The lists themselves never
change: an append makes a new list, under a new name. A transaction reads the root, computes and writes its new lists,
and then replaces the root by a compare-and-set; if the root has changed meanwhile, it starts again. So all transactions
take effect one after the other, at their compare-and-set (or, if they only read, at their read of the root), which is
strict serializability. The service is reachable during partitions.

Source: Maelstrom, ``doc/05-datomic``.
"""

import itertools
from typing import Any

import msgspec
import trio

from trionet import MalformedRequest, PreconditionFailed
from trionet.maelstrom import KV, Envelope, MaelstromNode, main


class Database:
    """The database on one node; a transaction that lasts longer than `patience_s` has an unknown outcome."""

    def __init__(self, node: MaelstromNode, patience_s: float) -> None:
        self.node = node
        self.patience_s = patience_s
        self.kv = KV(node, "lin-kv")
        self.lists: dict[str, list[Any]] = {}  # the known lists
        self.turn = trio.Lock()  # transactions of one node do not compete
        self.prefix = ""
        self.counts = itertools.count()
        node.on_init(self.begin)
        node.on("txn")(self.run)

    def begin(self) -> None:
        """Draw the prefix of the names of this process's lists."""
        self.prefix = f"{self.node.id}-{self.node.random.getrandbits(64):016x}"

    async def run(self, message: Envelope) -> dict[str, Any]:
        """Run a transaction, until an attempt succeeds."""
        operations = message["txn"]
        if not all(isinstance(one, list) and len(one) == 3 and one[0] in ("r", "append") for one in operations):
            raise MalformedRequest("a transaction is a list of reads and appends")
        with trio.fail_after(self.patience_s):
            async with self.turn:
                while True:
                    try:
                        return {"txn": await self.attempt(operations)}
                    except PreconditionFailed:
                        await trio.sleep(self.node.random.uniform(0, 0.01))

    async def attempt(self, operations: list[Any]) -> list[tuple[str, Any, Any]]:
        """Run a transaction once; raise `PreconditionFailed` if the root has changed."""
        root: dict[str, str] = await self.kv.read_or("root", {})
        places = [msgspec.json.encode(key).decode() for _, key, _ in operations]
        async with trio.open_nursery() as nursery:
            for name in sorted({root[place] for place in places if place in root} - self.lists.keys()):
                nursery.start_soon(self.fetch, name)
        done: list[tuple[str, Any, Any]] = []
        values = {place: self.lists[root[place]] if place in root else None for place in places}
        changed: dict[str, str] = {}
        for place, (kind, key, value) in zip(places, operations, strict=True):
            if kind == "append":
                values[place] = [*(values[place] or []), value]
                changed[place] = f"{self.prefix}-{next(self.counts)}"
            done.append((kind, key, value if kind == "append" else values[place]))
        if changed:
            async with trio.open_nursery() as nursery:
                for place, name in changed.items():
                    nursery.start_soon(self.store, name, values[place])
            await self.kv.cas("root", root, root | changed, create_if_not_exists=True)
        return done

    async def fetch(self, name: str) -> None:
        """Read a list."""
        self.lists[name] = await self.kv.read(name)

    async def store(self, name: str, values: list[Any] | None) -> None:
        """Write a list."""
        self.lists[name] = values or []
        await self.kv.write(name, values)


def build(*, patience: float = 4.5) -> MaelstromNode:
    """Return a node that runs transactions; one that lasts longer than `patience` seconds has an unknown outcome."""
    node = MaelstromNode()
    Database(node, patience)
    return node


if __name__ == "__main__":
    main(build)
