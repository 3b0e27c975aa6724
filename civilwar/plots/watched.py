"""Figures of watched runs and of what is heard."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from civilwar.plots import style


def over_heads(table: pd.DataFrame, label: str, ax: Axes) -> Axes:
    """A measure's least, median and largest head over steps, beside the range of all heads at the first."""
    ax.axhspan(
        table["first_low"].iloc[0],
        table["first_high"].iloc[0],
        color=style.NULL,
        alpha=0.2,
        linewidth=0,
        label="all heads at first",
    )
    ax.fill_between(table["step"], table["low"], table["high"], color=style.CAUSAL, alpha=0.2, linewidth=0)
    for column, said in (("high", "largest head"), ("median", "median head"), ("low", "smallest head")):
        ax.plot(
            table["step"],
            table[column],
            color=style.CAUSAL,
            linewidth=1.8 if column == "median" else 0.9,
            label=said,
        )
    ax.set(xlabel="step (updates)", ylabel=label)
    style.side_legend(ax)
    return ax


def deviations(table: pd.DataFrame, bound: float, ax: Axes) -> Axes:
    """Largest deviation of every try from the model's own numbers, sorted, beside the bound that was set."""
    values = np.sort(table[["weights_deviation", "output_deviation"]].max(axis=1).dropna().to_numpy())
    ax.plot(np.arange(1, len(values) + 1), values, color=style.CAUSAL, marker=".", linestyle="", markersize=4)
    ax.axhline(bound, color=style.NULL, linestyle="--", linewidth=1.2)
    style.label_line(ax, 1, bound, "what was allowed")
    ax.set(xlabel="tries, the closest first", ylabel="largest deviation", yscale="log")
    return ax
