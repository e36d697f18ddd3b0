"""The one-time work of the first node of a process: caches are filled, and lazy imports made.

A fork server does it before it forks, once for all its nodes. Invariant: it opens nothing, starts no thread, and does
not enter Trio.
"""

from __future__ import annotations

import random
from typing import Any, Final

from .access import Access
from .child_nodes import ChildNodes
from .config import NodeConfig
from .events import EventBus
from .group import warm_up as warm_up_groups
from .identity import NodeAddress
from .launchers.supervised import Boot, boot_for, decode_line, encode_line
from .node import Node
from .node_pages import NodePages
from .processors import usable_processors
from .router import Router
from .security.live_keys import LiveKeys
from .services import cluster_agent
from .services.status import with_settings
from .tracing.telemetry import find_telemetry
from .transports.listener import Listener
from .transports.network import NetworkEndpoint

__all__ = ["warm_up"]

_NOWHERE: Final = NodeAddress("127.0.0.1", 1)
_CODEC_OF_HOSTS: Final = "idna"  # of the socket module


def warm_up() -> None:
    """Do now, once for this process, the one-time work of the first node: build one that never runs."""
    "localhost".encode(_CODEC_OF_HOSTS)
    find_telemetry()
    usable_processors()
    config = decode_line(encode_line(boot_for(NodeConfig())), Boot).config
    _node(with_settings(config, {})).clear()
    warm_up_groups()
    cluster_agent.warm_up()


def _node(config: NodeConfig) -> Node:
    """Return a node as `open_node` builds it, on an endpoint without sockets."""
    keys, router, bus = LiveKeys(), Router(config.max_threads), EventBus()
    endpoint = NetworkEndpoint(Listener([], _NOWHERE, config.max_connections), None, config, router, bus.publish, keys)
    router.access = Access(_NOWHERE, keys, None)
    nothing: Any = None  # no nursery, and no launchers: it starts no tasks and no nodes
    children = ChildNodes(nothing, nothing, "", bus.publish, keys, None, _NOWHERE)
    node = Node(config, endpoint, router, bus, children, nothing, random.Random(0))  # noqa: S311  nothing follows from it
    NodePages(node, router.methods, keys, nothing)
    return node
