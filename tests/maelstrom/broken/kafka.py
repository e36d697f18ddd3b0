"""A log server of one node, with one fault; the workbench must find it."""

import random
from collections import defaultdict

from trionet import TemporarilyUnavailable
from trionet.maelstrom import Envelope, MaelstromNode, main

Pair = tuple[int, int]


def faulty(fault: str, pairs: list[Pair], dice: random.Random) -> list[Pair]:
    """Return the messages that a poll shows in place of these."""
    many = len(pairs) > 2
    if fault == "int-poll-skip" and many:
        return [pairs[0], *pairs[2:]]
    if fault == "int-nonmonotonic-poll" and many:
        return [pairs[0], pairs[2], pairs[1], *pairs[3:]]
    if fault == "poll-skip" and many and dice.random() < 0.3:
        return pairs[1:]
    if fault == "unseen":
        return pairs[:-1]
    return pairs


def keep(fault: str, log: dict[int, int], value: int, *, is_bad: bool) -> int:
    """Put a message into a log; return the offset of the reply."""
    offset = max(log, default=-1) + 1
    if fault == "nonmonotonic-send":
        offset = 1000 - len(log)
    elif fault == "G1c":
        offset = value
    elif fault == "inconsistent-offsets" and is_bad and log:
        offset -= 1
    elif fault == "duplicate" and is_bad:
        log[offset + 1] = value
    elif fault == "lost-write" and is_bad:
        log[offset + 1] = -value  # another message, which shows that one before it is missing
        return offset
    log[offset] = value
    return offset


def build(*, fault: str = "none") -> MaelstromNode:
    """Return a node with this fault: an error type of the kafka checker."""
    node = MaelstromNode()
    logs: defaultdict[str, dict[int, int]] = defaultdict(dict)
    dice = node.random
    sent = 0

    @node.on("send")
    def send(message: Envelope) -> dict[str, object]:
        nonlocal sent
        sent += 1
        offset = keep(fault, logs[message["key"]], message["msg"], is_bad=sent % 7 == 0)
        if fault == "G1a" and sent % 7 == 0:
            raise TemporarilyUnavailable("it is stored all the same")
        return {"offset": offset}

    @node.on("poll")
    def poll(message: Envelope) -> dict[str, object]:
        msgs = {}
        for key, begin in message["offsets"].items():
            back = 1 if fault == "nonmonotonic-poll" and dice.random() < 0.3 else 0
            pairs = [(at, logs[key][at]) for at in sorted(logs[key]) if at >= begin - back]
            if fault == "G1c" and len(logs[key]) < 16:
                pairs.append((len(logs[key]) + 1, len(logs[key]) + 1))  # the next send
            msgs[key] = faulty(fault, pairs, dice)
        return {"msgs": msgs}

    @node.on("commit_offsets")
    def commit_offsets(_message: Envelope) -> dict[str, object]:
        return {}

    @node.on("list_committed_offsets")
    def list_committed_offsets(_message: Envelope) -> dict[str, object]:
        return {"offsets": {}}

    return node


if __name__ == "__main__":
    main(build)
