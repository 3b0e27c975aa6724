"""Figures of a grown model."""

import pandas as pd
from matplotlib.axes import Axes

from civilwar.analysis.taxonomy import SINK_EPSILON
from civilwar.names.kinds import KINDS
from civilwar.plots import style


def sinks(table: pd.DataFrame, ax: Axes) -> Axes:
    """Attention on the first token, a dot a query head, against its layer; the mark above which a head counts as a sink."""
    for is_sink, color, name in ((True, KINDS["sink"].color, "sink"), (False, style.NULL, "no sink")):
        rows = table[table["sink_head"] == is_sink]
        ax.scatter(
            rows["layer"], rows["sink"], s=14, color=color, alpha=0.75, linewidths=0, label=f"{name} ({len(rows)})"
        )
    ax.axhline(SINK_EPSILON, color=style.NULL, linestyle="--", linewidth=1.2)
    ax.set(xlabel="layer", ylabel="attention on the first token", ylim=(-0.03, 1.03))
    ax.legend(loc="lower right")
    return ax


def focus(table: pd.DataFrame, ax: Axes) -> Axes:
    """Key norm over its layer's mean against normalised entropy, a dot a query head, sinks in their colour."""
    ratio = table["norm"] / table.groupby("layer")["norm"].transform("mean")
    for is_sink, color in ((False, style.NULL), (True, KINDS["sink"].color)):
        rows = table["sink_head"] == is_sink
        name = f"{'sink' if is_sink else 'no sink'} ({rows.sum()})"
        ax.scatter(
            ratio[rows], table.loc[rows, "entropy_normalised"], s=14, color=color, alpha=0.75, linewidths=0, label=name
        )
    ax.axvline(1, color=style.NULL, linestyle="--", linewidth=1.2)
    ax.set(xlabel="key norm over its layer's mean", ylabel="entropy over its largest")
    ax.legend(loc="best")
    return ax
