"""The inspector as a still picture: what a page shows without JavaScript, in the same state."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from civilwar.inspector.payload import Payload
from civilwar.inspector.values import Values, tick
from civilwar.plots import style


def still(payload: Payload, views: Sequence[str], step: int, layer: int, query_head: int, metric: str) -> Figure:
    """The first two of ``views`` that a still picture can tell, otherwise the map and the heads over training."""
    shown = [view for view in views if view in _DRAW][:2]
    shown += [view for view in ("map", "time") if view not in shown][: 2 - len(shown)]
    figure, axes = style.row(2, height=3.0)
    for view, ax in zip(shown, axes, strict=True):
        _DRAW[view](payload, step, layer, query_head, metric, ax)
    return figure


def describe(payload: Payload, views: Sequence[str], step: int, layer: int, query_head: int, metric: str) -> str:
    """The picture's alternative text."""
    return (
        f"Head inspector, a still picture of its {' and '.join(views)} at step {step}: {_label(payload, metric)} of layer "
        f"{layer}, query head {query_head} marked."
    )


def _label(payload: Payload, metric: str) -> str:
    return "kind of head" if metric == "kind" else payload.by_key[metric].label


def cells(payload: Payload, step: int, metric: str) -> list[list[tuple[float, ...]]]:
    """Colours of the map as red, green, blue and opacity, [layer][query_head]."""
    heads = range(payload.n_query_heads)
    if metric == "kind" and payload.kinds is not None:
        codes = payload.kinds.codes[tick(payload.kinds.steps, step)]
        return [[to_rgba(payload.kinds.kinds[row[head]].color) for head in heads] for row in codes]
    tints = Values(payload, metric).tints(step)
    owners = [_owner(payload, metric, head) for head in heads]
    return [
        [to_rgba(style.LESS if below[owner] else style.MORE, strength[owner]) for owner in owners]
        for below, strength in zip(*tints, strict=True)
    ]


def _owner(payload: Payload, metric: str, query_head: int) -> int:
    return query_head // payload.group_size if payload.by_key[metric].owner == "kv_head" else query_head


def _map(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    for row, colors in enumerate(cells(payload, step, metric)):
        for column, color in enumerate(colors):
            ax.add_patch(
                Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, facecolor=color, edgecolor=style.NULL, linewidth=0.4)
            )
    ax.add_patch(Rectangle((query_head - 0.47, layer - 0.46), 0.94, 0.92, fill=False, edgecolor=style.INK, linewidth=2))
    ax.set(
        xlim=(-0.6, payload.n_query_heads - 0.4),
        ylim=(payload.n_layers - 0.4, -0.6),
        xlabel="query head",
        ylabel="layer",
        title=f"{_label(payload, metric)}, step {step}",
    )
    if metric == "kind" and payload.kinds is not None:
        for (row, column), code in np.ndenumerate(payload.kinds.codes[tick(payload.kinds.steps, step)]):
            text = payload.kinds.kinds[code].code
            ax.text(column, row, text, color="white", fontsize=7.5, ha="center", va="center")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False)


def _time(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    series = payload.by_key[payload.default if metric == "kind" else metric]
    chosen = _owner(payload, series.key, query_head)
    group = 1 if series.owner == "kv_head" else payload.group_size
    if series.null is not None:
        low, high = series.null.band[:, layer].T
        at = [*series.null.steps, payload.last_step]
        ax.fill_between(at, [*low, low[-1]], [*high, high[-1]], color=style.NULL, alpha=0.25, linewidth=1)
    values = series.values[:, layer]
    for owner in sorted(range(values.shape[1]), key=lambda owner: owner == chosen):
        color, thick = style.kv_head_color(owner // group), owner == chosen
        ax.plot(series.steps, values[:, owner], color=color, linewidth=2.4 if thick else 0.9, alpha=1 if thick else 0.6)
    ax.axvline(step, color=style.INK, linewidth=0.8)
    unit = f" ({series.unit})" if series.unit else ""
    ax.set(xlabel="step", ylabel=f"{series.label}{unit}", title=f"layer {layer}, query head {query_head} thick")


def _plane(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    group = payload.group_size
    across, up = payload.by_key["norm_mean"], payload.by_key["entropy_normalised"]
    norms, entropies = np.repeat(across.values, group, axis=2), up.values
    at = tick(across.steps, step), tick(up.steps, step)
    trail = [tick(across.steps, moment) for moment in up.steps]
    color = style.kv_head_color(query_head // group)
    ax.plot(norms[trail, layer, query_head], entropies[:, layer, query_head], color=color, linewidth=1)
    ax.scatter(norms[at[0]], entropies[at[1]], s=10, color=style.NULL, alpha=0.5, linewidths=0)
    own = [style.kv_head_color(head // group) for head in range(payload.n_query_heads)]
    ax.scatter(norms[at[0], layer], entropies[at[1], layer], s=22, c=own, linewidths=0)
    chosen = norms[at[0], layer, query_head], entropies[at[1], layer, query_head]
    ax.scatter(*chosen, s=70, color=color, edgecolors=style.INK, linewidths=1.5)
    ax.set(xlabel="key norm (of the KV head)", ylabel="attention entropy", title=f"all heads, step {step}")


def _gain(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    order = np.argsort(payload.gain.rank[layer], kind="stable")
    values = payload.gain.gain[tick(payload.gain.steps, step), layer][order]
    golden = payload.gain.golden[layer][order].astype(bool)
    place = np.arange(len(values))
    ax.bar(place, values - 1, bottom=1, color=np.where(values >= 1, style.MORE, style.LESS))
    ax.plot(place[golden], np.full(golden.sum(), np.nanmax(values) * 1.04), "v", color="#b98900", markersize=4)
    ax.set(xlabel="dimension, fastest RoPE pair first", ylabel="gain", title=f"layer {layer}, step {step}")


#: What a still picture can tell; a pattern without its text would say little.
_DRAW: dict[str, Callable[[Payload, int, int, int, str, Axes], None]] = {
    "map": _map,
    "time": _time,
    "plane": _plane,
    "gain": _gain,
}
