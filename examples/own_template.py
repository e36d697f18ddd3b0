"""A group-wide service of your own: which nodes of the group hold a key?

`Search` is a template: it exists in every group of the node where it is registered, with that group as its context.
It prints::

    b holds pear
    nobody holds plum
    asked from outside the group: ['b', 'c'] hold apple
"""

import trio

import trionet

HOLDS = trionet.Remote(service="shelf", method="holds")


class Shelf:
    """The keys of one node."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)

    @trionet.rpc
    def holds(self, key: str) -> bool:
        """Return whether `key` is here."""
        return key in self.keys


class Search(trionet.Template):
    """Looks on every shelf of the group."""

    @trionet.rpc
    async def find(self, key: str) -> list[trionet.NodeAddress]:
        """Return the nodes that hold `key`."""
        replies = await self.fan_out([key], HOLDS)
        return [self.context.members()[sid] for sid, holds in replies.values.items() if holds]


async def main() -> None:
    """Search a group, from inside and from outside."""
    async with trionet.open_node() as a, trionet.open_node() as b, trionet.open_node() as c:
        names = {a.address: "a", b.address: "b", c.address: "c"}
        for node, shelf in ((a, Shelf()), (b, Shelf("apple", "pear")), (c, Shelf("apple"))):
            await node.local.routes.put(shelf, "shelf")
        a.register_template("search", Search)
        await a.local.groups.put("library", [a, b, c])

        for key in ("pear", "plum"):
            found = await a.group("library").service("search").find(key)
            print(f"{names[found[0]] if found else 'nobody'} holds {key}")

        remote = trionet.Remote(node=a.address, gid="library", service="search", method="find")
        found = await c.local.comm.send(["apple"], remote)
        print(f"asked from outside the group: {sorted(names[node] for node in found)} hold apple")


if __name__ == "__main__":
    trio.run(main)
