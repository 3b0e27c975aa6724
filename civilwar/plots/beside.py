"""Our run, with the report's numbers drawn into it in its own colour."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from civilwar.analysis.beside import Reported
from civilwar.plots import style


def norms(heads: pd.DataFrame, decay_only: pd.Series, reported: Reported, ax: Axes) -> Axes:
    """One layer's key norms over steps; the report's dip and its four ends."""
    ax.plot(decay_only.index, decay_only, color=style.NULL, linestyle="--", linewidth=1.2)
    for kv_head, head in heads.groupby("kv_head"):
        ax.plot(head["step"], head["norm"], color=style.kv_head_color(int(kv_head)), linewidth=1.4)
    _marks(ax, [reported.dip_step], [reported.dip_norm])
    last = heads["step"].max()
    _marks(ax, [last] * len(reported.end_norms), list(reported.end_norms))
    ax.set(xlabel="step (updates)", ylabel="key norm")
    return ax


def ranks(ends: pd.DataFrame, at: list[int], reported: Reported, ax: Axes) -> Axes:
    """The coordinate participation ratio of every layer at the end, its null under the layer's own gain, theirs on top."""
    ax.scatter(ends["layer"], ends["null_gain"], marker="_", color=style.NULL, s=120, linewidths=2)
    ax.scatter(ends["layer"], ends["end"], color=style.CAUSAL, s=20, linewidths=0)
    _marks(ax, [float(layer) for layer in at], [value for _, _, value in reported.ranks])
    ax.set(xlabel="layer", ylabel="coordinate participation ratio")
    ax.set_ylim(bottom=0)
    return ax


def gains(final: pd.DataFrame, reported: Reported, ax: Axes) -> Axes:
    """One layer's final gains from fast to slow RoPE pairs, between the report's smallest and largest."""
    ax.axhline(1, color=style.NULL, linewidth=1)
    ax.scatter(final["rank"], final["gain"], color=style.CAUSAL, s=14, linewidths=0)
    for gain in reported.gains:
        ax.axhline(gain, color=style.REPORT, linewidth=1.2, linestyle=":")
    ax.set(xlabel="RoPE frequency rank (fast to slow)", ylabel="gain")
    return ax


def entropies(heads: pd.DataFrame, n_tokens: int, reported: Reported, ax: Axes) -> Axes:
    """Entropy by the report's measure against key norm, its possible maximum, and where the report's loud points lie."""
    ax.axhline(math.log(n_tokens), color=style.NULL, linestyle="--", linewidth=1.2)
    ax.scatter(heads["norm"], heads["entropy_report"], color=style.CAUSAL, s=17, linewidths=0)
    low, high = reported.loud_entropies
    right = max(float(heads["norm"].max()), reported.end_norms[0]) + 0.4
    ax.fill_between([reported.loud, right], low, high, color=style.REPORT, alpha=0.3, linewidth=0)
    ax.set(xlabel="key norm", ylabel="entropy, the report's way (nats)", ylim=(0, 1.06 * math.log(n_tokens)))
    return ax


def _marks(ax: Axes, x: list[float], y: list[float]) -> None:
    # hollow, so that what lies under a mark still shows
    ax.scatter(np.asarray(x), np.asarray(y), facecolors="none", edgecolors=style.REPORT, s=46, linewidths=1.6, zorder=4)
