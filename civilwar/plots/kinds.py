"""Figures of phase 5."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from civilwar.plots import style

NAMES = {
    "sink": "sink",
    "separator": "separator",
    "previous_token": "previous token",
    "nearby": "nearby",
    "induction": "induction",
    "retriever": "retriever",
    "gatherer": "gatherer",
    "mixed": "mixed",
}
#: Two letters for a cell of the map, so that colour is not all there is.
CODES = {
    "sink": "Si",
    "separator": "Se",
    "previous_token": "Pr",
    "nearby": "Ne",
    "induction": "In",
    "retriever": "Re",
    "gatherer": "Ga",
    "mixed": "Mi",
}
SCORE_NAMES = {
    "sink": "sink:\nfirst token",
    "separator": "separator:\nabove uniform",
    "previous_token": "previous\ntoken",
    "nearby": "nearby:\n0, 2 to 7 back",
    "induction": "induction:\nafter a match",
    "retriever": "retriever:\non a match",
    "broad": "gatherer:\nentropy",
}
LOSS_NAMES = {
    "loss": "loss on text (nats)",
    "separator_loss": "loss after separators (nats)",
    "induction_gain": "gain by repetition (nats)",
}
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
        color = to_rgba(style.KINDS[head.kind], 1 if certain else PALE)
        ax.add_patch(Rectangle((x - 0.47, head.layer - 0.46), 0.94, 0.92, facecolor=color, linewidth=0))
        ax.annotate(
            CODES[head.kind],
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
    handles = [Rectangle((0, 0), 1, 1, facecolor=style.KINDS[k], linewidth=0) for k in style.KINDS if k in found]
    names = [f"{CODES[kind]}  {NAMES[kind]} ({found[kind]})" for kind in style.KINDS if kind in found]
    ax.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.1, handleheight=1.1)
    return ax


def score_strips(table: pd.DataFrame, ax: Axes) -> Axes:
    """Every score of every query head before and after training, beside its threshold; heads that pass it are coloured."""
    random = np.random.Generator(np.random.PCG64(0))
    scores = list(dict.fromkeys(table["score"]))
    for x, score in enumerate(scores):
        of_score = table[table["score"] == score]
        color = style.KINDS["gatherer" if score == "broad" else score]
        for trained, at in ((False, x - 0.2), (True, x + 0.2)):
            dots = of_score[of_score["trained"] == trained]
            colors = [color if trained and passes else style.NULL for passes in dots["passes"]]
            ax.scatter(at + random.uniform(-0.13, 0.13, len(dots)), dots["value"], c=colors, s=13, linewidths=0)
        ax.plot([x - 0.42, x + 0.42], [of_score["threshold"].iloc[0]] * 2, color=style.INK, linewidth=1.4)
    ax.set_xticks(range(len(scores)), [SCORE_NAMES[score] for score in scores])
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
    order = [kind for kind in style.KINDS if kind in counts]
    ax.stackplot(
        counts.index,
        counts[order].T.to_numpy(),
        colors=[style.KINDS[kind] for kind in order],
        linewidth=0,
        alpha=0.95,
    )
    total = int(counts.iloc[-1].sum())
    last = [(kind, int(counts[kind].iloc[-1])) for kind in order]
    middles = np.cumsum([n for _, n in last]) - np.array([n for _, n in last]) / 2
    for (kind, n), y in zip(last, _apart(middles, 0.07 * total), strict=True):
        if n:
            ax.annotate(
                f"{NAMES[kind]} {n}",
                (1.0, y),
                xycoords=("axes fraction", "data"),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=style.KINDS[kind],
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
    for kind in (kind for kind in style.KINDS if kind in counts):
        n = counts[kind].to_numpy()
        ax.barh(rows, n, left=left, color=style.KINDS[kind], height=0.78, label=NAMES[kind], linewidth=0)
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
    ax.annotate(
        "measured",
        (numbers["same"], 0),
        xytext=(0, 18),
        textcoords="offset points",
        ha="center",
        color=style.CAUSAL,
        fontsize=8.5,
    )
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
            color=style.KINDS[str(kind)],
            s=34 if named else 13,
            marker="D" if named else "o",
            linewidths=0,
            alpha=0.9,
        )
    ax.set_title(NAMES[score])
    return ax


def kinds_key(ax: Axes, shown: Sequence[str]) -> None:
    """A legend of kinds to the right of the panel."""
    handles = [
        mpl.lines.Line2D([], [], color=style.KINDS[k], marker="o", linestyle="", markersize=5)
        for k in style.KINDS
        if k in shown
    ]
    names = [NAMES[k] for k in style.KINDS if k in shown]
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
    colors = [style.KINDS[kind[tokens]] for tokens in table["tokens"]]
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
            colors = [style.KINDS[score] if trained and passes else style.NULL for passes in dots["passes"]]
            colors = [style.CAUSAL if trained and c == style.NULL else c for c in colors]
            jitter = x + random.uniform(-0.25, 0.25, len(dots))
            ax.scatter(jitter, dots["value"].clip(lower=1e-5), c=colors, s=15, linewidths=0, alpha=0.85)
        threshold = float(of_score["threshold"].iloc[0])
        ax.plot([2.3 * block - 0.45, 2.3 * block + 1.45], [threshold] * 2, color=style.REPORT, linestyle="--")
        ax.annotate(
            "threshold",
            (2.3 * block + 0.5, threshold),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=style.REPORT,
            fontsize=8.5,
        )
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
        color = (style.NULL, style.CAUSAL, style.KINDS["retriever"])[x]
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
        table["difference"], rows, c=[style.KINDS[k] for k in table["kind"]], s=44, zorder=3, linewidths=0, marker="D"
    )
    _kind_rows(table, ax)
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
            color = style.KINDS[kind]
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
    names = [f"{NAMES[kind]} ({n})" for kind, n in zip(table["kind"], table["n_heads"], strict=True)]
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
