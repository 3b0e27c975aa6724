"""Figures of phase 2."""

import pandas as pd
from matplotlib.axes import Axes

from civilwar.plots import style

MEASURE_COLORS = {"causal": style.CAUSAL, "rescaled": style.RESCALED, "report": style.REPORT}
MEASURE_NAMES = {
    "causal": "causal, after RoPE",
    "rescaled": "causal, keys rescaled to one norm",
    "report": "the report's (no mask, before RoPE)",
}


def cloud(points: pd.DataFrame, column: str, ax: Axes, n_layers: int) -> Axes:
    """Entropy against key norm, one dot per head, coloured by layer."""
    colors = style.layer_colors(n_layers)
    ax.scatter(
        points["norm"], points[column], c=[colors[int(i)] for i in points["layer"]], s=17, alpha=0.85, linewidths=0
    )
    return ax


def correlation_over_time(table: pd.DataFrame, ax: Axes) -> Axes:
    """Pooled correlation of norm and entropy at every snapshot, one line per measure, the null as a band."""
    null = table[table["measure"] == "causal"].dropna(subset=["null_low"])
    ax.fill_between(
        null["step"],
        null["null_low"],
        null["null_high"],
        color=style.NULL,
        alpha=0.25,
        linewidth=0,
        label="null: norms dealt anew (95%)",
    )
    ax.axhline(0, color=style.NULL, linewidth=1)
    for measure, line in table.groupby("measure", sort=False):
        ax.plot(
            line["step"],
            line["rho"],
            color=MEASURE_COLORS[str(measure)],
            label=MEASURE_NAMES[str(measure)],
            marker="o",
            markersize=2.6,
        )
    ax.set(xlabel="step (updates)", ylabel="rank correlation of\nkey norm and entropy", ylim=(-1.05, 1.05))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncol=2)
    return ax


def correlation_per_layer(table: pd.DataFrame, ax: Axes) -> Axes:
    """Correlation within each layer at one snapshot, one dot per measure."""
    ax.axhline(0, color=style.NULL, linewidth=1)
    for measure, dots in table.groupby("measure", sort=False):
        ax.plot(
            dots["layer"],
            dots["rho"],
            color=MEASURE_COLORS[str(measure)],
            marker="o",
            markersize=5,
            linewidth=0.8,
            label=MEASURE_NAMES[str(measure)],
        )
    ax.set(xlabel="layer", ylabel="rank correlation over\nthe layer's query heads", ylim=(-1.05, 1.05))
    ax.set_xticks(sorted(table["layer"].unique()))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncol=2)
    return ax
