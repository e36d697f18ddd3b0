"""Joins: what each costs the node that takes it, the more members there are.

The protocols alone, with real packets: a node gets the statement of a new member and its question for the view, and
answers with all that it knows. Processor time, in blocks; no network.
"""

from __future__ import annotations

import gc
import time
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from trionet.profiles import LAN
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.swim import Swim
from trionet.protocols.swim_settings import SwimOptions

from .results import Result, median

if TYPE_CHECKING:
    from trionet.protocols.mux import Packet

    from .settings import Settings

__all__ = ["join_ms", "run_joins"]

_SIZES: Final = (500, 1_000, 2_000, 4_000, 8_000)
_GOALS: Final = {4_000: 0.1}
_BLOCK: Final = 100
_STEP_S: Final = 0.001
_SEED: Final = "10.0.0.1:8080"


async def run_joins(settings: Settings) -> Result:
    """Have thousands of members join, one after the other."""
    result = Result("Joins at the node that takes them", ["members", "processor time, ms per join", "bytes sent"])
    for number in range(settings.rounds):
        settings.say(f"joins: round {number + 1} of {settings.rounds}")
        for size, (spent_ms, sent_bytes) in (await trio.to_thread.run_sync(join_ms, _SIZES)).items():
            result.samples.setdefault("join_ms", {}).setdefault(str(size), []).append(spent_ms)
            result.samples.setdefault("sent_bytes", {}).setdefault(str(size), []).append(sent_bytes)
    for size in _SIZES:
        spent = median(result.samples["join_ms"][str(size)])
        result.rows.append([size, spent, median(result.samples["sent_bytes"][str(size)])])
        joins_ms = result.samples["join_ms"][str(size)]
        what = f"processor time of a join at {size:,} members"
        result.watch(what, joins_ms, at_least=False, unit="ms", limit=_GOALS.get(size))
    return result


def join_ms(sizes: tuple[int, ...]) -> dict[int, tuple[float, float]]:
    """Return the processor time of a join in milliseconds, and its bytes, by the number of members."""
    random = Random(1)
    swim = Swim(_SEED, LAN, random, 0.0, boot_id=1, options=SwimOptions(has_objects=False))
    mux = ProtocolMux(_SEED, [swim])
    found: dict[int, tuple[float, float]] = {}
    now, joined = 1.0, 0
    gc.disable()
    try:
        for size in sizes:
            sent_bytes, spent_s = 0, 0.0
            while joined < size:
                count = min(_BLOCK, size - joined)
                packets = [_joining(number) for number in range(joined, joined + count)]
                sent_bytes, began = 0, time.process_time()
                for one in packets:
                    now += _STEP_S
                    sent_bytes += _take(mux, one, now)
                spent_s = time.process_time() - began
                joined += count
            found[size] = 1e3 * spent_s / _BLOCK, sent_bytes / _BLOCK
    finally:
        gc.enable()
    return found


def _take(mux: ProtocolMux, packets: list[Packet], now: float) -> int:
    """Have the seed handle the packets of a new member; return the bytes of its answers."""
    sent = [one for packet in packets for one in mux.receive_bytes(packet.encoded, now, is_reliable=True)]
    mux.pop_events()
    if mux.next_deadline() <= now:
        mux.on_timer(now)
    return sum(len(one.encoded) for one in sent)


def _joining(number: int) -> list[Packet]:
    """Return what a new member sends to its seed."""
    name = f"10.1.{number // 250}.{number % 250}:8080"
    random = Random(number)
    swim = Swim(name, LAN, random, 0.0, boot_id=random.getrandbits(63), incarnation=int(time.time()))
    return ProtocolMux(name, [swim]).packets(swim.join([_SEED], 0.0), 0.0)
