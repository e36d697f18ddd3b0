"""Count rumors: gossip to a group, and then query every member for its count.

Each node keeps a counter, and each rumor adds one to it: on every node of the group, and once. At last a task sends
rumors by itself, until it is deleted from another node. It prints::

    5 members count
    after 10 rumors: [10, 10, 10, 10, 10]
    a task sends more of them
    the task was there: True, and is gone: True
"""

from __future__ import annotations

import trio

import trionet


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.total = 0

    @trionet.rpc
    def count(self) -> None:
        """Count one more."""
        self.total += 1

    @trionet.rpc
    def get(self) -> int:
        """Return how often it has counted."""
        return self.total


COUNT = trionet.Remote(service="counter", method="count")
GET = trionet.Remote(service="counter", method="get")


async def totals(group: trionet.Group) -> list[int]:
    """Return the count of every member."""
    replies = await group.comm.send([], GET)
    replies.raise_errors()
    return list(replies.values.values())


async def main(node: trionet.Node) -> None:
    """Start five nodes, and gossip."""
    await node.local.groups.put("browncs", [])
    group = node.group("browncs")
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(group.status.spawn, trionet.NodeConfig())
    members = list(group.members().values())
    await group.groups.put("browncs", members)  # each node holds the group with all its members
    print(f"{len((await group.routes.put('rumor_count:Counter', 'counter')).values)} members count")

    receipts = [await group.gossip.send([], COUNT) for _ in range(10)]
    for receipt in receipts:
        await receipt.wait_spread()  # until every member has confirmed the rumor
    print(f"after 10 rumors: {await totals(group)}")

    at = trionet.Remote(node=members[0], gid="browncs", service="gossip", method="at")
    task = await node.local.comm.send([0.1, ([], COUNT)], at)  # every tenth of a second, from the first member
    while min(await totals(group)) < 13:  # noqa: ASYNC110  there is no event for the counts of others
        await trio.sleep(0.05)
    print("a task sends more of them")

    delete = trionet.Remote(node=members[4], gid="browncs", service="gossip", method="del")
    was_there = await node.local.comm.send([task], delete)  # by the last member
    is_gone = not any((await group.gossip.tasks()).values.values())
    print(f"the task was there: {was_there}, and is gone: {is_gone}")


if __name__ == "__main__":
    trionet.run(main)
