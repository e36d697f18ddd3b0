"""Gossip and membership at scale, in virtual time: the protocols themselves, on simulated networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .gossip_rumors import RUMOR_COLUMNS, add_rumor_rows
from .results import Result

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_gossip"]


async def run_gossip(settings: Settings) -> Result:
    """Simulate rumors."""
    result = Result("One rumor, latency exponential with a mean of 10 ms, in virtual time", RUMOR_COLUMNS)
    await trio.to_thread.run_sync(add_rumor_rows, result, settings.seeds, settings.say)
    return result
