"""Transactions on one node, isolated badly; the workbench must find it."""

from collections import deque
from typing import Any

import trio

from trionet import TxnConflict
from trionet.maelstrom import Envelope, MaelstromNode, main

State = dict[int, Any]
Ops = list[list[Any]]


def apply(state: State, op: list[Any]) -> list[Any]:
    """Do a micro-operation."""
    f, key, value = op
    if f == "r":
        return [f, key, state.get(key)]
    state[key] = [*state.get(key, []), value] if f == "append" else value
    return op


def is_reading(ops: Ops) -> bool:
    """Whether a transaction writes nothing."""
    return all(op[0] == "r" for op in ops)


class Database:
    """The state of one node, and its ways to run transactions."""

    def __init__(self, fault: str, node: MaelstromNode) -> None:
        self.fault = fault
        self.node = node
        self.state: State = {}
        self.past: deque[tuple[float, State]] = deque([(0.0, {})])
        self.changed: dict[int, int] = {}  # by key, at which commit
        self.commits = 0

    async def dirty(self, ops: Ops) -> Ops:
        """Do each micro-operation by itself, slowly; `read-skew` spares transactions that write."""
        done = []
        for op in ops:
            done.append(apply(self.state, op))
            if self.fault == "dirty" or is_reading(ops):
                await trio.sleep(0.01 * self.node.random.random())
        return done

    async def snapshot(self, ops: Ops) -> Ops:
        """Read the state of the beginning, write at the end; `write-skew` lets only the first writer win."""
        own, begun = dict(self.state), self.commits
        done = [apply(own, op) for op in ops]
        await trio.sleep(0.02 * self.node.random.random())
        written = {op[1] for op in ops if op[0] != "r"}
        if self.fault == "write-skew" and any(self.changed.get(key, 0) > begun for key in written):
            raise TxnConflict("another transaction wrote that first")
        self.commits += 1
        self.changed.update(dict.fromkeys(written, self.commits))
        self.state.update({key: own[key] for key in written})
        return done

    def serial(self, ops: Ops) -> Ops:
        """Do it rightly; but `stale` reads are half a second old."""
        now = trio.current_time()
        if self.fault == "stale" and is_reading(ops):
            old = next((state for at, state in self.past if at >= now - 0.5), self.past[-1][1])
            return [apply(old, op) for op in ops]
        done = [apply(self.state, op) for op in ops]
        self.past.append((now, dict(self.state)))
        while len(self.past) > 1 and self.past[0][0] < now - 1:
            self.past.popleft()
        return done

    def spoiled(self, ops: Ops) -> Ops:
        """Run a transaction correctly, and reply with wrong reads."""
        done, written = [], set()
        for op in ops:
            f, key, value = apply(self.state, op)
            if f == "r":
                value = self.lie(key, value, ops, is_own=key in written)
            else:
                written.add(key)
            done.append([f, key, value])
        return done

    def lie(self, key: int, value: Any, ops: Ops, *, is_own: bool) -> Any:
        """Return the value of the reply in place of the real one."""
        if self.fault == "internal" and is_own:
            return None
        if self.fault == "cyclic-versions":
            after = next((each[2] for each in ops if each[0] == "w" and each[1] == key), 0)
            return after + 1 if after % 2 else value
        if self.fault == "incompatible-order" and value and len(value) > 1 and self.node.random.random() < 0.2:
            return [*value[:-2], value[-1], value[-2]]
        if self.fault == "duplicate-elements" and value:
            return [*value, value[-1]]
        if self.fault == "future-read":
            return (value or []) + [each[2] for each in ops if each[0] == "append" and each[1] == key]
        return value


def build(*, fault: str = "none") -> MaelstromNode:
    """Return a node with this fault."""
    node = MaelstromNode()
    database = Database(fault, node)

    @node.on("txn")
    async def txn(message: Envelope) -> dict[str, object]:
        ops = message["txn"]
        if fault in {"dirty", "read-skew"}:
            return {"txn": await database.dirty(ops)}
        if fault in {"lost-update", "write-skew"}:
            return {"txn": await database.snapshot(ops)}
        done = database.serial(ops) if fault in {"none", "stale", "aborted"} else database.spoiled(ops)
        if fault == "aborted" and node.random.random() < 0.2:
            raise TxnConflict("it is done all the same")
        return {"txn": done}

    return node


if __name__ == "__main__":
    main(build)
