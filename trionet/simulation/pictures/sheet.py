"""A sheet with pictures of one trace, as a file.

Invariant: the file depends on the trace alone, as it is saved: not on the time, the user's settings of matplotlib, or a
display.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import ConfigError
from trionet.simulation.arguments import require
from trionet.simulation.trace import Trace

from .look import show_nothing
from .members import draw_members
from .rate import draw_rate
from .space_time import draw_space_time
from .spread import draw_spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "check_request", "draw"]

PICTURES: Final[dict[str, Callable[[Trace, Axes], None]]] = {
    "members": draw_members,
    "rate": draw_rate,
    "space_time": draw_space_time,
    "spread": draw_spread,
}
"""The pictures by name, in the order in which they are on a sheet."""

_METADATA: Final[dict[str, dict[str, Any]]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_ONE_INCHES: Final = (9.6, 5.4)
_SHEET_INCHES: Final = (16.0, 9.0)
_WIDE_PIXELS: Final = 1920
_COORDINATES: Final = re.compile(rb' (?:d|x|y)="[^"]*"')
_NUMBER: Final = re.compile(rb"-?\d+\.\d{3,}")


def check_request(path: Path | str, pictures: Sequence[str] | None = None) -> None:
    """Check the arguments of `draw` before the work that leads there.

    Raises:
        ConfigError: there is no such picture or format, or an argument has a wrong type.
        RuntimeError: matplotlib isn't installed.
    """
    require(path, str | Path, "a path is a text or a Path")
    require(pictures, Collection | None, "pictures are a list of names")
    unknown = [name for name in pictures or () if name not in PICTURES]
    if unknown:
        raise ConfigError(f"there is no picture {unknown[0]!r}; there are {', '.join(PICTURES)}")
    if Path(path).suffix.lower() not in _METADATA:
        raise ConfigError(f"{path} must end in one of {', '.join(_METADATA)}")
    try:
        import matplotlib  # noqa: F401  only whether it is there
    except ImportError as exc:
        raise RuntimeError("pictures need matplotlib: pip install 'trionet[plots]'") from exc


def draw(trace: Trace, path: Path | str, pictures: Sequence[str] | None = None) -> None:
    """Draw a sheet of pictures, 16:9, into a file.

    Args:
        trace: the trace.
        path: the file; its suffix is the format: ``.png``, ``.svg`` or ``.pdf``.
        pictures: some of ``members``, ``rate``, ``space_time`` and ``spread``; default: all for which the trace has
            events.

    Raises:
        ConfigError: there is no such picture or format, or an argument has a wrong type.
        RuntimeError: matplotlib isn't installed.
        OSError: the file can't be written.
    """
    check_request(path, pictures)
    require(trace, Trace, "pictures are drawn of a Trace")
    path = Path(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    trace = trace.as_saved()  # a saved and loaded trace makes the same picture
    names = _applicable(trace) if pictures is None else list(dict.fromkeys(pictures))
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rc("svg", hashsalt="trionet", fonttype="path")
        mpl.rc("font", family="DejaVu Sans")
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, hspace=0.04, wspace=0.03)
        figure = Figure(figsize=_ONE_INCHES if len(names) <= 1 else _SHEET_INCHES, layout=layout)
        _fill(figure, trace, names)
        _write(figure, path, path.suffix.lower())


def _applicable(trace: Trace) -> list[str]:
    kinds = {event.kind for event in trace}
    has = {
        "members": any(event.kind == "state" and event.what.startswith("Member") for event in trace),
        "rate": bool(kinds & {"send", "deliver", "drop"}),
        "space_time": "send" in kinds,
        "spread": "rumor" in kinds,
    }
    return [name for name in PICTURES if has[name]]


def _fill(figure: Figure, trace: Trace, names: Sequence[str]) -> None:
    """Draw pictures: below each other in the first column, then in the second."""
    if not names:
        show_nothing(figure.add_subplot(), "nothing to draw in this trace")
        return
    rows = min(2, len(names))
    grid = figure.add_gridspec(rows, (len(names) + 1) // 2)
    for place, name in enumerate(names):
        row, column = place % rows, place // rows
        is_last = place == len(names) - 1
        axes = figure.add_subplot(grid[:, column] if is_last and row == 0 else grid[row, column])
        if name == "rate" and row == 1 and names[place - 1] == "members":
            draw_rate(trace, axes, are_faults_named=False)  # the picture above names them on the same axis
        else:
            PICTURES[name](trace, axes)


def _write(figure: Figure, path: Path, suffix: str) -> None:
    file = BytesIO()
    dpi = _WIDE_PIXELS / figure.get_figwidth()
    figure.savefig(file, format=suffix[1:], dpi=dpi, metadata=_METADATA[suffix])
    data = file.getvalue()
    path.write_bytes(_COORDINATES.sub(_shortened, data) if suffix == ".svg" else data)


def _shortened(paths: re.Match[bytes]) -> bytes:
    """Return a path with two digits after the point, which is finer than visible, and half as long."""
    return _NUMBER.sub(lambda number: b"%g" % round(float(number[0]), 2), paths[0])
