"""A workbench that tests Maelstrom nodes as Maelstrom does: its workloads, services, network, faults and checkers.

`run` runs a test, `judge` returns its verdicts. Nodes are programs in any language, or, in virtual time, tasks of
this process. See ``docs/workbench.md``.
"""

from .errors import SetupFailed, StoreFailed
from .history import History, Op
from .judging import judge
from .options import Options
from .report import exit_status, render, verdict_line
from .running import Run, Status, run
from .store import Store
from .workloads import WORKLOADS

__all__ = [
    "WORKLOADS",
    "History",
    "Op",
    "Options",
    "Run",
    "SetupFailed",
    "Status",
    "Store",
    "StoreFailed",
    "exit_status",
    "judge",
    "render",
    "run",
    "verdict_line",
]
