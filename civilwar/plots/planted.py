"""Figures of the positive controls: what was planted, and what was found."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from civilwar.names.kinds import KINDS
from civilwar.plots import style


def detection(curves: pd.DataFrame, least: pd.Series, figure: Figure, axes: Sequence[Axes] | np.ndarray) -> None:
    """A panel a kind: the planted head's score against its strength, the highest of heads without, and where it is named."""
    for ax, (kind, rows) in zip(axes, curves.groupby("planted", sort=False), strict=True):
        ax.plot(rows["strength"], rows["others"], color=style.NULL, linestyle="--")
        style.label_line(ax, 0.42, rows["others"].iloc[-1], "nothing planted")
        ax.plot(rows["strength"], rows["score"], color=KINDS[kind].color, marker="o", markersize=3.5)
        if np.isfinite(least[kind]):
            ax.axvline(least[kind], color=KINDS[kind].color, linestyle=":", linewidth=1.2)
            style.label_line(ax, least[kind], 0.04, f"named from {least[kind]:g}", KINDS[kind].color)
        ax.set(title=KINDS[kind].label, ylim=(-0.04, 1.04), xlim=(-0.02, 1.02))
    style.outer_labels(figure, "strength of what was planted (cosine)", "score")


def loudness(keys: pd.DataFrame, ax: Axes) -> Axes:
    """Key norm over that of the layer's other heads, against the factor that was planted; the diagonal is exact."""
    ends = [keys["factor"].min(), keys["factor"].max()]
    ax.plot(ends, ends, color=style.NULL, linestyle="--", linewidth=1.2)
    for loud, name, color in ((False, "other KV heads", style.NULL), (True, "planted KV head", style.MORE)):
        rows = keys[keys["loud"] == loud]
        ax.scatter(rows["factor"], rows["ratio"], s=22, color=color, label=name, zorder=3)
    ax.set(xlabel="planted factor", ylabel="key norm over its layer's others")
    ax.legend(loc="upper left")
    return ax
