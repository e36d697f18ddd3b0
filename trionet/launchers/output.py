"""Whether the output of spawned nodes is prefixed with their names.

Under the commands that run nodes it is, because many nodes share one standard error there. Otherwise the output of
children is unchanged.
"""

from __future__ import annotations

__all__ = ["is_output_named", "name_output"]

_is_named = False


def name_output() -> None:
    """Prefix the output of all nodes that this process spawns from now on, and of those that they spawn."""
    global _is_named  # noqa: PLW0603  as the output is: one for the process
    _is_named = True


def is_output_named() -> bool:
    """Whether the output is prefixed."""
    return _is_named
