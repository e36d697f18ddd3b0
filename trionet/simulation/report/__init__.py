"""A run as one page that needs nothing else: its time line, its failure, and its first difference from a passing run.

`write_report` writes the page; `nearest_passing` finds the run to compare with. A browser shows it, from a file too.
"""

from __future__ import annotations

from .page import write_report
from .passing import Passing, nearest_passing

__all__ = ["Passing", "nearest_passing", "write_report"]
