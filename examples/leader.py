"""A leader by the lowest SID, and a store that is safe from old leaders by fencing tokens; in virtual time.

Each node leads while it is the lowest of the members that *it* sees. That needs no votes, and promises little: a leader
that stands still, or is cut off, goes on believing that it leads while another one does. So each term begins with a new
token from the store, and the store refuses writes with an older one.

What that gives: the store sees one term after the other, and no late write of an old one. What it doesn't: there may
be two leaders at a time. Whatever else leaders do, such as sending mail, is then done twice. The store is one node;
while it is away nothing is written, and on a disk it must keep its token with its data. Two leaders that both reach the
store take turns. Where that is too little, use consensus (etcd, ZooKeeper), which trionet doesn't have. It prints::

    a leads, with token 1
    a stands still
    b leads, with token 2
    a goes on, and writes: token 1 is void, the term of token 2 has begun
    a leads, with token 3
    tokens of all writes are in order: True, and each term has written: True
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

import trionet
from trionet import simulation
from trionet.simulation import Pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Store:
    """Lines that leaders write."""

    def __init__(self) -> None:
        self.token = 0
        self.lines: list[tuple[int, str]] = []

    @trionet.rpc
    def begin(self) -> int:
        """Begin a term, and return its token. Those of all earlier terms are void from now on."""
        self.token += 1
        return self.token

    @trionet.rpc
    def write(self, token: int, line: str) -> None:
        """Write a line in the name of a term."""
        if token < self.token:  # the check is the fence; it must be where the write is
            raise trionet.PreconditionFailed(f"token {token} is void, the term of token {self.token} has begun")
        self.lines.append((token, line))


class Candidate:
    """A node that leads while it is the lowest member of a group."""

    def __init__(self, node: trionet.Node, gid: str, store: trionet.NodeAddress) -> None:
        self.node = node
        self.group = node.group(gid)
        self.store = store

    async def run(self, lead: Callable[[int], Awaitable[None]]) -> None:
        """Run ``lead(token)`` in each term. Its scope ends with the term, and all that it has started with it."""
        while True:
            await self._wait(lowest=True)
            async with trio.open_nursery() as term:
                term.start_soon(self._serve, lead, term.cancel_scope)
                await self._wait(lowest=False)
                term.cancel_scope.cancel()

    async def _serve(self, lead: Callable[[int], Awaitable[None]], term: trio.CancelScope) -> None:
        try:
            await lead(await self.node.call(self.store, Store.begin))
        except (trionet.PreconditionFailed, trionet.NodeUnreachable, trionet.ConnectionLost):
            await trio.sleep(1)  # another term has begun, or the store is away; is this node still the lowest then?
        term.cancel()

    async def _wait(self, *, lowest: bool) -> None:
        events = self.node.events()  # first listen, then look: no change is missed in between
        while (next(iter(self.group.members()), None) == self.node.sid) != lowest:
            await anext(events)


async def main() -> None:
    """Let the leader stand still for a while, as if its machine were suspended."""
    suspended = Pause(at_s=10, duration_s=25, node=0)
    async with simulation.open_cluster(3, seed=1, faults=[suspended]) as sim, trio.open_nursery() as nursery:
        *nodes, store_node = sim.nodes
        names = {node.sid: name for node, name in zip(nodes, "ab", strict=True)}
        store = Store()
        await store_node.local.routes.put(store)

        async def lead(node: trionet.Node, token: int) -> None:
            print(f"{names[node.sid]} leads, with token {token}")
            while True:
                await trio.sleep(1)
                try:
                    await node.call(store_node.address, Store.write, token, f"by {names[node.sid]}")
                except trionet.PreconditionFailed as error:
                    print(f"{names[node.sid]} goes on, and writes: {error.text}")
                    raise

        for node in nodes:
            await node.local.groups.put("candidates", nodes)
            candidate = Candidate(node, "candidates", store_node.address)
            nursery.start_soon(candidate.run, partial(lead, node))
        await trio.sleep(10)

        print("a stands still")
        await trio.sleep(50)

        tokens = [token for token, _ in store.lines]
        print(f"tokens of all writes are in order: {tokens == sorted(tokens)}", end=", ")
        print(f"and each term has written: {set(tokens) == set(range(1, store.token + 1))}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    simulation.run(main, seed=1)
