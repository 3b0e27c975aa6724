"""Figures of phase 5: what heads of a kind do."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from civilwar.names.kinds import KINDS
from civilwar.plots import style

LOSS_NAMES = {
    "loss": "loss on text (nats)",
    "separator_loss": "loss after separators (nats)",
    "induction_gain": "gain by repetition (nats)",
}


def shuffled(table: pd.DataFrame, ax: Axes) -> Axes:
    """One score on text against the same on shuffled text, a dot per query head, larger where the score names its kind."""
    score = str(table["score"].iloc[0])
    low, high = min(0.0, table[["text", "shuffled"]].min(axis=None)), table[["text", "shuffled"]].max(axis=None)
    ax.plot([low, high], [low, high], color=style.NULL, linewidth=1, linestyle="--")
    ax.axhline(0, color=style.NULL, linewidth=1)
    for kind, dots in table.groupby("kind"):
        named = kind == score
        ax.scatter(
            dots["text"],
            dots["shuffled"],
            color=KINDS[str(kind)].color,
            s=34 if named else 13,
            marker="D" if named else "o",
            linewidths=0,
            alpha=0.9,
        )
    ax.set_title(KINDS[score].label)
    return ax


def kinds_key(ax: Axes, shown: Sequence[str]) -> None:
    """A legend of kinds to the right of the panel."""
    handles = [
        mpl.lines.Line2D([], [], color=KINDS[k].color, marker="o", linestyle="", markersize=5)
        for k in KINDS
        if k in shown
    ]
    names = [KINDS[k].label for k in KINDS if k in shown]
    ax.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2)


def pairs(
    first: Sequence[float], second: Sequence[float], names: tuple[str, str], colors: Sequence[str], ax: Axes
) -> Axes:
    """Golden energy of two groups, pair by pair, their means as bars; 1, the golden dimensions' share, as a line."""
    ax.axhline(1, color=style.NULL, linestyle="--", linewidth=1.3)
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    for x, y, color in zip(a, b, colors, strict=True):
        ax.plot([0, 1], [x, y], color=color, linewidth=0.9, alpha=0.6)
    for at, values in enumerate((a, b)):
        ax.scatter([at] * len(values), values, c=list(colors), s=26, zorder=3, linewidths=0)
        kept = values[~np.isnan(values)]
        if len(kept):
            ax.plot([at - 0.22, at + 0.22], [kept.mean()] * 2, color=style.INK, linewidth=2.4, zorder=4)
    ax.set_xticks([0, 1], list(names))
    ax.set(xlim=(-0.45, 1.45))
    return ax


def golden_targets(table: pd.DataFrame, wanted: float, ax: Axes) -> Axes:
    """Golden energy where static sinks point, a line per key to the other KV heads of the layer; what the rules ask for."""
    kind = {"first": "sink", "separator": "separator"}
    colors = [KINDS[kind[tokens]].color for tokens in table["tokens"]]
    pairs(table["sinks"], table["others"], ("where static\nsinks point", "other KV heads\nof the layer"), colors, ax)
    if table.empty:
        ax.annotate("no static sink", (0.5, 1), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=8.5)
    ax.set_ylabel("energy on golden dimensions\n(1: their share)")
    return _asked_for(wanted, f"asked for: above {wanted:g}", ax)


def golden_breadth(table: pd.DataFrame, n_layers: int, wanted: float, ax: Axes) -> Axes:
    """Golden energy of the broadest and the sharpest quarter of heads, a line per layer; what the rules ask for."""
    colors = style.layer_colors(n_layers)
    names = ("broadest quarter\nof heads", "sharpest\nquarter")
    pairs(table["broad"], table["sharp"], names, [to_hex(colors[int(layer)]) for layer in table["layer"]], ax)
    return _asked_for(wanted, f"asked for: below {wanted:g}", ax)


def _asked_for(value: float, text: str, ax: Axes) -> Axes:
    """A threshold of the decision rules, beside the first group."""
    ax.plot([-1.35, 0.3], [value] * 2, color=style.REPORT, linewidth=1.4, linestyle=":")
    ax.annotate(text, (-1.33, value), xytext=(0, 3), textcoords="offset points", color=style.REPORT, fontsize=8.5)
    ax.set_xlim(-1.4, 1.45)
    return ax


def match_scores(table: pd.DataFrame, uniform: float, ax: Axes) -> Axes:
    """Induction and retriever scores before and after training on a logarithmic axis, beside threshold and uniform."""
    random = np.random.Generator(np.random.PCG64(0))
    labels = []
    for block, score in enumerate(("induction", "retriever")):
        of_score = table[table["score"] == score]
        for side, trained in enumerate((False, True)):
            dots = of_score[of_score["trained"] == trained]
            x = 2.3 * block + side
            labels.append((x, "after" if trained else "before"))
            colors = [KINDS[score].color if trained and passes else style.NULL for passes in dots["passes"]]
            colors = [style.CAUSAL if trained and c == style.NULL else c for c in colors]
            jitter = x + random.uniform(-0.25, 0.25, len(dots))
            ax.scatter(jitter, dots["value"].clip(lower=1e-5), c=colors, s=15, linewidths=0, alpha=0.85)
        threshold = float(of_score["threshold"].iloc[0])
        ax.plot([2.3 * block - 0.45, 2.3 * block + 1.45], [threshold] * 2, color=style.REPORT, linestyle="--")
        style.label_above(ax, 2.3 * block + 0.5, threshold, "threshold", style.REPORT)
        ax.annotate(
            f"{'after' if score == 'induction' else 'on'} the match",
            (2.3 * block + 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
        )
    ax.axhline(uniform, color=style.NULL, linewidth=1)
    ax.set_xticks(*zip(*labels, strict=True))
    ax.set(yscale="log", ylabel="attention (share)", ylim=(None, 1.1))
    return ax


def contrast(table: pd.DataFrame, retrievers: pd.Series, wanted: float, ax: Axes) -> Axes:
    """Spread of the top logit over queries before and after training, a dot per head, retrievers apart."""
    random = np.random.Generator(np.random.PCG64(0))
    groups = [("before", table["start"]), ("after", table["end"]), ("retrievers\nafter", table["end"][retrievers])]
    ax.axhline(1, color=style.NULL, linestyle="--", linewidth=1.3)
    ax.axhline(wanted, color=style.REPORT, linestyle=":", linewidth=1.3)
    style.label_line(ax, 1.4, wanted, f"asked for: above {wanted:g}", style.REPORT)
    for x, (_, values) in enumerate(groups):
        color = (style.NULL, style.CAUSAL, KINDS["retriever"].color)[x]
        ax.scatter(x + random.uniform(-0.2, 0.2, len(values)), values, color=color, s=15, linewidths=0, alpha=0.85)
        if len(values):
            ax.plot([x - 0.28, x + 0.28], [values.mean()] * 2, color=style.INK, linewidth=2.4)
        else:
            ax.annotate("none", (x, 1), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=8.5)
    ax.set_xticks(range(len(groups)), [name for name, _ in groups])
    ax.set(ylabel="spread over queries of the top logit\n(1: mean before training)", xlim=(-0.5, 2.5))
    ax.set_ylim(bottom=0)
    return ax


def content(table: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy of each kind's heads less that of the other heads of their layers, beside labels dealt anew."""
    rows = np.arange(len(table))
    ax.axvline(0, color=style.NULL, linewidth=1)
    ax.barh(
        rows,
        table["null_high"] - table["null_low"],
        left=table["null_low"],
        height=0.5,
        color=style.NULL,
        alpha=0.35,
        linewidth=0,
    )
    ax.scatter(
        table["difference"], rows, c=[KINDS[k].color for k in table["kind"]], s=44, zorder=3, linewidths=0, marker="D"
    )
    _kind_rows(table, ax)
    ax.margins(x=0.08)
    ax.locator_params(axis="x", nbins=5)
    _say_no_comparison(table["difference"].isna(), ax)
    return ax


def ablation(table: pd.DataFrame, changes: pd.DataFrame, score: str, ax: Axes) -> Axes:
    """Change of one score when a kind's heads are silenced (by mean filled, by zero hollow), beside random heads in grey."""
    table = table[table["score"] == score]
    order = table.drop_duplicates("kind")
    ax.axvline(0, color=style.NULL, linewidth=1)
    for row, kind in enumerate(order["kind"]):
        for mode, height in (("mean", -0.16), ("zero", 0.16)):
            own = table[(table["kind"] == kind) & (table["mode"] == mode)].iloc[0]
            random = changes[(changes["kind"] == kind) & (changes["mode"] == mode) & (changes["group"] == "random")]
            if own["n_draws"]:
                ax.scatter(
                    random[score], [row + height] * len(random), color=style.NULL, s=26, marker="|", linewidths=1.5
                )
            color = KINDS[kind].color
            face = color if mode == "mean" else "none"
            ax.scatter(own["change"], row + height, facecolor=face, edgecolor=color, s=38, zorder=3, marker="D")
    _kind_rows(order, ax)
    _say_no_comparison(order["n_draws"] == 0, ax)
    ax.set_xlabel(LOSS_NAMES[score])
    return ax


def ablation_key(figure: Figure, n_draws: int) -> None:
    """A legend above the panels."""
    options: dict[str, Any] = {"marker": "D", "linestyle": "", "markersize": 6, "markeredgecolor": style.INK}
    handles = [
        mpl.lines.Line2D([], [], color=style.INK, **options),
        mpl.lines.Line2D([], [], color="none", **options),
        mpl.lines.Line2D([], [], color=style.NULL, marker="|", linestyle="", markersize=8, markeredgewidth=1.5),
    ]
    names = ["the kind, by its mean", "the kind, by zero", f"as many random heads ({n_draws} draws)"]
    figure.legend(handles, names, loc="outside upper center", ncol=3, handletextpad=0.2)


def _kind_rows(table: pd.DataFrame, ax: Axes) -> None:
    """A row per kind, with its number of heads."""
    names = [f"{KINDS[kind].label} ({n})" for kind, n in zip(table["kind"], table["n_heads"], strict=True)]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _say_no_comparison(absent: pd.Series, ax: Axes) -> None:
    for row in np.flatnonzero(absent):
        ax.annotate(
            "fills its layers: no comparison",
            (0.98, row),
            xycoords=("axes fraction", "data"),
            xytext=(0, 10),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            color=style.NULL,
        )
