"""When do heads part? The answer follows from how far apart they have to be; so here it is a curve over the threshold.

The spread between a layer's heads grows smoothly from nothing. Any threshold is passed somewhere, and a larger one later: that
there is an onset says nothing, unless the curve has a step that no smooth growth has.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from civilwar.analysis import divergence
from civilwar.analysis.statistics import first_lasting
from civilwar.runs.reader import Run

Unit = Literal["noise", "norm"]
#: Thresholds as multiples of batch noise, of which the rule of phase 1 takes 1, and as shares of the layer's mean norm.
THRESHOLDS: dict[Unit, tuple[float, ...]] = {
    "noise": (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6),
    "norm": (0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1),
}


def onsets_over_thresholds(run: Run, unit: Unit, thresholds: Sequence[float] | None = None) -> pd.DataFrame:
    """The step from which a layer's spread stays above each threshold: threshold, layer, onset_step (null where never).

    ``noise``: multiples of the 99% point that batch noise alone would give (`civilwar.analysis.divergence.spreads`). ``norm``:
    shares of the layer's mean key norm at the same step.
    """
    spreads = divergence.spreads(run)
    if unit == "norm":
        means = divergence.key_norms(run).groupby(["layer", "step"])["norm"].mean().rename("mean").reset_index()
        spreads = spreads.merge(means, on=["layer", "step"])
    one = spreads["noise"] if unit == "noise" else spreads["mean"]
    spreads = spreads.assign(size=spreads["spread"] / one).sort_values("step")
    rows = [
        {
            "threshold": float(threshold),
            "layer": layer,
            "onset_step": first_lasting(table["step"].to_numpy(), (table["size"] > threshold).to_numpy()),
        }
        for threshold in (thresholds or THRESHOLDS[unit])
        for layer, table in spreads.groupby("layer")
    ]
    return pd.DataFrame(rows, columns=["threshold", "layer", "onset_step"])


def curve(run: Run, unit: Unit, thresholds: Sequence[float] | None = None) -> pd.DataFrame:
    """`onsets_over_thresholds` over layers: threshold, onset (median step; never counts as the end), parted (share of layers).

    No rows under a frozen gain, where all norms are equal but for rounding.
    """
    columns = ["threshold", "onset", "parted"]
    if run.config.model.qk_norm == "frozen":
        return pd.DataFrame(columns=columns)
    by_threshold = onsets_over_thresholds(run, unit, thresholds).groupby("threshold")["onset_step"]
    median = by_threshold.agg(lambda steps: steps.fillna(run.last_step).median())
    parted = by_threshold.agg(lambda steps: steps.notna().mean())
    return pd.DataFrame({"onset": median, "parted": parted}).reset_index()[columns]


def curves(runs: Sequence[Run], unit: Unit) -> pd.DataFrame:
    """`curve` of every run: run, seed, threshold, onset, parted."""
    tables = [curve(run, unit).assign(run=run.name, seed=run.config.seed) for run in runs]
    columns = ["run", "seed", "threshold", "onset", "parted"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def steepness(table: pd.DataFrame) -> float:
    """How much later a doubled threshold is passed: slope of log2 onset over log2 threshold, where some layer parts.

    0 would be an onset that all thresholds see at one step; 1 one that is proportional to the threshold, as of a spread that
    grows in a straight line from the start. NaN with fewer than two thresholds that are passed after the start.
    """
    used = table[(table["onset"] > 0) & (table["parted"] > 0.5)].groupby("threshold")["onset"].mean()
    if len(used) < 2:
        return math.nan
    x = np.log2(used.index.to_numpy(dtype=float))
    return float(np.polyfit(x, np.log2(used.to_numpy(dtype=float)), 1)[0])
