"""Count the nodes that have heard a rumor: the handout's exercise, with real processes.

One node counts. It gossips to a group: "call my counter". Each member that hears the rumor does so, once; so the
counter shows how many know it. Then a periodic task sends rumors by itself, until another node deletes it. With an
argument it takes that many members: ``python rumor_count.py 100``. It prints::

    5 members are up
    a rumor was handed to 5 members, and 5 have called
    after 10 more rumors: 55 calls, each member once for each: True
    a task on a member sends more of them
    the task was there: True, and is gone: True
"""

from __future__ import annotations

import sys

import trio

import trionet


class Counter:
    """Counts the calls, by the node that made them."""

    def __init__(self) -> None:
        self.calls: list[trionet.NodeAddress | None] = []
        self.changed = trio.Event()

    @trionet.rpc
    def count(self) -> None:
        """Count one more."""
        self.calls.append(trionet.current_call().caller)
        self.changed.set()
        self.changed = trio.Event()

    async def wait(self, total: int) -> None:
        """Wait until there are so many calls."""
        while len(self.calls) < total:
            await self.changed.wait()


async def main(node: trionet.Node, size: int) -> None:
    """Start the members, and gossip."""
    counter = Counter()
    await node.local.routes.put(counter)
    await node.local.groups.put("browncs", [])
    group = node.group("browncs")
    async with trio.open_nursery() as nursery:
        for _ in range(size):
            nursery.start_soon(group.status.spawn, trionet.NodeConfig())
    members = list(group.members().values())
    await group.groups.put("browncs", members)  # each member holds the group with all its members
    print(f"{len(members)} members are up")

    # The rumor is a call of "comm.send" on each member; its arguments are another call: of the counter, on this node.
    call_me = [[], trionet.Remote(node=node.address, service="counter", method="count")]
    send = trionet.Remote(service="comm", method="send")
    receipt = await group.gossip.send(call_me, send)
    await counter.wait(size)
    print(f"a rumor was handed to {len(receipt.values)} members, and {len(counter.calls)} have called")

    for _ in range(10):
        receipt = await group.gossip.send(call_me, send)
        await receipt.wait_spread()  # every member has it; its call may still be on its way
    await counter.wait(11 * size)
    once = all(counter.calls.count(member) == 11 for member in members)
    print(f"after 10 more rumors: {len(counter.calls)} calls, each member once for each: {once}")

    at = trionet.Remote(node=members[0], gid="browncs", service="gossip", method="at")
    task = await node.local.comm.send([0.1, (call_me, send)], at)  # seconds, where the handout has milliseconds
    await counter.wait(13 * size)
    print("a task on a member sends more of them")

    delete = trionet.Remote(node=members[-1], gid="browncs", service="gossip", method="del")
    was_there = await node.local.comm.send([task], delete)  # any member can delete it, by its id
    is_gone = not any((await group.gossip.tasks()).values.values())
    print(f"the task was there: {was_there}, and is gone: {is_gone}")


if __name__ == "__main__":
    trionet.run(main, None, int(sys.argv[1]) if len(sys.argv) > 1 else 5)
