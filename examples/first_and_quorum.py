"""Call a group, and continue with the first reply, or with a quorum.

Three nodes of one process are replicas of a price list; one of them is out of order and never answers. It prints::

    the first answer: 42
    a quorum of 2: [42, 42]
    they agree: True
"""

import trio

import trionet

PRICE = trionet.Remote(service="prices", method="get")


class Prices:
    """A replica of the price list."""

    def __init__(self, *, works: bool) -> None:
        self.works = works
        self.prices = {"coffee": 42}

    @trionet.rpc
    async def get(self, item: str) -> int:
        """Return the price of `item`, in cents."""
        if not self.works:
            await trio.sleep_forever()
        return self.prices[item]


async def main() -> None:
    """Call the replicas twice."""
    async with trionet.open_node() as a, trionet.open_node() as b, trionet.open_node() as c:
        for node in (a, b, c):
            await node.local.routes.put(Prices(works=node is not c), "prices")
        await a.local.groups.put("replicas", [a, b, c])
        replicas = a.group("replicas")

        first = await replicas.comm.send(["coffee"], PRICE, wait="first")
        print(f"the first answer: {next(iter(first.values.values()))}")

        # The call to the third replica is cancelled as soon as two have answered.
        quorum = await replicas.comm.send(["coffee"], PRICE, wait=2)
        print(f"a quorum of 2: {list(quorum.values.values())}")
        print(f"they agree: {len(set(quorum.values.values())) == 1}")


if __name__ == "__main__":
    trio.run(main)
