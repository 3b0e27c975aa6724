"""Figures of phase 6."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from civilwar.analysis import controls
from civilwar.names.variants import LABELS, VARIANTS
from civilwar.plots import style

PHENOMENON_NAMES = {
    "fall": "fall of the norms",
    "norm": "key norm at the end",
    "spread": "spread between heads",
    "onset": "onset of the spread (step)",
    "entropy": "normalised entropy",
    "focus": "norm–entropy correlation",
    "coordinate_ratio": "coordinate ratio",
    "covariance_ratio": "covariance ratio",
    "frequency": "gain–frequency correlation",
    "settle": "gain settled (step)",
    "loss": "held-out loss (nats)",
}
MEASURE_NAMES = {
    "norm": "key norm (mean over layers)",
    "spread": "spread between heads (s.d.)",
    "entropy": "causal entropy / ln i",
    "focus": "rank correlation of\nkey norm and entropy",
    "coordinate_ratio": "coordinate participation ratio",
    "covariance_ratio": "covariance participation ratio",
    "loss": "held-out loss (nats)",
}
#: Changes of so many deviations and more have the strongest colour.
STRONGEST = 10
_OPACITY = 0.62


def lines(table: pd.DataFrame, ax: Axes, variants: Sequence[str] | None = None) -> Axes:
    """Mean over seeds of each variant's measure over steps, the range over seeds as a band; the baseline thicker."""
    for variant, line in table.groupby("variant", sort=False):
        if variants is not None and variant not in variants:
            continue
        color, is_base = VARIANTS[str(variant)].color, variant == "baseline"
        if line["n"].max() > 1:
            ax.fill_between(line["step"], line["low"], line["high"], color=color, alpha=0.18, linewidth=0)
        ax.plot(
            line["step"],
            line["mean"],
            color=color,
            linewidth=2.2 if is_base else 1.3,
            zorder=3 if is_base else 2,
            label=LABELS[str(variant)],
        )
    ax.set(xlabel="step (updates)")
    return ax


def norms(table: pd.DataFrame, decay_only: pd.DataFrame, ax: Axes, variants: Sequence[str] | None = None) -> Axes:
    """`lines` of key norms, beside what weight decay alone would do to each variant shown."""
    chosen = decay_only if variants is None else decay_only[decay_only["variant"].isin(variants)]
    for _, curve in chosen.dropna().groupby("variant", sort=False):
        ax.plot(curve["step"], curve["norm"], color=style.NULL, linestyle="--", linewidth=1.2, zorder=1)
    lines(table, ax, variants)
    falling = chosen[chosen["variant"] == "baseline"]
    if len(falling):
        step, norm = falling[["step", "norm"]].iloc[len(falling) // 2]
        style.label_line(ax, step, norm, "decay alone", ha="left")
    ax.set_ylabel(MEASURE_NAMES["norm"])
    return ax


def norms_early_and_whole(
    table: pd.DataFrame, decay_only: pd.DataFrame, mid: int, early: Sequence[str] | None = None
) -> tuple[Figure, np.ndarray]:
    """`norms` up to step ``mid`` of the variants ``early``, or of all, and beside it those of all in the whole run."""
    figure, axes = style.row(2, width=9.4, height=3.5)
    before, before_decay = (rows[rows["step"] <= mid] for rows in (table, decay_only))
    norms(before, before_decay, axes[0], early)
    name_lines(before if early is None else before[before["variant"].isin(early)], axes[0])
    axes[0].set_title("first half")
    norms(table, decay_only, axes[1])
    name_lines(table, axes[1])
    axes[1].set(title="whole run", ylabel="")
    return figure, axes


def name_lines(table: pd.DataFrame, ax: Axes, gap: float = 0.07) -> None:
    """Each line's name at its end, in its colour, moved apart where ends lie close (``gap`` of the axis' height)."""
    ends = table.sort_values("step").groupby("variant").last()["mean"].dropna().sort_values()
    low, high = ax.get_ylim()
    log = ax.get_yscale() == "log"
    scaled = np.log(ends / low) / np.log(high / low) if log else (ends - low) / (high - low)
    places = scaled.to_numpy(dtype=float).copy()
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    # what was pushed up is centred on where it belongs
    places -= max(0.0, float((places - scaled.to_numpy(dtype=float)).mean()))
    for variant, y in zip(ends.index, places, strict=True):
        ax.annotate(
            LABELS[str(variant)],
            (1.0, y),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=VARIANTS[str(variant)].color,
            annotation_clip=False,
        )


def loss_over_time(table: pd.DataFrame, ax: Axes) -> Axes:
    """`lines` of the loss less that of the baseline of the same seed."""
    ax.axhline(0, color=style.NULL, linewidth=1.2)
    lines(table, ax)
    ax.set_ylabel("loss less the baseline's (nats)")
    return ax


def focus(table: pd.DataFrame, null: pd.DataFrame, ax: Axes) -> Axes:
    """`lines` of the correlation of key norm and entropy, beside the null of one run as a band."""
    ax.fill_between(null["step"], null["low"], null["high"], color=style.NULL, alpha=0.25, linewidth=0)
    ax.axhline(0, color=style.NULL, linewidth=1)
    lines(table, ax)
    ax.set(ylabel=MEASURE_NAMES["focus"], ylim=(-1.05, 1.05))
    return ax


def profile(profiles: pd.DataFrame, mean: pd.DataFrame, order: str, ax: Axes) -> Axes:
    """One variant's final gain of RoPE pairs by frequency rank or by place: a dot per layer and run, their mean as a line."""
    color = VARIANTS[profiles["variant"].iloc[0]].color
    ax.axhline(1, color=style.NULL, linestyle="--", linewidth=1.2)
    ax.scatter(profiles[order], profiles["gain"], s=5, alpha=0.3, color=color, linewidths=0)
    ax.plot(mean[order], mean["gain"], color=color, linewidth=2)
    return ax


def loss_changes(paired: pd.DataFrame, changes: pd.DataFrame, ax: Axes) -> Axes:
    """Final loss less that of the baseline of the same seed: a dot per seed, the mean with its 95% interval as a bar."""
    table = changes[changes["phenomenon"] == "loss"].sort_values("change", ascending=False).reset_index(drop=True)
    last = paired[paired["step"] == paired["step"].max()]
    ax.axvline(0, color=style.NULL, linewidth=1.2)
    for y, row in table.iterrows():
        color = VARIANTS[row["variant"]].color
        values = last[last["variant"] == row["variant"]]["value"]
        ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2.2, solid_capstyle="butt")
        ax.plot([row["change"]], [y], marker="|", color=color, markersize=13, markeredgewidth=2.2)
        ax.scatter(values, [y] * len(values), s=16, color=color, alpha=0.75, linewidths=0, zorder=3)
    ax.set_yticks(range(len(table)), [LABELS[variant] for variant in table["variant"]])
    for label, variant in zip(ax.get_yticklabels(), table["variant"], strict=True):
        label.set_color(VARIANTS[variant].color)
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel="loss less the baseline's (nats)", ylim=(-0.6, len(table) - 0.4))
    ax.grid(axis="y", visible=False)
    return ax


def knobs(changes: pd.DataFrame, ax: Axes) -> Axes:
    """Phenomena x knobs: the change in its own unit, bold where its interval leaves out 0, coloured by its size.

    The colour's strength grows with the change in standard deviations between the baseline's seeds.
    """
    variants = list(changes["variant"].unique())
    for _, row in changes.iterrows():
        x, y = variants.index(row["variant"]), list(controls.PHENOMENA).index(row["phenomenon"])
        defined = row["change"] == row["change"]
        if defined:
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0, **_paint(float(row["deviations"]))))
        text = f"{row['change']:+.{controls.PHENOMENA[row['phenomenon']]}f}".replace("-", "\N{MINUS SIGN}")
        ax.text(
            x,
            y,
            text if defined else "no value",
            ha="center",
            va="center",
            fontsize=9 if defined else 7.5,
            fontweight="bold" if row["clear"] else "normal",
            fontstyle="normal" if defined else "italic",
            color=style.INK if defined else style.NULL,
        )
    ax.set_xticks(range(len(variants)), [_folded(LABELS[v]) for v in variants])
    ax.set_yticks(range(len(controls.PHENOMENA)), [PHENOMENON_NAMES[p] for p in controls.PHENOMENA])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.set(xlim=(-0.5, len(variants) - 0.5), ylim=(len(controls.PHENOMENA) - 0.5, -0.5))
    _key(ax)
    return ax


def _paint(deviations: float) -> dict[str, Any]:
    """Colour and strength of a change."""
    share = min(1.0, abs(deviations) / STRONGEST) if deviations == deviations else 0.0
    return {"facecolor": style.MORE if deviations > 0 else style.LESS, "alpha": _OPACITY * share}


def _key(ax: Axes) -> None:
    """What the colours mean, below the cells."""
    sizes = [-STRONGEST, -STRONGEST / 2, -2, 0, 2, STRONGEST / 2, STRONGEST]
    handles = [Rectangle((0, 0), 1, 1, linewidth=0, **_paint(size)) for size in sizes]
    names = [f"{size:+.0f}".replace("-", "\N{MINUS SIGN}") if size else "0 s.d." for size in sizes]
    ax.legend(handles, names, ncol=len(sizes), loc="upper center", bbox_to_anchor=(0.42, -0.01), columnspacing=1.2)


def _folded(name: str) -> str:
    """A name in two lines, broken at the space nearest its middle."""
    spaces = [i for i, letter in enumerate(name) if letter == " "]
    if not spaces:
        return name
    at = min(spaces, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:at]}\n{name[at + 1 :]}"
