"""A counter on every node of a group, called on all of them at once.

Each member makes its own `Counter` from the import path, so this file is imported by the nodes that it spawns.
It prints::

    3 members hold a counter
    all count 5: [5, 5, 5]
    one counts 2 more: 7
    together they are at 17
"""

import trio

import trionet


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.total = 0

    @trionet.rpc
    def add(self, amount: int = 1) -> int:
        """Count `amount`; return the new total."""
        self.total += amount
        return self.total


async def main(node: trionet.Node) -> None:
    """Start three nodes, have each offer a counter, and count."""
    await node.local.groups.put("shops", [])
    shops = node.group("shops")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(shops.status.spawn, trionet.NodeConfig())
    placed = await shops.routes.put("counter_service:Counter")
    print(f"{len(placed.values)} members hold a counter")

    replies = await shops.call(Counter.add, 5)
    print(f"all count 5: {list(replies.values.values())}")

    first = next(iter(shops.members().values()))
    print(f"one counts 2 more: {await node.call(first, Counter.add, 2)}")

    replies = await shops.call(Counter.add, amount=0)
    print(f"together they are at {sum(replies.values.values())}")


if __name__ == "__main__":
    trionet.run(main)
