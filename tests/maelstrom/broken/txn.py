"""Transactions on one node, isolated badly; the workbench must find it."""

from collections import deque
from typing import Any

import trio

from trionet import TxnConflict
from trionet.maelstrom import MaelstromNode, Message, main

State = dict[int, Any]


def apply(state: State, op: list[Any]) -> list[Any]:
    """Do a micro-operation."""
    f, key, value = op
    if f == "r":
        return [f, key, state.get(key)]
    state[key] = [*state.get(key, []), value] if f == "append" else value
    return op


def build(*, fault: str = "none") -> MaelstromNode:  # noqa: C901
    """Return a node with this fault."""
    node = MaelstromNode()
    state: State = {}
    history: deque[tuple[float, State]] = deque([(0.0, {})])
    changed: dict[int, int] = {}  # by key, at which commit
    commits = 0

    async def dirty(ops: list[Any]) -> list[Any]:
        done = []
        for op in ops:
            done.append(apply(state, op))
            await trio.sleep(0.01 * node.random.random())
        return done

    async def skewed(ops: list[Any]) -> list[Any]:  # reads what is committed, now this, now that
        done = []
        for op in ops:
            done.append(apply(state, op))
            if all(op[0] == "r" for op in ops):
                await trio.sleep(0.01 * node.random.random())
        return done

    async def snapshot(ops: list[Any], *, is_checked: bool) -> list[Any]:
        nonlocal commits
        own, begun = dict(state), commits
        done = [apply(own, op) for op in ops]
        await trio.sleep(0.02 * node.random.random())
        written = {op[1] for op in ops if op[0] != "r"}
        if is_checked and any(changed.get(key, 0) > begun for key in written):
            raise TxnConflict("somebody else wrote that first")
        commits += 1
        changed.update(dict.fromkeys(written, commits))
        state.update({key: own[key] for key in written})
        return done

    def serial(ops: list[Any]) -> list[Any]:
        if fault == "stale" and all(op[0] == "r" for op in ops):
            old = next(each for at, each in history if at >= trio.current_time() - 0.5 or each is history[-1][1])
            return [apply(old, op) for op in ops]
        done = [apply(state, op) for op in ops]
        history.append((trio.current_time(), dict(state)))
        while len(history) > 1 and history[0][0] < trio.current_time() - 1:
            history.popleft()
        return done

    def spoiled(ops: list[Any]) -> list[Any]:
        done, written = [], dict[int, Any]()
        for op in ops:
            f, key, value = op = apply(state, op)
            if f != "r":
                written[key] = value
            elif fault == "internal" and key in written:
                value = None if f == "r" else value
            elif fault == "cyclic-versions":
                after = next((each[2] for each in ops if each[0] == "w" and each[1] == key), None)
                value = after + 1 if after is not None and after % 2 else value
            elif fault == "incompatible-order" and value and len(value) > 1 and node.random.random() < 0.2:
                value = [*value[:-2], value[-1], value[-2]]
            elif fault == "duplicate-elements" and value:
                value = [*value, value[-1]]
            elif fault == "future-read":
                value = (value or []) + [each[2] for each in ops if each[0] == "append" and each[1] == key]
            done.append([f, key, value])
        return done

    @node.on("txn")
    async def txn(message: Message) -> dict[str, object]:
        ops = message["txn"]
        if fault == "aborted":
            done = serial(ops)
            if node.random.random() < 0.2:
                raise TxnConflict("it is done all the same")
        elif fault == "dirty":
            done = await dirty(ops)
        elif fault == "read-skew":
            done = await skewed(ops)
        elif fault in {"lost-update", "write-skew"}:
            done = await snapshot(ops, is_checked=fault == "write-skew")
        else:
            done = serial(ops) if fault in {"none", "stale"} else spoiled(ops)
        return {"txn": done}

    return node


if __name__ == "__main__":
    main(build)
