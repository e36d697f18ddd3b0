"""Nodes that join a group by themselves when they start.

`on_start` runs in the new node, before `spawn` returns. It finds the node that keeps the list in an environment
variable, which spawned nodes inherit; nodes started by hand join the same way, ``trionet-node --on-start
join_on_start:join``. It prints::

    3 workers have joined
    each knows as many: [1, 2, 3]
    all of them answer: True
"""

import os

import trionet

SEED_VARIABLE = "WORKERS_SEED"


async def join(node: trionet.Node) -> None:
    """Join the group ``workers``: register this node at the seed, and keep the members of its reply."""
    seed = trionet.NodeAddress.of(os.environ[SEED_VARIABLE])
    add = trionet.Remote(node=seed, service="groups", method="add")
    members = await node.local.comm.send(["workers", node.address], add)
    await node.local.groups.put("workers", members)


async def main(node: trionet.Node) -> None:
    """Keep the list, start three workers one after the other, and call them."""
    await node.local.groups.put("workers", [])
    os.environ[SEED_VARIABLE] = str(node.address)
    for _ in range(3):
        await node.local.status.spawn(trionet.NodeConfig(on_start="join_on_start:join"))

    workers = node.group("workers")
    print(f"{len(workers.members())} workers have joined")

    known = await workers.groups.get("workers")
    print(f"each knows as many: {sorted(len(members) for members in known.values.values())}")

    ports = await workers.status.get("port")
    print(f"all of them answer: {sorted(ports.value) == sorted(each.port for each in workers.members().values())}")


if __name__ == "__main__":
    trionet.run(main)
