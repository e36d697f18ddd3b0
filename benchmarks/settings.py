"""The settings of a run."""

from __future__ import annotations

import sys

import msgspec

__all__ = ["Settings"]


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
        """Print the current step."""
        print(text, file=sys.stderr, flush=True)
