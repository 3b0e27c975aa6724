"""Figures of what tracking costs."""

import pandas as pd
from matplotlib.axes import Axes

from civilwar.plots import style


def ways(table: pd.DataFrame, limit: float, ax: Axes) -> Axes:
    """Seconds of a step's gradient, a row a way with its range; ``limit``: what it would be at the matrix rate."""
    for row, (_, way) in enumerate(table.iterrows()):
        ax.plot([way["low"], way["high"]], [row, row], color=style.CAUSAL, linewidth=2)
        ax.scatter([way["seconds"]], [row], color=style.CAUSAL, s=34, zorder=3)
    ax.axvline(limit, color=style.NULL, linestyle="--", linewidth=1.2)
    style.label_line(ax, limit, -0.45, "all of it at the rate\nof a matrix product")
    ax.set_yticks(range(len(table)), table["way"])
    ax.set(xlabel="seconds to the gradient of one step", ylim=(len(table) - 0.5, -1.1))
    ax.set_xlim(left=0)
    return ax


def growth(table: pd.DataFrame, axis: str, ax: Axes) -> Axes:
    """Seconds of a tracked step's gradient against one size of the model, each dot with the share that tracking adds."""
    rows = table[table["axis"] == axis]
    ax.plot(rows["value"], rows["seconds"], color=style.CAUSAL, marker="o", markersize=5)
    for _, dot in rows.iterrows():
        style.label_above(ax, dot["value"], dot["seconds"], f"{dot['tracking']:+.1%}", style.NULL, points=7)
    ax.set(xlabel=axis)
    ax.set_xticks(rows["value"].tolist())
    ax.set_ylim(0, 1.2 * table["seconds"].max())
    ax.margins(x=0.15)
    return ax
