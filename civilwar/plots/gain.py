"""Figures of phase 4."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from civilwar.plots import style


def heat(matrix: pd.DataFrame, golden: set[int], ax: Axes, largest: float) -> ScalarMappable:
    """Gain of every dimension (rows) over steps (columns), golden rows marked at the end of the run.

    1 is white; ``largest`` is how far the scale goes either side.
    """
    norm = mpl.colors.TwoSlopeNorm(1.0, max(0.0, 1 - largest), 1 + largest)
    image = ax.imshow(
        matrix.to_numpy(),
        aspect="auto",
        cmap=style.GAIN_CMAP,
        norm=norm,
        interpolation="nearest",
        extent=(float(matrix.columns[0]), float(matrix.columns[-1]), len(matrix) - 0.5, -0.5),
    )
    rows = [row for row, dimension in enumerate(matrix.index) if int(dimension) in golden]
    # in axes coordinates sideways: just right of the last step, whatever the run's length
    ax.plot(
        [1.02] * len(rows),
        rows,
        "<",
        color=style.INK,
        markersize=3.5,
        transform=ax.get_yaxis_transform(),
        clip_on=False,
    )
    ax.grid(False)
    ax.set(xlabel="step (updates)")
    return image


def frequency_profile(profile: pd.DataFrame, context: int, ax: Axes) -> Axes:
    """Final gain against the wavelength of the dimension's RoPE pair, one line per layer; the context as a limit."""
    colors = style.layer_colors(profile["layer"].nunique())
    ax.axhline(1, color=style.NULL, linestyle="--", linewidth=1.2)
    ax.axvline(context, color=style.NULL, linewidth=1.2)
    style.label_line(ax, context, profile["gain"].max(), "context", rotation=0)
    for layer, line in profile.sort_values("rank").groupby("layer"):
        ax.plot(line["wavelength"], line["gain"], color=colors[int(layer)], marker="o", markersize=2.6, linewidth=1.1)
    ax.set(xscale="log", xlabel="RoPE wavelength (tokens per turn)", ylabel="key gain of the pair\nat the end")
    style.layer_key(ax, len(colors))
    return ax


def settling(table: pd.DataFrame, threshold: float, ax: Axes) -> Axes:
    """Cosine of each layer's centred gain to its final value, beside a random walk."""
    colors = style.layer_colors(table["layer"].nunique())
    walk = table[table["layer"] == table["layer"].min()]
    ax.plot(walk["step"], walk["random_walk"], color=style.NULL, linestyle="--", linewidth=1.3)
    middle = len(walk) // 2
    style.label_line(ax, walk["step"].iloc[middle], walk["random_walk"].iloc[middle] - 0.1, "random walk √(t/T)")
    ax.axhline(threshold, color=style.NULL, linewidth=0.9, linestyle=":")
    for layer, line in table.groupby("layer"):
        ax.plot(line["step"], line["cosine"], color=colors[int(layer)], linewidth=1.3)
    ax.set(xlabel="step (updates)", ylabel="cosine to the final gain\n(both centred)")
    style.layer_key(ax, len(colors))
    return ax


def likeness(table: pd.DataFrame, centred_high: float, ax: Axes) -> Axes:
    """Likeness of every pair of layers by three measures, from the most flattering to the fairest."""
    names = {
        "raw": "cosine of\nraw gains",
        "centred": "correlation",
        "detrended": "correlation without\nfrequency trend",
    }
    random = np.random.Generator(np.random.PCG64(0))
    ax.axhspan(-centred_high, centred_high, color=style.NULL, alpha=0.22, linewidth=0)
    ax.axhline(0, color=style.NULL, linewidth=1)
    for x, measure in enumerate(names):
        jitter = random.uniform(-0.16, 0.16, len(table))
        ax.scatter(x + jitter, table[measure], s=16, color=style.CAUSAL, alpha=0.7, linewidths=0)
        ax.plot([x - 0.24, x + 0.24], [table[measure].mean()] * 2, color=style.REPORT, linewidth=2)
    ax.set(ylabel="likeness of two layers' gains", ylim=(-1.05, 1.05))
    ax.set_xticks(range(len(names)), list(names.values()))
    return ax
