"""What the dashboard shows, a topic per module.

To add one: a module with a subclass of `Topic`, and a line in `TOPICS`.
"""

from __future__ import annotations

from typing import Final

from .base import Topic
from .cluster import ClusterTopic, DetailsTopic
from .news import NewsTopic
from .node import NodeTopic

__all__ = ["TOPICS", "Topic"]

TOPICS: Final[dict[str, type[Topic]]] = {
    kind.name: kind
    for kind in (
        ClusterTopic,
        DetailsTopic,
        NewsTopic,
        NodeTopic,
        # one a line
    )
}
"""The topics, by name."""
