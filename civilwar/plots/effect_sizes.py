"""Figures of phase 12: how large differences are, and what goes with sharp attention."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from civilwar.analysis import compression
from civilwar.analysis.statistics import t_interval
from civilwar.plots import style

#: Where variance can lie, from the outermost to the innermost, with colours that differ in lightness as well.
SOURCES = {
    "layer": ("between layers", "#1a4f8f"),
    "seed": ("between seeds", "#8a63b3"),
    "head": ("between heads of a layer", "#d07a22"),
    "text": ("between texts", "#1fa572"),
    "token": ("between tokens", "#a8adb5"),
}
#: Scales, from the smallest: blue, green, orange.
SCALES = ("#1a5fd0", "#1fa572", "#c96a04")
QUESTION_NAMES = {
    ("key_norm", ""): "key norm",
    ("query_norm", ""): "query norm",
    ("logit_scale", ""): "their product",
    ("key_norm", "query_norm"): "key norm,\nquery norm held",
    ("query_norm", "key_norm"): "query norm,\nkey norm held",
}
MEASURE_NAMES = {
    "norm": "key norm",
    "effective_rank": "effective rank",
    "participation_ratio": "covariance ratio",
    "key_cosine": "cosine of two keys",
}


def scale_color(place: int) -> str:
    """The colour of a rung, counted from the smallest scale."""
    return SCALES[place % len(SCALES)]


def shares(tables: Mapping[str, pd.DataFrame], ax: Axes) -> Axes:
    """One bar a table: shares of the variance by source, and as a tick the share between layers that chance gives."""
    for y, table in enumerate(tables.values()):
        left = 0.0
        for source, share in zip(table["source"], table["share"], strict=True):
            _, color = SOURCES[source]
            ax.barh(y, share, left=left, color=color, height=0.62, linewidth=0)
            if share > 0.08:
                text = style.INK if source == "token" else "white"
                ax.text(left + share / 2, y, f"{share:.0%}", ha="center", va="center", color=text, fontsize=9)
            left += share
        by_chance = table[table["source"] == "layer"]["by_chance"]
        if len(by_chance):
            ax.plot([by_chance.iloc[0]] * 2, [y - 0.42, y + 0.42], color=style.INK, linewidth=1.6)
    used = [source for source in SOURCES if any((table["source"] == source).any() for table in tables.values())]
    for source in used:
        ax.barh(0, 0, color=SOURCES[source][1], label=SOURCES[source][0])
    ax.plot([], [], color=style.INK, linewidth=1.6, label="layers, by chance alone")
    ax.set_yticks(range(len(tables)), list(tables))
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel="share of the variance", xlim=(0, 1), ylim=(len(tables) - 0.4, -0.6))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.45 / len(tables) - 0.06), ncol=2)
    return ax


def heads_by_layer(norms: pd.DataFrame, null: pd.DataFrame, shown: int, ax: Axes) -> Axes:
    """Every KV head's final norm by layer, layer ``shown`` marked; the band is how far chance alignment moves heads apart.

    ``norms``: layer, kv_head, norm. ``null``: layer and null_high, a standard deviation, about the layer's mean.
    """
    means = norms.groupby("layer")["norm"].mean()
    bands = null.set_index("layer")["null_high"].reindex(means.index).fillna(0.0)
    ax.fill_between(
        means.index, means - bands, means + bands, color=style.NULL, alpha=0.3, linewidth=0, label="chance alignment"
    )
    ax.axvline(shown, color=style.INK, linewidth=1, linestyle=":")
    for kv_head, of_head in norms.groupby("kv_head"):
        ax.scatter(
            of_head["layer"], of_head["norm"], s=18, color=style.kv_head_color(int(kv_head)), linewidths=0, zorder=3
        )
    style.label_line(ax, shown, float(norms["norm"].max()), "the report's layer", style.INK)
    ax.set(xlabel="layer", ylabel="key norm at the end (length)")
    ax.legend(loc="best")
    return ax


def questions(by_rung: Mapping[str, pd.DataFrame], null: pd.DataFrame, ax: Axes) -> Axes:
    """Rank correlation with entropy within layers: a dot a run, the mean with its 95% interval, and one run's null in grey.

    ``by_rung``: label -> x, given, rho of one unit. ``null``: x, given, null_low, null_high of the same unit.
    """
    rows = list(QUESTION_NAMES)
    for y, (x, given) in enumerate(rows):
        band = null[(null["x"] == x) & (null["given"] == given)].dropna()
        for low, high in zip(band["null_low"], band["null_high"], strict=True):
            ax.fill_betweenx([y - 0.4, y + 0.4], low, high, color=style.NULL, alpha=0.28, linewidth=0)
    for place, (label, table) in enumerate(by_rung.items()):
        color, shift = scale_color(place), 0.26 * (place - (len(by_rung) - 1) / 2)
        for y, (x, given) in enumerate(rows):
            values = table[(table["x"] == x) & (table["given"] == given)]["rho"].dropna()
            _dots_and_interval(values, y + shift, color, ax)
        ax.scatter([], [], s=20, color=color, label=label)
    ax.axvline(0, color=style.NULL, linewidth=1)
    ax.set_yticks(range(len(rows)), list(QUESTION_NAMES.values()))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="rank correlation with entropy, within layers", xlim=(-1.02, 0.6), ylim=(len(rows) - 0.5, -0.5))
    ax.legend(loc="lower right", handletextpad=0.2)
    return ax


def _dots_and_interval(values: pd.Series, y: float, color: str, ax: Axes) -> None:
    ax.scatter(values, [y] * len(values), s=14, color=color, alpha=0.55, linewidths=0, zorder=3)
    low, high = t_interval(values)
    if low == low:
        ax.plot([low, high], [y, y], color=color, linewidth=2.4, solid_capstyle="butt", zorder=2)
    if len(values):
        ax.plot([values.mean()], [y], marker="|", color=color, markersize=11, markeredgewidth=2.2)


def calm(by_rung: Mapping[str, pd.DataFrame], ax: Axes) -> Axes:
    """Changes over the calm, of the baseline and of its control without decay on the gain; 0 is no change.

    ``by_rung``: label -> measure, base, control. A dot a seed, the mean with its 95% interval; a row of marks a scale.
    """
    rows = list(compression.PREDICTED)
    step = 0.7 / (2 * max(1, len(by_rung)))
    for place, (label, table) in enumerate(by_rung.items()):
        for half, column in enumerate(("base", "control")):
            color = scale_color(place) if column == "base" else style.NULL
            shift = (2 * place + half - len(by_rung) + 0.5) * step
            for y, measure in enumerate(rows):
                _dots_and_interval(table[table["measure"] == measure][column].dropna(), y + shift, color, ax)
        ax.scatter([], [], s=20, color=scale_color(place), label=label)
    ax.scatter([], [], s=20, color=style.NULL, label="below each: no decay on the gain")
    ax.axvline(0, color=style.INK, linewidth=1)
    ax.set_yticks(range(len(rows)), [MEASURE_NAMES[measure] for measure in rows])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="change while norms fall (share of the start; cosine itself)", ylim=(len(rows) - 0.5, -0.5))
    ax.legend(loc="upper left", handletextpad=0.2)
    return ax


def suppression(profiles: Mapping[str, pd.DataFrame], context: int, ax: Axes) -> Axes:
    """Final gain of a pair over its layer's median pair, by wavelength: mean and 80% of layers, 1 no choice."""
    ax.axhline(1, color=style.NULL, linestyle="--", linewidth=1.2)
    ax.axvline(context, color=style.INK, linestyle=":", linewidth=1)
    for place, (label, table) in enumerate(profiles.items()):
        color = scale_color(place)
        ax.fill_between(table["wavelength"], table["low"], table["high"], color=color, alpha=0.15, linewidth=0)
        ax.plot(table["wavelength"], table["gain"], color=color, linewidth=2, label=label)
    ax.set(xscale="log", xlabel="wavelength of the pair (tokens)", ylabel="gain over the layer's median pair")
    style.label_line(ax, context, ax.get_ylim()[0], "context", style.INK)
    ax.legend(loc="lower left")
    return ax


def legend_of(labels: Sequence[str], ax: Axes) -> None:
    """Names of the rungs in their colours, below the panel."""
    for place, label in enumerate(labels):
        ax.scatter([], [], s=20, color=scale_color(place), label=label)
    ax.legend(loc="best", handletextpad=0.2)
