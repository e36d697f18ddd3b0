"""Feature flags that reach every node by gossip, and are read without a call.

A flag is a share of the users, from 0 to 100 percent. Any node writes it. Each node has its own copy, so a request
costs no message, and is answered while the network is down. Who is in depends on the flag and the user alone: all nodes
agree, and who is in at 10 % is in at 50 %, too. What is not promised: nodes may differ for some tenths of a second, and
during a partition for as long as it lasts; of two writes at one time one wins. It prints::

    without the flag: [0, 0, 0] of 1,000 users
    at 10 %: [100, 100, 100]
    at 50 %: [505, 505, 505], and who was in still is: True
    a node that comes later: 505
    switched off: [0, 0, 0, 0]
"""

from __future__ import annotations

import hashlib

import trio

import trionet

USERS = [f"user-{number}" for number in range(1000)]
PREFIX = "flag."  # so that the flags share the settings of the group with others


class Flags:
    """The flags, as this node knows them."""

    def __init__(self) -> None:
        self._percents: dict[str, float] = {}

    @classmethod
    async def open(cls, node: trionet.Node) -> Flags:
        """Return the flags of the node's cluster, which follow it from now on."""
        flags = cls()
        node.listen(flags._hear)  # first listen, then read: nothing is missed in between
        for key, value in (await node.all.settings.items()).items():
            flags._set(key, value)
        return flags

    def _hear(self, event: trionet.Event) -> None:
        if isinstance(event, trionet.SettingChanged) and event.gid == "all":
            self._set(event.key, event.value)

    def _set(self, key: str, value: object) -> None:
        if key.startswith(PREFIX):  # what is removed, or is no number, is off
            self._percents[key.removeprefix(PREFIX)] = value if isinstance(value, int | float) else 0

    def is_on(self, flag: str, user: str) -> bool:
        """Return whether the user has the feature. This is a plain function, for the hot path."""
        digest = hashlib.sha256(f"{flag}/{user}".encode()).digest()  # not hash(): that differs between processes
        return int.from_bytes(digest[:4], "big") / 2**32 < self._percents.get(flag, 0) / 100

    def users(self, flag: str) -> set[str]:
        """Return which of the users have it."""
        return {user for user in USERS if self.is_on(flag, user)}


async def set_flag(node: trionet.Node, flag: str, percent: float) -> None:
    """Set a flag everywhere; return when every member has it."""
    receipt = await node.all.settings.put(PREFIX + flag, percent)
    with trio.move_on_after(5):  # a member that can't be reached gets it later
        await receipt.wait_spread()


async def main() -> None:
    """Roll a feature out on three nodes, and switch it off."""
    async with trio.open_nursery() as nursery:
        first = await nursery.start(trionet.serve_node, trionet.NodeConfig(join=[]))
        config = trionet.NodeConfig(join=[str(first.address)])
        others = [await nursery.start(trionet.serve_node, config) for _ in range(2)]
        copies = [await Flags.open(node) for node in (first, *others)]
        print(f"without the flag: {[len(flags.users('basket')) for flags in copies]} of 1,000 users")

        await set_flag(others[-1], "basket", 10)
        print(f"at 10 %: {[len(flags.users('basket')) for flags in copies]}")
        before = copies[0].users("basket")

        await set_flag(first, "basket", 50)
        stay = all(before <= flags.users("basket") for flags in copies)
        print(f"at 50 %: {[len(flags.users('basket')) for flags in copies]}, and who was in still is: {stay}")

        late = await nursery.start(trionet.serve_node, config)
        await late.all.settings.wait(PREFIX + "basket")
        copies.append(await Flags.open(late))
        print(f"a node that comes later: {len(copies[-1].users('basket'))}")

        await set_flag(late, "basket", 0)
        print(f"switched off: {[len(flags.users('basket')) for flags in copies]}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
