"""Challenge 6, txn-rw-register: transactions of reads and writes, totally available, read committed.

A transaction runs on this node's copy in one step, so that it reads only committed values, and is acknowledged at once:
it needs no other node, so it never aborts, partition or not. Its writes go to the other nodes as one operation, which
they apply in one step, after all operations that this node had applied before it.

Of two writes to a key the one with the higher stamp stays. A stamp is a Lamport clock and the node's name: higher than
the stamps of all versions that its transaction can have read. So all nodes converge, the versions of a key follow each
other in the order of their stamps, and no cycle of reads and writes exists: that is read committed (no G0, G1a, G1b,
G1c). A client's reads never go back, because a node's copy never does.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from trionet import MalformedRequest
from trionet.maelstrom import Envelope, MaelstromNode, ReplicatedLog, main

encode = msgspec.json.encode


def build(*, period: float = 0.1) -> MaelstromNode:
    """Return a node that runs transactions; it sends at most one message every `period` seconds."""
    node = MaelstromNode()
    clock = 0
    registers: dict[bytes, tuple[int, str, Any]] = {}  # a key's JSON: stamp, node, value

    def apply(committed: Sequence[Any]) -> None:
        nonlocal clock
        for stamp, name, writes in committed:
            clock = max(clock, stamp)
            for key, value in writes:
                register = encode(key)
                if (stamp, name) > registers.get(register, (0, "", None))[:2]:
                    registers[register] = stamp, name, value

    log = ReplicatedLog(node, apply, period_s=period)

    @node.on("txn")
    def run_transaction(message: Envelope) -> dict[str, object]:
        done: list[tuple[str, Any, Any]] = []
        written: dict[bytes, tuple[Any, Any]] = {}
        for operation in message["txn"]:
            match operation:
                case ["r", key, _]:
                    register = encode(key)
                    known = registers.get(register, (0, "", None))[2]
                    done.append(("r", key, written[register][1] if register in written else known))
                case ["w", key, value]:
                    written[encode(key)] = key, value
                    done.append(("w", key, value))
                case _:
                    raise MalformedRequest(f"an operation is a read or a write, not {operation!r:.100}")
        if written:
            log.append([clock + 1, node.id, list(written.values())])
        return {"txn": done}

    return node


if __name__ == "__main__":
    main(build)
