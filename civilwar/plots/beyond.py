"""Figures of phase 12: nulls that keep frequencies, onset over its threshold, what the dip test can see."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from civilwar.plots import style
from civilwar.plots.effect_sizes import scale_color

#: What each claim's number is, and what it would be without the thing.
NULLS = {
    "C03": ("C03: spread over the null's", 1.0),
    "C10": ("C10: share of the fall explained", 0.0),
    "C15": ("C15: golden energy over the null's", 1.0),
    "C18": ("C18: likeness above the null's", 0.0),
}


def over_widths(by_rung: Mapping[str, pd.DataFrame], claim: str, ax: Axes) -> Axes:
    """One claim's number under the free null and under ever narrower neighbourhoods: a dot a run, means joined.

    ``by_rung``: label -> claim, width (NaN the free null), value.
    """
    title, without = NULLS[claim]
    ax.axhline(without, color=style.NULL, linestyle="--", linewidth=1.2)
    widths: list[float] = []
    for place, table in enumerate(by_rung.values()):
        own = table[table["claim"] == claim].dropna(subset=["value"])
        widths = sorted(own["width"].fillna(math.inf).unique(), reverse=True) or widths
        x = own["width"].fillna(math.inf).map({width: i for i, width in enumerate(widths)}).to_numpy(dtype=float)
        shift = 0.1 * (place - (len(by_rung) - 1) / 2)
        ax.scatter(x + shift, own["value"], s=14, color=scale_color(place), alpha=0.55, linewidths=0)
        means = own.groupby(x)["value"].mean()
        ax.plot(means.index + shift, means, color=scale_color(place), linewidth=1.8)
    ax.set_xticks(range(len(widths)), ["free" if math.isinf(width) else f"{width:.0f}" for width in widths])
    ax.set_title(title)
    return ax


def onset(by_rung: Mapping[str, pd.DataFrame], stated: float, ax: Axes, unit: str) -> Axes:
    """Median onset step over the threshold that says what apart means: a line a run, means thicker; ``stated`` is dotted.

    Dashed: an onset in proportion to the threshold, as any spread has that grows in a straight line. ``unit`` names the axis.
    """
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    for place, (label, table) in enumerate(by_rung.items()):
        color = scale_color(place)
        for _, of_run in table.groupby("run"):
            ax.plot(of_run["threshold"], of_run["onset"], color=color, alpha=0.3, linewidth=0.9)
        means = table.groupby("threshold")["onset"].mean()
        ax.plot(means.index, means, color=color, linewidth=2.2, marker="o", markersize=3.5, label=label)
    tables = [table for table in by_rung.values() if len(table)]
    if tables:
        thresholds = np.array(sorted(pd.concat(tables)["threshold"].unique()))
        lowest = float(pd.concat(tables).groupby("threshold")["onset"].mean().iloc[0])
        straight = lowest * thresholds / thresholds[0]
        kept = straight <= max(float(table["onset"].max()) for table in tables)
        ax.plot(
            thresholds[kept], straight[kept], color=style.NULL, linestyle="--", linewidth=1.2, label="in proportion"
        )
    if not math.isnan(stated):
        ax.axvline(stated, color=style.INK, linestyle=":", linewidth=1)
        # every other one, or they would run into each other
        ax.set_xticks(thresholds[::2], [f"{threshold:g}" for threshold in thresholds[::2]])
    ax.set(xlabel=unit, ylabel="onset (step, median over layers)")
    ax.legend(loc="upper left")
    return ax


def power(curves: pd.DataFrame, ax: Axes) -> Axes:
    """Power of the dip test over separation: a colour a share of heads, solid for independent heads, dashed for measured ones.

    ``curves``: share, separation, icc, power. Dotted: no separation, where it is the rate of false alarms.
    """
    colors = (style.CAUSAL, style.RESCALED, style.REPORT)
    for color, (share, of_share) in zip(colors, curves.groupby("share", sort=False), strict=False):
        for icc, curve in of_share.groupby("icc"):
            alone = icc <= 0
            ax.plot(
                curve["separation"],
                curve["power"],
                color=color,
                linestyle="-" if alone else "--",
                linewidth=1.8,
                label=f"{share:.0%} of heads" if alone else None,
            )
    ax.plot([], [], color=style.INK, linestyle="--", label="as alike as measured")
    ax.axhline(0.8, color=style.NULL, linewidth=1)
    style.label_line(ax, 0, 0.8, "what one would ask for")
    ax.set(xlabel="distance of the second population (s.d. of heads in a layer)", ylabel="found (share of sweeps)")
    ax.set_ylim(-0.03, 1.05)
    ax.legend(loc="center left")
    return ax
