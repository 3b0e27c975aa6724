"""The inspector as a still picture: what a page shows without JavaScript, in the same state."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from civilwar.plots import style
from civilwar.widgets.payload import Payload


def still(payload: Payload, step: int, layer: int, query_head: int, metric: str) -> Figure:
    """All heads at ``step`` on the left, the layer's heads over training on the right."""
    figure, axes = style.row(2, height=3.0)
    _map(payload, step, layer, query_head, metric, axes[0])
    _time(payload, step, layer, query_head, metric if metric != "kind" else payload.meta["default"], axes[1])
    return figure


def describe(payload: Payload, step: int, layer: int, query_head: int, metric: str) -> str:
    """The picture's alternative text."""
    label = "kind of head" if metric == "kind" else _entry(payload, metric)["label"]
    return (
        f"Head inspector, a still picture: {label} of every query head at step {step}, and over training for the heads of "
        f"layer {layer}, query head {query_head} marked."
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
    most = np.nanmax(np.abs(off)) or 1.0
    return [
        [
            to_rgba(
                style.LESS if off[i, o] < 0 else style.MORE,
                min(abs(off[i, o]) / most, 1) if off[i, o] == off[i, o] else 0,
            )
            for o in (_owner(payload, metric, h) for h in shape[1])
        ]
        for i in shape[0]
    ]


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
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False)


def _time(payload: Payload, step: int, layer: int, query_head: int, metric: str, ax: Axes) -> None:
    meta, entry = payload.meta, _entry(payload, metric)
    steps, values = payload.clocks[str(entry["clock"])], payload.arrays[metric][:, layer]
    chosen = _owner(payload, metric, query_head)
    group = 1 if entry["owner"] == "kv_head" else meta["n_query_heads"] // meta["n_kv_heads"]
    null = _null(payload, metric)
    if null is not None:
        low, high = payload.arrays[f"null_{metric}"][:, layer].T
        at = [*payload.clocks[null["clock"]], meta["last_step"]]
        ax.fill_between(at, [*low, low[-1]], [*high, high[-1]], color=style.NULL, alpha=0.25, linewidth=0)
    for owner in range(values.shape[1]):
        color, thick = style.kv_head_color(owner // group), owner == chosen
        ax.plot(steps, values[:, owner], color=color, linewidth=2.4 if thick else 0.9, alpha=1 if thick else 0.6)
    ax.axvline(step, color=style.INK, linewidth=0.8)
    unit = f" ({entry['unit']})" if entry["unit"] else ""
    ax.set(xlabel="step", ylabel=f"{entry['label']}{unit}", title=f"layer {layer}, query head {query_head} thick")
