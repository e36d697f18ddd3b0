"""What the dashboard shows, a topic per module.

To add one: a module with a subclass of `Topic`, and a line in `TOPICS`.
"""

from __future__ import annotations

from typing import Final

from .base import Topic
from .calls import CallsTopic
from .cluster import ClusterTopic, DetailsTopic
from .groups import GroupsTopic
from .methods import MethodsTopic
from .news import NewsTopic
from .node import NodeTopic
from .rumor import RumorTopic
from .services import ServicesTopic
from .tasks import TasksTopic

__all__ = ["TOPICS", "Topic"]

TOPICS: Final[dict[str, type[Topic]]] = {
    kind.name: kind
    for kind in (
        ClusterTopic,
        CallsTopic,
        MethodsTopic,
        GroupsTopic,
        RumorTopic,
        ServicesTopic,
        TasksTopic,
        DetailsTopic,
        NewsTopic,
        NodeTopic,
        # one a line
    )
}
"""The topics, by name."""
