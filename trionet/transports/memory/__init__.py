"""The in-memory transport: nodes in one process, no sockets, and a network that rules can break."""

from __future__ import annotations

from .carrier import Observer
from .clock import NodeClock
from .endpoint import MemoryEndpoint
from .fabric import MemoryFabric
from .rules import DROP, PASS, Message, Rule, Verdict

__all__ = [
    "DROP",
    "PASS",
    "MemoryEndpoint",
    "MemoryFabric",
    "Message",
    "NodeClock",
    "Observer",
    "Rule",
    "Verdict",
]
