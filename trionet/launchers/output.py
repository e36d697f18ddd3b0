"""Whether what spawned nodes print says who prints.

It does below the commands that run nodes: there the output of many comes together on one standard error. A program of
the user's own has its children's output as they write it.
"""

from __future__ import annotations

__all__ = ["is_output_named", "name_output"]

_is_named = False


def name_output() -> None:
    """Have it said from now on, by all nodes that this process spawns, and those that they spawn."""
    global _is_named  # noqa: PLW0603  as the output is: one for the process
    _is_named = True


def is_output_named() -> bool:
    """Whether it is said."""
    return _is_named
