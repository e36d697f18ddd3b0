"""What spawned nodes log and print: from which level, and whether it is prefixed with their names.

Under the commands that run nodes it is, because many nodes share one standard error there; but not where their log is
JSON, whose lines name the node themselves. Otherwise the output of children is unchanged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trionet.config import NodeConfig

__all__ = ["is_output_named", "level_of_process", "name_output"]

_is_named = False


def name_output(config: NodeConfig) -> None:
    """Prefix the output of all nodes that this process spawns from now on, and of those that they spawn.

    Args:
        config: that of the node of this process, whose children log in its format.
    """
    global _is_named  # noqa: PLW0603  as the output is: one for the process
    _is_named = config.log_format == "text"


def is_output_named() -> bool:
    """Whether the output is prefixed."""
    return _is_named


def level_of_process() -> str:
    """Return the level for children of the log of this process: info, or a higher one."""
    level = logging.getLogger("trionet").getEffectiveLevel()
    return next((name for name in ("info", "warning") if level <= logging.getLevelName(name.upper())), "error")
