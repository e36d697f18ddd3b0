"""The number of nodes of each host: pure, and a function of the slots in their order alone.

Invariants: no host has more nodes than slots; by `spread` two hosts differ by at most one node, unless the smaller one
has no free slot; by `strict` no host has two.

Source: slots are those of Open MPI's host files, and its scheduling by node is `spread`.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PLACEMENTS", "listed", "place", "spread", "strict"]

PLACEMENTS: Final = ("spread", "strict")

_LISTED: Final = 8


def place(slots: Mapping[str, int], nodes: int | None, placement: str) -> dict[str, int]:
    """Return the number of nodes of each host.

    Args:
        slots: how many nodes each host may have, >= 0, by name.
        nodes: how many there are to be, >= 1; None: as many as there is room for.
        placement: one of `PLACEMENTS`.

    Raises:
        ConfigError: there is no room for them; the text says what is missing.
    """
    return spread(slots, nodes) if placement == "spread" else strict(slots, nodes)


def spread(slots: Mapping[str, int], nodes: int | None) -> dict[str, int]:
    """Place each node on the host that has the fewest so far, and a free slot; the first of several. See `place`."""
    room = sum(slots.values())
    nodes = room if nodes is None else nodes
    if not room:
        raise ConfigError("no host has a slot: set slots of one of them to 1 or more")
    if nodes > room:
        given = listed([f"{name} {count}" for name, count in slots.items()])
        raise ConfigError(
            f"{_counted(nodes, 'node')} need {_counted(nodes, 'slot')}, and the hosts have {room} ({given}): set "
            f"nodes to {room} or fewer, or give the hosts {nodes - room} more"
        )
    names, placed = list(slots), dict.fromkeys(slots, 0)
    fewest = [(0, number) for number, name in enumerate(names) if slots[name]]
    for _ in range(nodes):
        count, number = fewest[0]
        name = names[number]
        placed[name] = count + 1
        if placed[name] < slots[name]:
            heapq.heapreplace(fewest, (count + 1, number))
        else:
            heapq.heappop(fewest)
    return placed


def strict(slots: Mapping[str, int], nodes: int | None) -> dict[str, int]:
    """Place one node on each host that has a slot, in their order, until there are enough. See `place`."""
    usable = [name for name, count in slots.items() if count]
    nodes = len(usable) if nodes is None else nodes
    if not usable:
        raise ConfigError("no host has a slot: set slots of one of them to 1 or more")
    if nodes > len(usable):
        full = [name for name, count in slots.items() if not count]
        without = f"; without a slot: {listed(full)}" if full else ""
        raise ConfigError(
            f'placement = "strict" puts one node on each host, so {nodes} nodes need {nodes} hosts with a slot, and '
            f"there {'is' if len(usable) == 1 else 'are'} {len(usable)} ({listed(usable)}{without}): set nodes to "
            f'{len(usable)} or fewer, add {_counted(nodes - len(usable), "host")}, or use placement = "spread"'
        )
    chosen = set(usable[:nodes])
    return {name: int(name in chosen) for name in slots}


def listed(names: list[str]) -> str:
    """Return names for a person; of many, the first ones."""
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
