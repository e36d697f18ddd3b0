"""Operations of all nodes, applied on every node, by an exchange at a low rate.

Each node has a log of its own operations, to which only it appends, and copies of the logs of the others. A message has
the lengths of the sender's logs, and the entries that the receiver lacks, to the sender's knowledge. The lengths are
the acknowledgement: entries that they do not cover are sent again.

Invariants: a node applies an operation at most once, after all those that its origin had applied before it (causal
order), and the entries of one message in one step. While any two nodes can reach each other, directly or through
others, each operation reaches all nodes, even if messages are lost; once all nodes have all entries, nothing is sent.

Source: Demers et al. 1987, section 1.3 (anti-entropy); Petersen et al. 1997 (Bayou), section 3 (version vectors).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .envelope import Envelope
    from .node import MaelstromNode

__all__ = ["ReplicatedLog"]

_LONGEST_PAUSE_S: Final = 2.0
_NODES_PER_TARGET: Final = 8


class _Peer:
    """The known state of another node.

    Attributes:
        has: the lengths of its logs in its last message.
        is_owed: whether an acknowledgement is due to it.
        unanswered: the number of messages to it since its last message.
        not_before: the time of the next message at the earliest.
    """

    __slots__ = ("has", "is_owed", "not_before", "unanswered")

    def __init__(self) -> None:
        self.has: dict[str, int] = {}
        self.is_owed = False
        self.unanswered = 0
        self.not_before = 0.0


class ReplicatedLog:
    """Operations that all nodes of a Maelstrom network apply.

    Args:
        node: sends and receives the messages; create the log before the node runs.
        apply: called with new operations, in their order: at once with each operation of this node, and with those of
            others as they arrive. It may append further operations.
        period_s: the interval between messages, at least: each is for one other node, in turn; in large networks there
            are several.
    """

    def __init__(self, node: MaelstromNode, apply: Callable[[Sequence[Any]], object], *, period_s: float = 0.5) -> None:
        self._node = node
        self._apply = apply
        self._period_s = period_s
        self._own = ""
        self._logs: dict[str, list[Any]] = {}
        self._peers: dict[str, _Peer] = {}
        self._turns: list[str] = []
        self._is_known = False  # whether a message has arrived since the start
        node.on_init(self._begin)
        node.on("replicate")(self._receive)
        node.every(period_s)(self._send_some)

    def append(self, operation: Any) -> None:
        """Apply `operation`, which is any JSON, here and, in time, everywhere."""
        self._logs.setdefault(self._own, []).append(operation)
        self._apply((operation,))

    def _begin(self) -> None:
        # A restarted node has a new log; it receives its old one, as far as the others have it, from them.
        self._own = f"{self._node.id}.{self._node.random.getrandbits(48):x}"
        self._peers = {name: _Peer() for name in self._node.peers}
        self._turns = list(self._node.peers)
        self._node.random.shuffle(self._turns)

    def _send_some(self) -> None:
        now = trio.current_time()
        targets = 1 + len(self._turns) // _NODES_PER_TARGET
        for name in list(self._turns):
            peer = self._peers[name]
            if now >= peer.not_before and (peer.is_owed or not self._is_known or self._lacks(peer)):
                self._send(name, peer, now)
                self._turns.remove(name)
                self._turns.append(name)
                targets -= 1
                if not targets:
                    return

    def _lacks(self, peer: _Peer) -> bool:
        return any(peer.has.get(origin, 0) < len(log) for origin, log in self._logs.items())

    def _send(self, name: str, peer: _Peer, now: float) -> None:
        entries = {
            origin: (start, log[start:])
            for origin, log in self._logs.items()
            if (start := peer.has.get(origin, 0)) < len(log)
        }
        body: dict[str, Any] = {"type": "replicate", "have": {origin: len(log) for origin, log in self._logs.items()}}
        if entries:
            body["entries"] = entries
        if not self._is_known:
            body["hello"] = True
        self._node.send(name, body)
        peer.is_owed = False
        # A silent node is cut off or dead: messages to it back off exponentially, up to a limit.
        peer.not_before = now + min(0.8 * self._period_s * 2**peer.unanswered, max(_LONGEST_PAUSE_S, self._period_s))
        peer.unanswered = min(peer.unanswered + 1, 16)

    def _receive(self, message: Envelope) -> None:
        peer, have, entries = self._peers.get(message.src), message["have"], message.body.get("entries", {})
        if peer is None or not isinstance(have, dict) or not isinstance(entries, dict):
            raise MalformedRequest("replicate comes from a node of the network, and has the lengths of its logs")
        self._is_known = True
        peer.has = have
        peer.unanswered, peer.not_before = 0, 0.0
        peer.is_owed = peer.is_owed or bool(entries) or "hello" in message.body
        new: list[Any] = []
        for origin, (start, operations) in entries.items():
            log = self._logs.setdefault(origin, [])
            if start <= len(log):  # otherwise this node has restarted: its next message shows that to the sender
                fresh = operations[len(log) - start :]
                log += fresh
                new += fresh
        if new:
            self._apply(new)
