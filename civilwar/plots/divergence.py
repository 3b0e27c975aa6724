"""Figures of phase 1."""

import pandas as pd
from matplotlib.axes import Axes

from civilwar.plots import style


def head_norms(
    norms: pd.DataFrame, decay_only: pd.Series, ax: Axes, bounds: pd.DataFrame | None = None, legend: bool = True
) -> Axes:
    """Key norm of one layer's KV heads over steps, beside weight decay alone and the shared gain's bounds."""
    if bounds is not None and not bounds.empty:
        ax.fill_between(
            bounds["step"],
            bounds["lower"],
            bounds["upper"],
            color=style.NULL,
            alpha=0.18,
            linewidth=0,
            label="shared-gain bounds",
        )
    if decay_only.notna().any():
        ax.plot(decay_only.index, decay_only, color=style.NULL, linestyle="--", linewidth=1.2, label="decay only")
    for kv_head, head in norms.groupby("kv_head"):
        ax.plot(
            head["step"],
            head["norm"],
            color=style.kv_head_color(int(kv_head)),
            linewidth=1.4,
            label=f"KV head {kv_head}",
        )
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        ax.set(xlabel="step (updates)", ylabel="key norm (mean over tokens)")
    return ax


def dip(layer_means: pd.DataFrame, decay_only: pd.Series, dips: pd.DataFrame, ax: Axes) -> Axes:
    """Layer-mean key norm in the first steps, each minimum marked, beside decay alone."""
    colors = style.layer_colors(layer_means["layer"].nunique())
    for layer, table in layer_means.groupby("layer"):
        ax.plot(table["step"], table["norm"], color=colors[int(layer)], linewidth=1.3)
    ax.scatter(dips["dip_step"], dips["dip_norm"], color=[colors[int(i)] for i in dips["layer"]], s=26, zorder=3)
    ax.plot(decay_only.index, decay_only, color=style.NULL, linestyle="--")
    if decay_only.notna().any():
        # a falling line leaves room above it to the right
        half = len(decay_only) // 2
        style.label_line(ax, decay_only.index[half], decay_only.iloc[half], "decay only")
    ax.set(xlabel="step (updates)", ylabel="key norm (layer mean)")
    style.layer_key(ax, len(colors))
    return ax


def spread(spreads: pd.DataFrame, alignment: pd.DataFrame, onset: float, ax: Axes) -> Axes:
    """One layer's between-head spread over steps, the permuted-gain null as a band, batch noise as a line."""
    if not alignment.empty:
        ax.fill_between(
            alignment["step"], alignment["null_low"], alignment["null_high"], color=style.NULL, alpha=0.28, linewidth=0
        )
        ax.plot(alignment["step"], alignment["null_median"], color=style.NULL, linewidth=1)
    ax.plot(spreads["step"], spreads["noise"], color=style.NULL, linestyle=":", linewidth=1.2)
    ax.plot(spreads["step"], spreads["spread"], color=style.CAUSAL, linewidth=1.4)
    if onset == onset:
        ax.axvline(onset, color=style.REPORT, linewidth=1, linestyle="-")
    return ax
