"""Made-up figures and looks."""

from __future__ import annotations

from typing import Any

from trionet.cli.top.looks import Look
from trionet.figures import (
    CallFigures,
    ClusterFigures,
    DatagramFigures,
    GossipFigures,
    LinkFigures,
    NodeFigures,
)
from trionet.histograms import Durations, count_s, durations, new_histogram

__all__ = ["call_figures", "figures", "look", "timed"]


def timed(*seconds: float) -> Durations:
    """Return the histogram of durations."""
    histogram = new_histogram()
    for one in seconds:
        count_s(histogram, one)
    return durations(histogram)


def call_figures(name: str, *seconds: float, outcome: str = "ok") -> CallFigures:
    service, _, method = name.partition("/")
    return CallFigures(service, method, outcome, timed(*seconds))


def figures(at_s: float, served: list[CallFigures] | None = None, **more: Any) -> NodeFigures:
    settings: dict[str, Any] = {
        "calls_made": [],
        "calls_running": 0,
        "calls_orphaned": 0,
        "links": LinkFigures(),
        "datagrams": DatagramFigures(),
        "gossip": GossipFigures(),
        "cluster": ClusterFigures(),
        "refused": {},
        "children": 0,
        "children_spawned": 0,
    }
    return NodeFigures(at_s=at_s, calls_served=served or [], **(settings | more))


def look(found: dict[str, NodeFigures | None], **states: str) -> Look:
    """Return a look at these members; those without figures haven't answered."""
    by_name = {name: states.get(name.replace(":", "_"), "alive") for name in found}
    answered = {name: one for name, one in found.items() if one is not None}
    errors = {name: "CallTimeout: no answer" for name, one in found.items() if one is None}
    return Look(
        1_800_000_000.0, next(iter(found), "a:1"), by_name, dict.fromkeys(found, "0123456789"), answered, errors
    )
