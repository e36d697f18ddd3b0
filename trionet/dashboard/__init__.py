"""The dashboard of a node: a page, and the stream of what it shows.

Any node shows its whole cluster. A page subscribes to topics (`topics`); the feed gathers each once a second for all
viewers together (`feed`), and sends what has changed as JSON Merge Patches (`merge_patch`). Nothing is gathered while
nobody looks.
"""

from __future__ import annotations

from .feed import Dashboard

__all__ = ["Dashboard"]
