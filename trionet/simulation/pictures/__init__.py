"""Pictures of simulations, for slides and pages: `draw` draws a sheet of them, each other function draws one.

They need matplotlib, which ``pip install 'trionet[plots]'`` installs; it is imported at the first picture.
Invariant: equal traces give equal pictures; an SVG or a PDF to the byte, with the same matplotlib.
"""

from __future__ import annotations

from .members import draw_members
from .rate import draw_rate
from .sheet import PICTURES, check_request, draw
from .space_time import draw_space_time
from .spread import draw_spread

__all__ = ["PICTURES", "check_request", "draw", "draw_members", "draw_rate", "draw_space_time", "draw_spread"]
