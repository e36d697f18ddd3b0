"""The workbench reads a node's output line by line, as Maelstrom does."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trionet.maelstrom.workbench.journal import Journal
from trionet.maelstrom.workbench.network import Network
from trionet.maelstrom.workbench.node_base import RunningNode

if TYPE_CHECKING:
    from trionet.maelstrom.workbench.messages import NetworkMessage

GOOD = {"src": "n0", "dest": "c0", "body": {"type": "echo_ok", "in_reply_to": 1}}
TEXT = json.dumps(GOOD).encode()


class _Node(RunningNode):
    """A node that only writes."""

    async def start(self, nursery: trio.Nursery) -> None: ...

    def deliver(self, message: NetworkMessage) -> None: ...

    def kill(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def read(*lines: bytes) -> tuple[list[dict[str, Any]], list[str], bool]:
    """Return the messages of these lines that reach the client, the warnings, and whether the node is ignored."""
    bodies: list[dict[str, Any]] = []
    warnings: list[str] = []

    async def main() -> bool:
        network = Network(lambda: 0, random.Random(1), 0.0, Journal(0.0))
        network.add("n0", lambda _: None)
        network.add("c0", lambda message: bodies.append(json.loads(message.body)))
        node = _Node("n0", network, warnings.append)
        for line in lines:
            node.handle_line(line)
        await trio.lowlevel.checkpoint()
        return node.is_ignored

    return bodies, warnings, trio.run(main)


ACCEPTED = {
    "plain": (TEXT, GOOD["body"], ""),
    "blanks-around": (b"  " + TEXT + b" \t\r", GOOD["body"], ""),
    "with-an-id": (json.dumps({**GOOD, "id": 7}).encode(), GOOD["body"], ""),
    "text-behind": (TEXT + b" done", GOOD["body"], "text behind its JSON"),
    "text-behind-at-once": (TEXT + b"}", GOOD["body"], "text behind its JSON"),
    "two-objects": (TEXT + TEXT, GOOD["body"], "text behind its JSON"),
    "two-objects-and-a-blank": (b" " + TEXT + b" " + TEXT, GOOD["body"], "text behind its JSON"),
    "nul-behind": (TEXT + b"\0", GOOD["body"], "text behind its JSON"),
    "not-utf-8-behind": (TEXT + b"\xff", GOOD["body"], "text behind its JSON"),
    "not-utf-8-inside": (
        b'{"src":"n0","dest":"c0","body":{"type":"\xff"}}',
        {"type": "\N{REPLACEMENT CHARACTER}"},
        "bytes that are no UTF-8",
    ),
    "body-null": (b'{"src":"n0","dest":"c0","body":null}', {}, "null for its body"),
    "body-empty-list": (b'{"src":"n0","dest":"c0","body":[ ]}', {}, "[ ] for its body"),
    "body-empty-text": (b'{"src":"n0","dest":"c0","body":""}', {}, '"" for its body'),
    "body-null-and-text-behind": (b'{"src":"n0","dest":"c0","body":null} x', {}, "null for its body"),
}


@pytest.mark.parametrize(("line", "body", "oddity"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_line_that_maelstrom_accepts_is_accepted(line: bytes, body: dict[str, Any], oddity: str) -> None:
    bodies, warnings, is_ignored = read(line, TEXT)
    assert bodies == [body, GOOD["body"]]
    assert not is_ignored
    assert len(warnings) == bool(oddity)
    assert all(oddity in warning and "Maelstrom accepts it" in warning for warning in warnings)


REFUSED = {
    "empty": b"",
    "blank": b"  ",
    "log-line": b"starting up",
    "text-before": b"> " + TEXT,
    "number-before": b"1 " + TEXT,
    "list": b"[" + TEXT + b"]",
    "cut-short": TEXT[:-1],
    "single-quotes": TEXT.replace(b'"', b"'"),
    "not-a-number": b'{"src":"n0","dest":"c0","body":{"x":NaN}} x',
    "control-character": b'{"src":"n0","dest":"c0","body":{"x":"\x01"}} x',
    "further-key": json.dumps({**GOOD, "extra": 1}).encode(),
    "further-key-and-text-behind": json.dumps({**GOOD, "extra": 1}).encode() + b" x",
    "without-dest": b'{"src":"n0","body":{}}',
    "body-number": b'{"src":"n0","dest":"c0","body":5}',
    "body-list": b'{"src":"n0","dest":"c0","body":[1]}',
    "to-nobody": b'{"src":"n0","dest":"c9","body":{}}',
    "to-nobody-and-text-behind": b'{"src":"n0","dest":"c9","body":{}} x',
    "nested-without-end": b"[" * 100_000,
}


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED)
def test_after_any_other_line_nothing_is_read(line: bytes) -> None:
    bodies, warnings, is_ignored = read(line, TEXT)
    assert (bodies, is_ignored, len(warnings)) == ([], True, 1)
    assert "nothing it writes is read from now on" in warnings[0]


def test_one_kind_of_odd_line_is_warned_of_once() -> None:
    bodies, warnings, _ = read(*[TEXT + b" x"] * 100, *[b'{"src":"n0","dest":"c0","body":null}'] * 100)
    assert len(bodies) == 200
    assert len(warnings) == 2
