"""What a helper process prepares for the nodes that it forks."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["NO_NEEDS", "Needs"]


class Needs(msgspec.Struct, frozen=True, array_like=True):
    """What a helper prepares for its nodes, once for all; a node that needs something else does it for itself.

    A helper on another machine ignores what its own trionet doesn't know, and has defaults for what the other doesn't.

    Attributes:
        has_keys: whether they get keys; the helper itself never has any.
        has_http: whether they call each other over HTTP.
        log_format: the format of their log lines.
        joins: whether they join a cluster.
    """

    has_keys: bool = False
    has_http: bool = False
    log_format: str = "text"
    joins: bool = False


NO_NEEDS: Final = Needs()
"""Those of plain nodes."""
