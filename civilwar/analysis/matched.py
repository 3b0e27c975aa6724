"""Two runs head by head: heads matched by their place, and the difference of each beside what chance makes of it.

Two runs that differ in nothing but their seed differ too, and so do two heads of one layer. A difference means something where
it is larger than these: other seeds of the same run, or heads of the same layer dealt to one another.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from civilwar.analysis.statistics import DRAWS, generator, permutation_p
from civilwar.errors import RunError, RunLacks, RunMismatch
from civilwar.names.measures import MEASURES, Measure
from civilwar.runs.reader import Run

COLUMNS = ("measure", "layer", "head", "a", "b", "difference", "low", "high", "beyond")


class Comparison(pd.DataFrame):  # type: ignore[misc]
    """One row a measure and head: see `compare`. ``summary()`` has one row a measure."""

    @property
    def _constructor(self) -> type["Comparison"]:
        return Comparison

    def summary(self) -> pd.DataFrame:
        """measure, heads, mean_difference, mean_size, null_size, p, beyond.

        ``mean_size``: mean |a - b| over heads, and ``null_size`` the median of what the null makes of it; ``p``: one-sided,
        whether heads differ *less* from those of the same place than from others of their layer, small where places match;
        ``beyond``: share of heads whose difference lies outside its null.
        """
        table: pd.DataFrame = self.attrs["summary"]
        return table


def compare(run_a: Run, run_b: Run, *, seeds: Sequence[Run] = (), step: int | None = None) -> Comparison:
    """How far two runs' heads differ at a step, measure by measure: head i of layer l beside head i of layer l.

    Args:
        run_a: one run.
        run_b: the other; of a model with the same layers and heads.
        seeds: further runs like ``run_a`` with other seeds. With two or more the null is their spread: ``low`` and ``high``
            are the least and largest difference that any two of them have at that place. Without, heads of a layer are dealt
            to one another: 95% of the differences that a head has from heads of other places.
        step: at which both are compared, each at its last record at or before it; by default at their ends.

    Columns: measure; layer; head, of the kind that the measure belongs to; a and b, in the measure's unit; difference, b - a;
    low and high, of the null; beyond, whether the difference lies outside.

    Raises RunMismatch where the two have other layers or heads, or RunError where they have no measure in common.
    """
    shapes = [
        (run.config.model.n_layers, run.config.model.n_query_heads, run.config.model.n_kv_heads)
        for run in (run_a, run_b, *seeds)
    ]
    if len(set(shapes)) > 1:
        raise RunMismatch(
            f"{run_a.name} and {run_b.name} have other layers or heads ({shapes[0]} and {shapes[1]} layers, query heads and KV "
            "heads): heads are matched by their place, so compare runs of one shape."
        )
    rows, summaries = [], []
    for number, measure in enumerate(MEASURES.values()):
        values = [_values(run, measure, step) for run in (run_a, run_b)]
        if values[0] is None or values[1] is None:
            continue
        a, b = values[0].align(values[1], join="inner")
        if not len(a) or (a.isna() | b.isna()).all():
            continue
        others = [found for run in seeds if (found := _values(run, measure, step)) is not None]
        low, high, null_size, p = _null(a, b, others, number)
        table = pd.DataFrame({"a": a, "b": b, "difference": b - a, "low": low, "high": high})
        table["beyond"] = (table["difference"] < table["low"]) | (table["difference"] > table["high"])
        table = table.rename_axis(["layer", "head"]).reset_index().assign(measure=measure.key)
        rows.append(table[list(COLUMNS)])
        size = (b - a).abs().mean()
        summaries.append(
            {
                "measure": measure.key,
                "heads": len(table),
                "mean_difference": float((b - a).mean()),
                "mean_size": float(size),
                "null_size": null_size,
                "p": p,
                "beyond": float(table["beyond"].mean()),
            }
        )
    if not rows:
        raise RunError(f"runs {run_a.name} and {run_b.name} have no measure of heads in common: expected at least one.")
    found = Comparison(pd.concat(rows, ignore_index=True))
    found.attrs["summary"] = pd.DataFrame(summaries)
    return found


def _values(run: Run, measure: Measure, step: int | None) -> pd.Series | None:
    """One number a head, over probe texts, by layer and head; None where the run has none."""
    try:
        table = run.table(measure.table)
    except RunLacks:
        return None
    if measure.table == "probe_sinks":
        table = table[(table["horizon"] == run.config.sink_horizon) & (table["position"] == 1)]
        table = table.rename(columns={"alpha": "sink"})
    if measure.key not in table:
        return None
    table = table.dropna(subset=[measure.key])
    if step is not None:
        table = table[table["step"] <= step]
    if not len(table):
        return None
    last = table[table["step"] == table["step"].max()]
    return last.groupby(["layer", measure.owner])[measure.key].mean().astype(float)


def _null(
    a: pd.Series, b: pd.Series, others: Sequence[pd.Series], number: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(low, high) of each head's difference, the median of its mean size, and p of places that match."""
    layers = a.index.get_level_values(0).to_numpy()
    x, y = a.to_numpy(), b.to_numpy()
    random = generator(11, number)
    observed = float(np.nanmean(np.abs(y - x)))
    dealt = np.empty((DRAWS, len(x)))
    for layer in np.unique(layers):
        at = np.flatnonzero(layers == layer)
        dealt[:, at] = random.permuted(np.tile(y[at], (DRAWS, 1)), axis=1)
    sizes = np.nanmean(np.abs(dealt - x), axis=1)
    p = permutation_p(-observed, -sizes) if len(x) > len(np.unique(layers)) else math.nan
    if len(others) > 1:
        table = np.stack([x, *(other.reindex(a.index).to_numpy() for other in others)])
        pairs = np.stack([table[i] - table[j] for i in range(len(table)) for j in range(len(table)) if i != j])
        mean = float(np.median(np.nanmean(np.abs(pairs), axis=1)))
        return pairs.min(0), pairs.max(0), mean, p
    low, high = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for place, layer in enumerate(layers):
        away = y[(layers == layer) & (np.arange(len(y)) != place)] - x[place]
        if len(away):
            low[place], high[place] = np.nanquantile(away, [0.025, 0.975])
    return low, high, float(np.median(sizes)), p
