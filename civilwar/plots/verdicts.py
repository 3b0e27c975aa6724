"""Figures of the ledger."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from civilwar.plots import style

#: What is said of so many criteria, by their outcome.
OUTCOMES = {"holds": "hold", "fails": "fail", "open": "are open"}
OUTCOME_COLORS = {"holds": style.CAUSAL, "fails": style.REPORT, "open": style.NULL}


def forest(table: pd.DataFrame, ax: Axes) -> Axes:
    """Every criterion's distance from its threshold, as `tables.distances` gives it; right of the line is what is wanted.

    Blue holds, orange fails, grey is open.
    """
    rows = np.arange(len(table))[::-1]
    ax.axvline(0, color=style.NULL, linewidth=1.2)
    colors = [OUTCOME_COLORS[outcome] for outcome in table["outcome"]]
    ax.hlines(rows, table["low"], table["high"], color=colors, linewidth=1.6)
    ax.scatter(table["distance"], rows, color=colors, s=20, zorder=3, linewidths=0)
    ax.set_yticks(
        rows, [f"{i}  {c}" for i, c in zip(table["id"], table["criterion"].str.replace("_", " "), strict=True)]
    )
    ax.tick_params(axis="y", labelsize=8, length=0)
    # a few criteria lie dozens of deviations out; what matters is the neighbourhood of the line
    ax.set_xscale("symlog", linthresh=2)
    ax.set_xticks([-100, -10, -2, 0, 2, 10, 100], ["-100", "-10", "-2", "0", "2", "10", "100"])
    ax.set(xlabel="distance from the threshold, in standard deviations between seeds", ylim=(-0.8, len(table) - 0.2))
    ax.grid(axis="y", visible=False)
    return ax


def persistence(by_step: pd.DataFrame, ax: Axes) -> Axes:
    """Agreement of the heads' order with that at the end, by step, beside sign-flipped increments."""
    ax.fill_between(by_step.index, by_step["null_low"], by_step["null_high"], color=style.NULL, alpha=0.28, linewidth=0)
    ax.plot(by_step.index, by_step["null_mean"], color=style.NULL, linestyle="--", label="random signs (95% in grey)")
    ax.plot(by_step.index, by_step["tau"], color=style.CAUSAL, marker="o", markersize=3, label="heads")
    ax.axhline(0, color=style.NULL, linewidth=0.8)
    ax.set(xlabel="checkpoint (step)", ylabel="Kendall τ with the\norder at the end", ylim=(-1.05, 1.05))
    ax.legend(loc="lower right")
    return ax


def one_or_two(values: pd.Series, simulated: np.ndarray, ax: Axes, unit: str) -> Axes:
    """Values of all heads in their layers' own scales, beside what two populations of the same spread look like."""
    spread = float(values.std())
    bins = np.linspace(-3.2 * spread, 3.2 * spread, 37).tolist()
    ax.hist(simulated, bins=bins, density=True, color=style.NULL, alpha=0.35, label="two populations, simulated")
    ax.hist(values, bins=bins, density=True, histtype="step", color=style.CAUSAL, linewidth=1.6, label="heads")
    ax.set(xlabel=f"{unit} less the layer's mean,\nin deviations within a layer and run", ylabel="density", yticks=[])
    return ax
