"""Gossip and membership at scale, in virtual time: the protocols themselves, on simulated networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .gossip_membership import add_membership_rows
from .gossip_rumors import add_rumor_rows
from .results import Result

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_gossip"]


async def run_gossip(settings: Settings) -> Result:
    """Simulate rumors, and then failures, partitions and rest."""
    result = Result(
        "Gossip and membership in virtual time, LAN profile, latency exponential with a mean of 10 ms",
        ["measure", "seeds", "median", "worst", "goal", "unit"],
    )
    for add_rows in (add_rumor_rows, add_membership_rows):
        await trio.to_thread.run_sync(add_rows, result, settings.seeds, settings.say)
    return result
