"""Virtual networks: whole clusters in one process, with faults, replayable from a seed."""

from __future__ import annotations

from .checking import Finding, check, check_processes
from .cluster import Simulation, open_cluster
from .faults import (
    AnyFault,
    Crash,
    Degrade,
    Fault,
    Isolate,
    Leave,
    OneWay,
    Partition,
    Pause,
    Ring,
    Skew,
    Slow,
    decode_schedule,
    encode_schedule,
)
from .pictures import draw
from .rules import Network, networks
from .running import deterministic, run
from .scenarios import SCENARIOS
from .trace import Trace, TraceEvent, first_difference

__all__ = [
    "SCENARIOS",
    "AnyFault",
    "Crash",
    "Degrade",
    "Fault",
    "Finding",
    "Isolate",
    "Leave",
    "Network",
    "OneWay",
    "Partition",
    "Pause",
    "Ring",
    "Simulation",
    "Skew",
    "Slow",
    "Trace",
    "TraceEvent",
    "check",
    "check_processes",
    "decode_schedule",
    "deterministic",
    "draw",
    "encode_schedule",
    "first_difference",
    "networks",
    "open_cluster",
    "run",
]
