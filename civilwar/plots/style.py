"""One visual language: ink that follows the page's theme, one colour per thing, colour-blind safe throughout."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Text, axes and grid. In a page it becomes the theme's text colour, so figures read in light and in dark.
INK = "#25292f"
#: Every null, bound and baseline.
NULL = "#8a8f98"
#: The KV heads of a layer: contrast of at least 3 on white and on the dark page; the first four, which are all that the
#: presets have, stay apart for colour-blind readers; more heads than eight start over.
KV_HEADS = ("#1a5fd0", "#c96a04", "#1fa572", "#aa64aa", "#0e93b8", "#c0395a", "#8a8a1a", "#7b63c9")
#: What is measured the report's way, and what the model really does.
REPORT, CAUSAL, RESCALED = "#d55e00", "#1a5fd0", "#1fa572"
#: Layers from first to last: blue to orange, all visible on white and on black.
LAYER_ENDS = ("#2a78bd", "#8a63b3", "#cf5c83", "#d07a22")
#: Changes from the baseline: less and more. Always beside a signed number.
LESS, MORE = "#1a5fd0", "#d55e00"
#: Gains: blue below 1, orange above.
GAIN_CMAP = sns.blend_palette(["#0b4f8a", "#6aaed6", "#f3f3f0", "#f0a35e", "#a63c06"], as_cmap=True)

PANEL_WIDTH, PANEL_HEIGHT = 2.35, 1.75

_RC: dict[str, Any] = {
    "figure.dpi": 110,
    "svg.fonttype": "none",
    "svg.hashsalt": "civilwar",
    # less than half a point off cannot be seen in a line over a whole run; a page of 88 of them weighs a quarter less
    "path.simplify_threshold": 0.4,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
}


def use_style() -> None:
    """Set the look for all figures that follow."""
    sns.set_theme(style="ticks", rc=_RC)
    mpl.rcParams.update(_RC)  # type: ignore[arg-type] # keys are literals there


def layer_colors(n_layers: int) -> list[tuple[float, float, float]]:
    """One colour per layer, first to last."""
    return list(sns.blend_palette(LAYER_ENDS, n_layers))


def kv_head_color(kv_head: int) -> str:
    """The colour of a KV head, the same in every figure."""
    return KV_HEADS[kv_head % len(KV_HEADS)]


def single(width: float = 7.2, height: float = 3.6) -> tuple[Figure, Axes]:
    """One panel as wide as the page's column."""
    figure, axes = _subplots(1, 1, width, height)
    return figure, axes[0, 0]


def row(n: int, width: float = 7.6, height: float = 3.1) -> tuple[Figure, np.ndarray]:
    """Panels side by side."""
    figure, axes = _subplots(1, n, width, height)
    return figure, axes[0]


def grid(
    rows: int, columns: int, width: float, height: float, share: Literal["none", "row"] = "row"
) -> tuple[Figure, np.ndarray]:
    """Panels in rows and columns; rows share their vertical axis and all the horizontal one, or none shares any."""
    figure, axes = _subplots(rows, columns, width, height, share)
    return figure, axes


def small_multiples(n: int) -> tuple[Figure, np.ndarray]:
    """A grid of ``n`` small panels with shared axes; panels left over are removed."""
    columns = min(n, 3 if n <= 9 else 4)
    rows = math.ceil(n / columns)
    width = 7.6 if columns == 3 else 8.2
    figure, axes = _subplots(rows, columns, width, rows * PANEL_HEIGHT + 0.6, "all")
    flat = axes.ravel()
    for extra in flat[n:]:
        extra.remove()
    return figure, flat[:n]


def _subplots(
    rows: int, columns: int, width: float, height: float, share: Literal["none", "row", "all"] = "none"
) -> tuple[Figure, np.ndarray]:
    share_x: Literal["none", "all"] = "none" if share == "none" else "all"
    return plt.subplots(rows, columns, figsize=(width, height), sharex=share_x, sharey=share, squeeze=False)


def outer_labels(figure: Figure, x: str, y: str) -> None:
    """Axis labels once for a whole grid of panels."""
    figure.supxlabel(x, fontsize=9.5)
    figure.supylabel(y, fontsize=9.5)


def label_line(ax: Axes, x: float, y: float, text: str, color: str = NULL, **options: object) -> None:
    """Name a line where it runs, in its own colour."""
    ax.annotate(text, (x, y), color=color, fontsize=8.5, textcoords="offset points", xytext=(3, 3), **options)  # type: ignore[arg-type]


def label_above(ax: Axes, x: float, y: float, text: str, color: str, points: float = 3) -> None:
    """Name a mark from above, or from below where ``points`` is negative, centred on it and in its own colour."""
    ax.annotate(text, (x, y), xytext=(0, points), textcoords="offset points", ha="center", color=color, fontsize=8.5)


def layer_key(ax: Axes, n_layers: int, shown: Sequence[int] | None = None) -> None:
    """A legend of layers: all of them where few, otherwise first, middle and last."""
    colors = layer_colors(n_layers)
    layers = shown or (range(n_layers) if n_layers <= 8 else (0, n_layers // 2, n_layers - 1))
    handles = [mpl.lines.Line2D([], [], color=colors[i], marker="o", linestyle="", markersize=5) for i in layers]
    ax.legend(handles, [f"layer {i}" for i in layers], loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2)


def side_legend(ax: Axes) -> None:
    """The panel's legend to its right, so that it covers nothing."""
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
