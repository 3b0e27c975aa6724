"""Figures of phase 3."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from civilwar.plots import style

NAMES = {
    "coordinate_participation_ratio": "coordinate participation ratio",
    "participation_ratio": "covariance participation ratio",
    "effective_rank": "effective rank",
    "stable_rank": "stable rank",
}


def over_time(means: pd.DataFrame, null: pd.DataFrame, isotropic: float, ax: Axes, n_layers: int) -> Axes:
    """One measure's layer means over steps; layers' own-gain nulls as a band, the flat one as a line."""
    colors = style.layer_colors(n_layers)
    if not null.empty:
        by_step = null.groupby("step")["value"]
        ax.fill_between(by_step.min().index, by_step.min(), by_step.max(), color=style.NULL, alpha=0.28, linewidth=0)
    ax.axhline(isotropic, color=style.NULL, linestyle="--", linewidth=1.2)
    for layer, line in means.groupby("layer"):
        ax.plot(line["step"], line["value"], color=colors[int(layer)], linewidth=1.4)
    ax.set(xlabel="step (updates)")
    ax.set_ylim(bottom=0)
    return ax


def by_layer(heads: pd.DataFrame, ends: pd.DataFrame, ax: Axes) -> Axes:
    """One measure at the end: a dot per KV head, layer by layer, each layer's own-gain null as a dash."""
    for kv_head, dots in heads.groupby("kv_head"):
        ax.scatter(
            dots["layer"],
            dots["value"],
            color=style.kv_head_color(int(kv_head)),
            s=24,
            zorder=3,
            linewidths=0,
            label=f"KV head {kv_head}",
        )
    ax.scatter(
        ends["layer"],
        ends["null_gain"],
        marker="_",
        color=style.NULL,
        s=1400 / len(ends),
        linewidths=2,
        label="null: isotropic × gain",
    )
    ax.set(xlabel="layer")
    # every layer where there is room for its number
    ax.xaxis.set_major_locator(MaxNLocator(min(len(ends), 8), integer=True))
    ax.set_ylim(bottom=0)
    return ax
