"""Figures of phase 5: kinds of heads."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from civilwar.names.kinds import KINDS, kind_of_score
from civilwar.plots import style

#: A label that fewer redraws of the texts agree on is drawn pale.
CERTAIN = 0.9
PALE = 0.28
_GAP = 0.35


def kinds_map(labelled: pd.DataFrame, ax: Axes) -> Axes:
    """Layers x query heads, grouped under the KV head they read, coloured and lettered by kind; pale where uncertain."""
    places: dict[int, list[float]] = {}
    for head in labelled.itertuples():
        x = head.query_head + _GAP * head.kv_head
        places[head.kv_head] = [*places.get(head.kv_head, []), x]
        certain = not head.certainty < CERTAIN
        color = to_rgba(KINDS[head.kind].color, 1 if certain else PALE)
        ax.add_patch(Rectangle((x - 0.47, head.layer - 0.46), 0.94, 0.92, facecolor=color, linewidth=0))
        ax.annotate(
            KINDS[head.kind].code,
            (x, head.layer),
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold",
            color="#ffffff" if certain else style.INK,
        )
    n_layers = labelled["layer"].max() + 1
    for kv_head, xs in places.items():
        ax.annotate(
            f"KV {kv_head}",
            (float(np.mean(xs)), 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
        )
    heads = labelled.drop_duplicates("query_head")
    ax.set_xticks((heads["query_head"] + _GAP * heads["kv_head"]).tolist(), heads["query_head"].tolist())
    ax.set_yticks(range(n_layers))
    right = max(x for xs in places.values() for x in xs)
    ax.set(xlabel="query head", ylabel="layer", xlim=(-0.6, right + 0.6), ylim=(n_layers - 0.4, -0.6))
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    found = labelled["kind"].value_counts()
    handles = [Rectangle((0, 0), 1, 1, facecolor=KINDS[k].color, linewidth=0) for k in KINDS if k in found]
    names = [f"{KINDS[kind].code}  {KINDS[kind].label} ({found[kind]})" for kind in KINDS if kind in found]
    ax.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.1, handleheight=1.1)
    return ax


def score_strips(table: pd.DataFrame, ax: Axes) -> Axes:
    """Every score of every query head before and after training, beside its threshold; heads that pass it are coloured."""
    random = np.random.Generator(np.random.PCG64(0))
    scores = list(dict.fromkeys(table["score"]))
    for x, score in enumerate(scores):
        of_score = table[table["score"] == score]
        color = kind_of_score(score).color
        for trained, at in ((False, x - 0.2), (True, x + 0.2)):
            dots = of_score[of_score["trained"] == trained]
            colors = [color if trained and passes else style.NULL for passes in dots["passes"]]
            ax.scatter(at + random.uniform(-0.13, 0.13, len(dots)), dots["value"], c=colors, s=13, linewidths=0)
        ax.plot([x - 0.42, x + 0.42], [of_score["threshold"].iloc[0]] * 2, color=style.INK, linewidth=1.4)
    ax.set_xticks(range(len(scores)), [kind_of_score(score).score for score in scores])
    ax.tick_params(axis="x", length=0, labelsize=8.5)
    ax.set(ylabel="score (mean over texts)", xlim=(-0.6, len(scores) - 0.4), ylim=(None, 1.03))
    return ax


def sink_sweep(table: pd.DataFrame, epsilon: float, ax: Axes) -> Axes:
    """Share of query heads above epsilon for one k, a line per T; the null are untrained heads at the same T."""
    horizons = sorted(table["horizon"].unique())
    colors = style.layer_colors(len(horizons))
    ax.axvline(epsilon, color=style.NULL, linestyle=":", linewidth=1.2)
    for color, (horizon, line) in zip(colors, table.sort_values("epsilon").groupby("horizon"), strict=True):
        ax.plot(line["epsilon"], line["untrained"], color=style.NULL, linestyle="--", linewidth=0.8)
        ax.plot(line["epsilon"], line["share"], color=color, linewidth=1.5, label=f"T = {horizon}")
    ax.set_title(f"k = {table['position'].iloc[0]}")
    ax.set(xlim=(0, 0.6), ylim=(-0.03, 1.03), xlabel="threshold ε")
    return ax


def kinds_over_time(counts: pd.DataFrame, ax: Axes) -> Axes:
    """Query heads of each kind at every snapshot, stacked; the last numbers at the right end."""
    order = [kind for kind in KINDS if kind in counts]
    ax.stackplot(
        counts.index,
        counts[order].T.to_numpy(),
        colors=[KINDS[kind].color for kind in order],
        linewidth=0,
        alpha=0.95,
    )
    total = int(counts.iloc[-1].sum())
    last = [(kind, int(counts[kind].iloc[-1])) for kind in order]
    middles = np.cumsum([n for _, n in last]) - np.array([n for _, n in last]) / 2
    for (kind, n), y in zip(last, _apart(middles, 0.07 * total), strict=True):
        if n:
            ax.annotate(
                f"{KINDS[kind].label} {n}",
                (1.0, y),
                xycoords=("axes fraction", "data"),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=KINDS[kind].color,
                fontweight="bold",
                fontsize=8.5,
            )
    ax.set(xlabel="step (updates)", ylabel="query heads", xlim=(0, counts.index[-1]), ylim=(0, total))
    return ax


def _apart(values: np.ndarray, least: float) -> np.ndarray:
    """The rising values moved up as little as needed to keep ``least`` between neighbours."""
    moved = values.astype(float).copy()
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + least)
    return moved


def persistence(table: pd.DataFrame, ax: Axes) -> Axes:
    """Share of query heads with their final kind already, beside labels dealt anew within layers."""
    ax.plot(table["step"], table["dealt"], color=style.NULL, linestyle="--", label="labels dealt anew\nwithin layers")
    ax.plot(table["step"], table["same"], color=style.CAUSAL, marker="o", markersize=2.6, label="the same heads")
    ax.set(xlabel="step (updates)", ylabel="share of heads with\ntheir final kind", ylim=(0, 1.03))
    ax.legend(loc="lower right")
    return ax


def kinds_over_seeds(counts: pd.DataFrame, ax: Axes) -> Axes:
    """Query heads of each kind, a bar per seed, every piece with its number."""
    left = np.zeros(len(counts))
    rows = np.arange(len(counts))
    for kind in (kind for kind in KINDS if kind in counts):
        n = counts[kind].to_numpy()
        ax.barh(rows, n, left=left, color=KINDS[kind].color, height=0.78, label=KINDS[kind].label, linewidth=0)
        for row, count, start in zip(rows, n, left, strict=True):
            if count:
                ax.annotate(
                    str(count),
                    (start + count / 2, row),
                    ha="center",
                    va="center",
                    color="#ffffff",
                    fontsize=8.5,
                    fontweight="bold",
                )
        left = left + n
    ax.set_yticks(rows, [f"seed {seed}" for seed in counts.index])
    ax.set(xlabel="query heads", xlim=(0, left.max()), ylim=(len(rows) - 0.4, -0.6))
    ax.grid(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncol=3, handlelength=1.1)
    return ax


def agreement(numbers: Mapping[str, float], ax: Axes) -> Axes:
    """Share of places with one kind in two seeds, beside 95% of labels dealt anew within layers."""
    ax.add_patch(
        Rectangle(
            (numbers["low"], -0.22),
            numbers["high"] - numbers["low"],
            0.44,
            facecolor=style.NULL,
            alpha=0.35,
            linewidth=0,
        )
    )
    ax.plot([numbers["dealt"]] * 2, [-0.22, 0.22], color=style.NULL, linewidth=1.6)
    ax.plot([numbers["same"]], [0], "o", color=style.CAUSAL, markersize=8)
    style.label_above(ax, numbers["same"], 0, "measured", style.CAUSAL, 18)
    ax.annotate(
        "dealt anew (95%)",
        (numbers["dealt"], -0.22),
        xytext=(0, -12),
        textcoords="offset points",
        ha="center",
        color=style.NULL,
        fontsize=8.5,
    )
    ax.set(xlabel="share of places with\none kind in two seeds", xlim=(0, 1), ylim=(-0.9, 0.9))
    ax.set_yticks([])
    return ax
