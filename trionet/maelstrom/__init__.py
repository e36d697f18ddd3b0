"""Nodes for Maelstrom (Jepsen's workbench for distributed systems): JSON lines on standard input and output."""

from .envelope import Message
from .errors import CustomError, error_body, error_from_body
from .kv import KV, TSO
from .node import MaelstromNode
from .running import run

__all__ = ["KV", "TSO", "CustomError", "MaelstromNode", "Message", "error_body", "error_from_body", "run"]
