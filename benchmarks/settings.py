"""The settings of a run."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import msgspec

__all__ = ["Settings", "print_all"]


def print_all(text: str) -> bool:
    """Print a text; return whether that went well: the disk may be full, or the reader of a pipe gone."""
    try:
        print(text, flush=True)
    except OSError as exc:
        with suppress(OSError):
            print(f"error: standard output: {exc.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python's exit tries again to write what is left
        return False
    return True


class Settings(msgspec.Struct):
    """The options of the command line.

    Attributes:
        peers: names of those to compare with.
        rounds: how many rounds.
        seconds: how long each peer runs in a round.
        nodes: how many node processes for a fan-out.
        links: how many links to one node.
        bulk_mb: how many megabytes flow beside small calls.
        seeds: how many runs of each simulation.
        may_install: whether what is missing may be installed.
        versions: of the peers, as they become known.
    """

    peers: list[str]
    rounds: int = 7
    seconds: float = 1.0
    nodes: int = 100
    links: int = 1000
    bulk_mb: int = 100
    seeds: int = 1000
    may_install: bool = True
    versions: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Print the current step; a closed terminal is no reason to stop measuring."""
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)
