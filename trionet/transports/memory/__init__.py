"""The in-memory transport: nodes in one process, no sockets, and a network that rules can break."""

from __future__ import annotations

from .clock import NodeClock
from .endpoint import MemoryEndpoint, MemoryTransport
from .fabric import MemoryFabric, Observer
from .rules import DROP, PASS, Message, Rule, Verdict

__all__ = [
    "DROP",
    "PASS",
    "MemoryEndpoint",
    "MemoryFabric",
    "MemoryTransport",
    "Message",
    "NodeClock",
    "Observer",
    "Rule",
    "Verdict",
]
