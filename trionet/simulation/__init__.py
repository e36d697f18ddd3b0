"""Virtual networks: whole clusters in one process, with faults, replayable from a seed."""

from __future__ import annotations

from .checking import Finding, check, check_processes
from .cluster import Simulation, open_cluster
from .fault import Fault, decode_schedule, encode_schedule
from .faults import Crash, Degrade, Isolate, Leave, OneWay, Partition, Pause, Ring, Skew, Slow
from .invariants import Invariant, Violation, Watch
from .outcomes import Outcome, check_trial, run_trial
from .pictures import draw
from .promises import INVARIANTS, invariant_of
from .report import Passing, nearest_passing, write_report
from .rules import Network, networks
from .running import deterministic, run
from .scenarios import SCENARIOS
from .search import Failure, search
from .shrinking import Shrunk, shrink
from .trace import Trace, TraceEvent, first_difference
from .trials import Trial

__all__ = [
    "INVARIANTS",
    "SCENARIOS",
    "Crash",
    "Degrade",
    "Failure",
    "Fault",
    "Finding",
    "Invariant",
    "Isolate",
    "Leave",
    "Network",
    "OneWay",
    "Outcome",
    "Partition",
    "Passing",
    "Pause",
    "Ring",
    "Shrunk",
    "Simulation",
    "Skew",
    "Slow",
    "Trace",
    "TraceEvent",
    "Trial",
    "Violation",
    "Watch",
    "check",
    "check_processes",
    "check_trial",
    "decode_schedule",
    "deterministic",
    "draw",
    "encode_schedule",
    "first_difference",
    "invariant_of",
    "nearest_passing",
    "networks",
    "open_cluster",
    "run",
    "run_trial",
    "search",
    "shrink",
    "write_report",
]
