"""The style of all pictures: colours, sizes, titles, time axes.

The colours are those of Okabe and Ito (2008), "Color Universal Design", which can be distinguished with any colour
vision; adjacent colours also differ in lightness. Sizes are in points, on a sheet of at most 16 x 9 inches.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = [
    "BOX",
    "LABEL_PT",
    "SMALL_PT",
    "TITLE_PT",
    "Colour",
    "finish",
    "label",
    "set_logarithmic_time_axis",
    "set_time_axis",
    "show_nothing",
    "tinted",
    "write",
]


class Colour(enum.StrEnum):
    """The colours of all pictures."""

    ORANGE = "#E69F00"
    SKY = "#56B4E9"
    GREEN = "#009E73"
    YELLOW = "#F0E442"
    BLUE = "#0072B2"
    VERMILLION = "#D55E00"
    PURPLE = "#CC79A7"
    INK = "#222222"
    GREY = "#8A8A8A"


TITLE_PT: Final = 14.0
LABEL_PT: Final = 11.0
SMALL_PT: Final = 9.5
_KEY_PT: Final = 18.0
BOX: Final[dict[str, Any]] = {"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
"""A background for a text on a busy picture."""

_GAP_PT: Final = 7.0
_MILLISECONDS_UP_TO_S: Final = 1.0


def tinted(colour: str, strength: float) -> str:
    """Return a colour mixed with white: the colour itself at `strength` 1, white at 0."""
    channels = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - (255 - channel) * strength):02X}" for channel in channels)


def finish(axes: Axes, title: str, entries: Iterable[tuple[Artist, str]], above_pt: float = 0.0) -> None:
    """Style the axes, and show the key and the title, `above_pt` points above them."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(Colour.GREY)
    axes.tick_params(labelsize=SMALL_PT + 0.5, color=Colour.GREY, labelcolor=Colour.INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(LABEL_PT)
        axis.label.set_color(Colour.INK)
    handles = dict(entries)
    if handles:
        _show_key(axes, handles, above_pt)
    pad = above_pt + _GAP_PT + _KEY_PT * bool(handles)
    axes.set_title(title, loc="left", pad=pad, fontsize=TITLE_PT, fontweight="bold", color=Colour.INK, linespacing=1.3)


def _show_key(axes: Axes, entries: dict[Artist, str], above_pt: float) -> None:
    """Show the meaning of the colours, in one line."""
    from matplotlib.transforms import ScaledTranslation

    shift = ScaledTranslation(0.0, (above_pt + 4) / 72, axes.figure.dpi_scale_trans)
    legend = axes.legend(
        entries.keys(),
        entries.values(),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        bbox_transform=axes.transAxes + shift,
        ncols=len(entries),
        frameon=False,
        borderpad=0.0,
        borderaxespad=0.0,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.4,
        fontsize=SMALL_PT + 0.5,
        labelcolor=Colour.INK,
    )
    legend.set_in_layout(False)  # a long line must not make the axes narrow


def write(axes: Axes, text: str, at: tuple[float, float], offset_pt: tuple[float, float], **style: Any) -> None:
    """Write a text beside a point."""
    axes.annotate(text, at, xytext=offset_pt, textcoords="offset points", **(dict[str, Any](color=Colour.INK) | style))


def label(axes: Axes, text: str, at: tuple[float, float], **style: Any) -> None:
    """Write a small text at a point."""
    axes.text(*at, text, **(dict[str, Any](color=Colour.INK, fontsize=SMALL_PT) | style))


def set_time_axis(axes: Axes, since: float, until: float, label: str = "time") -> None:
    """Make the horizontal axis one of time from `since` to `until`, in seconds; a short one in milliseconds."""
    until = until if until > since else since + 1.0
    axes.set_xlim(since, until)
    if until - since >= _MILLISECONDS_UP_TO_S:
        axes.set_xlabel(f"{label} (s)")
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ticks = MaxNLocator(nbins=7, steps=[1, 2, 5, 10]).tick_values(0.0, until - since)
    axes.set_xticks([since + tick for tick in ticks if 0.0 <= tick <= until - since])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{round((at - since) * 1000, 6):g}"))
    axes.set_xlabel(f"{label} (ms after {since:.9g} s)" if since else f"{label} (ms)")


def set_logarithmic_time_axis(axes: Axes, since: float, until: float, label: str) -> None:
    """Make the horizontal axis one of time in seconds, by powers of ten, from `since`, which is more than 0."""
    from matplotlib.ticker import FuncFormatter

    axes.set_xscale("log")
    axes.set_xlim(since, until)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g} s" if at >= 1 else f"{at * 1000:g} ms"))
    axes.set_xlabel(label)


def show_nothing(axes: Axes, sentence: str) -> None:
    """Show why there is no picture."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", fontsize=TITLE_PT, color=Colour.GREY
    )
