"""The inspector as a still picture: what a page shows without JavaScript, in the same state."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from civilwar.inspector.of_run import Payload
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
    label = "kind of head" if metric == "kind" else _entry(payload, metric)["label"]
    return (
        f"Head inspector, a still picture of its {' and '.join(views)} at step {step}: {label} of layer {layer}, "
        f"query head {query_head} marked."
    )


def _entry(payload: Payload, metric: str) -> dict[str, object]:
    entry: dict[str, object] = next(entry for entry in payload.meta["measures"] if entry["key"] == metric)
    return entry


def _tick(payload: Payload, clock: object, step: int) -> int:
    """The last tick at or before a step."""
    return max(int(np.searchsorted(payload.clocks[str(clock)], step, side="right")) - 1, 0)


def _owner(payload: Payload, metric: str, query_head: int) -> int:
    group = payload.meta["n_query_heads"] // payload.meta["n_kv_heads"]
    return query_head // group if _entry(payload, metric)["owner"] == "kv_head" else query_head


def _cells(payload: Payload, step: int, metric: str) -> list[list[tuple[float, ...]]]:
    """Colours [layer][query_head]."""
    meta = payload.meta
    shape = range(meta["n_layers"]), range(meta["n_query_heads"])
    if metric == "kind":
        codes = payload.arrays["kind"][_tick(payload, meta["kind_clock"], step)]
        return [[to_rgba(meta["kinds"][codes[i, h]]["color"]) for h in shape[1]] for i in shape[0]]
    entry = _entry(payload, metric)
    values = payload.arrays[metric][_tick(payload, entry["clock"], step)]
    off = values - _middle(payload, metric, step, float(np.nanmean(values)))[:, None]
    # undefined is no colour
    opacity = np.nan_to_num(np.abs(off) / _deviation(payload, metric)).clip(max=1)
    owners = [_owner(payload, metric, head) for head in shape[1]]
    return [[to_rgba(style.LESS if off[i, o] < 0 else style.MORE, opacity[i, o]) for o in owners] for i in shape[0]]


def _null(payload: Payload, metric: str) -> dict[str, str] | None:
    null: dict[str, str] | None = _entry(payload, metric)["null"]  # type: ignore[assignment] # entries are JSON
    return null


def _middle(payload: Payload, metric: str, step: int, otherwise: float) -> np.ndarray:
    """Middle of the null of each layer at a step; the mean of all heads where there is none."""
    null = _null(payload, metric)
    if null is None:
        return np.full(payload.meta["n_layers"], otherwise)
    middle = payload.arrays[f"null_{metric}"][_tick(payload, null["clock"], step)].mean(-1)
    return np.where(np.isnan(middle), otherwise, middle)


def _deviation(payload: Payload, metric: str) -> float:
    """How far any head of the run gets from the middle of its null: full colour, as in the inspector itself."""
    entry, everything = _entry(payload, metric), payload.arrays[metric]
    overall = float(np.nanmean(everything))
    steps = payload.clocks[str(entry["clock"])]
    middles = np.stack([_middle(payload, metric, step, overall) for step in steps])
    return float(np.nanmax(np.abs(everything - middles[..., None]))) or 1.0


def _map(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    for row, colors in enumerate(_cells(payload, step, metric)):
        for column, color in enumerate(colors):
            ax.add_patch(
                Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, facecolor=color, edgecolor=style.NULL, linewidth=0.4)
            )
    ax.add_patch(Rectangle((query_head - 0.47, layer - 0.46), 0.94, 0.92, fill=False, edgecolor=style.INK, linewidth=2))
    ax.set(
        xlim=(-0.6, payload.meta["n_query_heads"] - 0.4),
        ylim=(payload.meta["n_layers"] - 0.4, -0.6),
        xlabel="query head",
        ylabel="layer",
        title=f"{'kind of head' if metric == 'kind' else _entry(payload, metric)['label']}, step {step}",
    )
    if metric == "kind":
        codes = payload.arrays["kind"][_tick(payload, payload.meta["kind_clock"], step)]
        for (row, column), code in np.ndenumerate(codes):
            text = payload.meta["kinds"][code]["code"]
            ax.text(column, row, text, color="white", fontsize=7.5, ha="center", va="center")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False)


def _time(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    metric = payload.meta["default"] if metric == "kind" else metric
    meta, entry = payload.meta, _entry(payload, metric)
    steps, values = payload.clocks[str(entry["clock"])], payload.arrays[metric][:, layer]
    chosen = _owner(payload, metric, query_head)
    group = 1 if entry["owner"] == "kv_head" else meta["n_query_heads"] // meta["n_kv_heads"]
    null = _null(payload, metric)
    if null is not None:
        low, high = payload.arrays[f"null_{metric}"][:, layer].T
        at = [*payload.clocks[null["clock"]], meta["last_step"]]
        ax.fill_between(at, [*low, low[-1]], [*high, high[-1]], color=style.NULL, alpha=0.25, linewidth=1)
    for owner in sorted(range(values.shape[1]), key=lambda owner: owner == chosen):
        color, thick = style.kv_head_color(owner // group), owner == chosen
        ax.plot(steps, values[:, owner], color=color, linewidth=2.4 if thick else 0.9, alpha=1 if thick else 0.6)
    ax.axvline(step, color=style.INK, linewidth=0.8)
    unit = f" ({entry['unit']})" if entry["unit"] else ""
    ax.set(xlabel="step", ylabel=f"{entry['label']}{unit}", title=f"layer {layer}, query head {query_head} thick")


def _plane(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    meta = payload.meta
    group = meta["n_query_heads"] // meta["n_kv_heads"]
    across, up = _entry(payload, "norm_mean"), _entry(payload, "entropy_normalised")
    norms = np.repeat(payload.arrays["norm_mean"], group, axis=2)
    entropies = payload.arrays["entropy_normalised"]
    at = _tick(payload, across["clock"], step), _tick(payload, up["clock"], step)
    trail = [_tick(payload, across["clock"], moment) for moment in payload.clocks[str(up["clock"])]]
    color = style.kv_head_color(query_head // group)
    ax.plot(norms[trail, layer, query_head], entropies[:, layer, query_head], color=color, linewidth=1)
    ax.scatter(norms[at[0]], entropies[at[1]], s=10, color=style.NULL, alpha=0.5, linewidths=0)
    own = [style.kv_head_color(head // group) for head in range(meta["n_query_heads"])]
    ax.scatter(norms[at[0], layer], entropies[at[1], layer], s=22, c=own, linewidths=0)
    chosen = norms[at[0], layer, query_head], entropies[at[1], layer, query_head]
    ax.scatter(*chosen, s=70, color=color, edgecolors=style.INK, linewidths=1.5)
    ax.set(xlabel="key norm (of the KV head)", ylabel="attention entropy", title=f"all heads, step {step}")


def _gain(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    meta = payload.meta
    order = np.argsort(payload.arrays["rank"][layer], kind="stable")
    values = payload.arrays["gain"][_tick(payload, meta["gain_clock"], step), layer][order]
    golden = payload.arrays["golden"][layer][order].astype(bool)
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
