"""What every node does, applied on every node: operations of all nodes, kept equal by an exchange at a low rate.

Each node has a log of its own operations, which only it appends to, and copies of the others'. A message tells what the
sender has of each log, and brings what the receiver, as far as is known, has not. That telling is the
acknowledgement: what it doesn't cover goes out again.

Invariants: an operation is applied at most once on a node, after all those that had been applied where it was made
(causal order), and what one message brings is applied in one step. While any two nodes can reach each other, even if
only through others, and whatever is lost, each operation reaches all; once all have all, nothing is sent.

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
    """Another node, as far as is known.

    Attributes:
        has: how much of each log it had when it last told.
        is_owed: whether it has sent something since this node last told it what it has.
        unheard: how many messages have gone to it since it was last heard of.
        not_before: when the next one may go.
    """

    __slots__ = ("has", "is_owed", "not_before", "unheard")

    def __init__(self) -> None:
        self.has: dict[str, int] = {}
        self.is_owed = False
        self.unheard = 0
        self.not_before = 0.0


class ReplicatedLog:
    """Operations that all nodes of a Maelstrom network apply.

    Args:
        node: whose messages they are; make the log before it runs.
        apply: called with new operations, in their order: once with each of this node's own, and with those of others
            as they come. It may append further ones.
        period_s: how often each node sends a message, at most: to one other, in turn, or to several in large networks.
    """

    def __init__(self, node: MaelstromNode, apply: Callable[[Sequence[Any]], object], *, period_s: float = 0.5) -> None:
        self._node = node
        self._apply = apply
        self._period_s = period_s
        self._own = ""
        self._logs: dict[str, list[Any]] = {}
        self._peers: dict[str, _Peer] = {}
        self._turns: list[str] = []
        self._is_known = False  # whether another node has been heard of since the start
        node.on_init(self._begin)
        node.on("replicate")(self._receive)
        node.every(period_s)(self._send_some)

    def append(self, operation: Any) -> None:
        """Apply `operation`, which is any JSON, here and, in time, everywhere."""
        self._logs.setdefault(self._own, []).append(operation)
        self._apply((operation,))

    def _begin(self) -> None:
        # A node that was killed and comes back has another log: its old one, as far as others have it, they give it.
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
        # Whoever stays silent is cut off or dead: it is tried less and less often, but never given up.
        peer.not_before = now + min(0.8 * self._period_s * 2**peer.unheard, max(_LONGEST_PAUSE_S, self._period_s))
        peer.unheard = min(peer.unheard + 1, 16)

    def _receive(self, message: Envelope) -> None:
        peer, have, entries = self._peers.get(message.src), message["have"], message.body.get("entries", {})
        if peer is None or not isinstance(have, dict) or not isinstance(entries, dict):
            raise MalformedRequest("replicate comes from a node of the network, and tells what it has")
        self._is_known = True
        peer.has = have
        peer.unheard, peer.not_before = 0, 0.0
        peer.is_owed = peer.is_owed or bool(entries) or "hello" in message.body
        new: list[Any] = []
        for origin, (start, operations) in entries.items():
            log = self._logs.setdefault(origin, [])
            if start <= len(log):  # otherwise this node was restarted: the sender learns it from the answer
                fresh = operations[len(log) - start :]
                log += fresh
                new += fresh
        if new:
            self._apply(new)
