"""Nodes for Maelstrom (Jepsen's workbench for distributed systems): JSON lines on standard input and output."""

from .challenges import build_challenge, challenge_names, load_challenge
from .durable_log import DurableLog
from .envelope import Envelope
from .errors import CustomError, error_body, error_from_body
from .fabric import MaelstromFabric, open_maelstrom_node
from .kv import KV, TSO
from .node import MaelstromNode
from .program import build_node, main
from .replicated_log import ReplicatedLog
from .rumors import Rumors
from .running import run
from .transport import address_of

Message = Envelope
"""Another name of `Envelope`, for handlers' annotations."""

__all__ = [
    "KV",
    "TSO",
    "CustomError",
    "DurableLog",
    "Envelope",
    "MaelstromFabric",
    "MaelstromNode",
    "Message",
    "ReplicatedLog",
    "Rumors",
    "address_of",
    "build_challenge",
    "build_node",
    "challenge_names",
    "error_body",
    "error_from_body",
    "load_challenge",
    "main",
    "open_maelstrom_node",
    "run",
]
