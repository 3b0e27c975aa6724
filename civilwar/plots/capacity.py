"""Figures of phase 7."""

import pandas as pd
from matplotlib.axes import Axes

from civilwar.analysis import capacity
from civilwar.plots import style
from civilwar.recipe.config import RunConfig

NAMES = {
    "directions": "principal directions",
    "gains": "largest gains (the report's choice)",
    "random_directions": "random directions",
    "random_dimensions": "random dimensions",
}
LOOKS: dict[str, dict[str, str]] = {
    "directions": {"color": style.CAUSAL, "linestyle": "-"},
    "gains": {"color": style.REPORT, "linestyle": "-"},
    "random_directions": {"color": style.NULL, "linestyle": "--"},
    "random_dimensions": {"color": style.NULL, "linestyle": ":"},
}


def by_rank(table: pd.DataFrame, shown: pd.DataFrame, column: str, ax: Axes, config: RunConfig) -> Axes:
    """A method's mean over seeds at every cut, its 95% interval as a band; the report's share marked, one run as rings."""
    d_head, rank = config.model.d_head, capacity.report_rank(config)
    ax.axvline(rank, color=style.INK, linewidth=1, linestyle=":")
    for method, look in LOOKS.items():
        line, ring = (t[t["method"] == method] for t in (table, shown.dropna(subset=[column])))
        band = line.dropna(subset=["low", "high"])
        ax.fill_between(band["rank"], band["low"], band["high"], color=look["color"], alpha=0.22, linewidth=0)
        if len(line):
            ax.plot(line["rank"], line["mean"], marker="o", markersize=3.2, label=NAMES[method], **look)  # type: ignore[arg-type]
        ax.scatter(ring["rank"], ring[column], s=24, facecolors="none", edgecolors=look["color"], linewidths=1)
    if len(shown):
        ax.scatter([], [], s=24, facecolors="none", edgecolors=style.INK, linewidths=1, label="the run shown")
    ax.set_xticks([0, d_head // 4, d_head // 2, 3 * d_head // 4, d_head])
    ax.set(xlabel=f"key dimensions kept, of {d_head} a head", xlim=(-0.02 * d_head, 1.02 * d_head))
    style.side_legend(ax)
    return ax


def kept(table: pd.DataFrame, shown: pd.DataFrame, ax: Axes, config: RunConfig, enough: float) -> Axes:
    """`by_rank` of the share kept, with the share that counts as enough."""
    ax.axhline(enough, color=style.NULL, linewidth=1)
    by_rank(table, shown, "kept", ax, config)
    lowest = min([0.0, *table["mean"], *shown["kept"].dropna()])
    ax.set(ylabel="share kept of what\nkeys are worth", ylim=(lowest - 0.03, 1.06))
    _mark(ax, config, lowest + 0.02)
    ax.annotate(
        f"enough: {enough:.0%}",
        (1.0, enough),
        xycoords=("axes fraction", "data"),
        xytext=(-2, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8.5,
        color=style.NULL,
    )
    return ax


def excess(table: pd.DataFrame, shown: pd.DataFrame, ax: Axes, config: RunConfig) -> Axes:
    """`by_rank` of the loss above the full model's."""
    ax.axhline(0, color=style.NULL, linewidth=1)
    by_rank(table, shown, "excess", ax, config)
    # an interval from two seeds is wider than all there is to see
    highest = max([0.0, *table["mean"], *shown["excess"]])
    ax.set(
        ylabel="loss above the\nfull model's (nats)", ylim=(min(-0.05 * highest, table["mean"].min()), 1.12 * highest)
    )
    _mark(ax, config, 1.02 * highest)
    return ax


def _mark(ax: Axes, config: RunConfig, y: float) -> None:
    text = f"{capacity.report_rank(config)} of {config.model.d_head}: the report's {capacity.REPORT_SHARE:.0%}"
    ax.annotate(
        text,
        (capacity.report_rank(config), y),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=8.5,
        color=style.INK,
    )
