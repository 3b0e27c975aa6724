"""The numbers behind C09 to C11: how many dimensions keys use, and how few are enough."""

import math

import numpy as np
import pandas as pd

from civilwar.analysis import capacity, rank, strata
from civilwar.analysis.statistics import generator
from civilwar.runs.reader import Run, rows_of

#: C11's rank, which its rule names: 15% of 64, rounded. Unlike `capacity.report_rank` it does not follow the size of a head.
CAPACITY_RANK = 10
COORDINATE, COVARIANCE = "coordinate_participation_ratio", "participation_ratio"
#: Draws of the null that deals the gain anew, of which only the median is used.
MEDIAN_DRAWS = 499


def ranks(run: Run, measure: str, step: int) -> pd.Series:
    """A measure of dimensions in use at a snapshot, by layer: means over texts, then over KV heads."""
    table = rank.select_measure(rank.layer_means(run), measure)
    return table[table["step"] == step].set_index("layer")["value"]


def start_rank(run: Run, measure: str) -> float:
    """C09, dimensions."""
    return float(ranks(run, measure, 0).mean())


def start_excess(run: Run) -> float:
    """C09, dimensions above isotropic directions."""
    model = run.config.model
    return start_rank(run, COORDINATE) - rank.isotropic_null(model.context, np.ones(model.d_head))[COORDINATE]


def middle(run: Run) -> list[int]:
    """The two middle layers."""
    half = run.config.model.n_layers // 2
    return [max(half - 1, 0), half]


def middle_rank(run: Run) -> float:
    """C10, dimensions."""
    return float(ranks(run, COORDINATE, run.last_step)[middle(run)].mean())


def middle_less_edges(run: Run, measure: str) -> float:
    """C10, dimensions: the two middle layers less the first and the last."""
    final = ranks(run, measure, run.last_step)
    return float(final[middle(run)].mean() - final[[0, run.config.model.n_layers - 1]].mean())


def fall_explained_by_gain(run: Run) -> float:
    """C10: fall of the isotropic null under the layers' final gains over the measured fall; NaN without a gain."""
    layers, model = middle(run), run.config.model
    final = run.array("gain")["k_gain"][-1].astype(float)
    if np.isnan(final).any():
        return math.nan
    flat = rank.isotropic_null(model.context, np.ones(model.d_head))[COORDINATE]
    under_gain = np.mean([rank.isotropic_null(model.context, final[layer])[COORDINATE] for layer in layers])
    measured = ranks(run, COORDINATE, 0)[layers].mean() - ranks(run, COORDINATE, run.last_step)[layers].mean()
    return float((flat - under_gain) / measured)


def evenness_over_dealt(run: Run, width: int | None) -> float:
    """C10: natural logarithm of how evenly a KV head's mean energy lies, over its median where the gain is dealt anew.

    Evenness is (sum_j e_j)^2 / sum_j e_j^2 of e_j = g_j^2 E_hj; below 0 where the gain meets energy and concentrates it further
    than the same gain would by chance. Gains change places in RoPE pairs among ``width`` neighbouring frequencies, or among
    all. Mean over KV heads of the two middle layers; NaN without a gain that varies.
    """
    energy, gain = run.array("energy"), run.array("gain")
    at, at_gain = (int(rows_of(array["step"], [run.last_step])[0]) for array in (energy, gain))
    of_pair = strata.ranks_of(run.recipe)
    ratios = []
    for layer in middle(run):
        by_head = energy["energy"][at, layer].astype(float)
        squared = gain["k_gain"][at_gain, layer].astype(float) ** 2
        if np.isnan(squared).any() or np.ptp(squared) < 1e-6:
            continue
        dealt = squared[strata.dealt(of_pair[layer], width, generator(37, layer), MEDIAN_DRAWS)]
        null = np.median(_evenness(dealt[:, None] * by_head), axis=0)
        ratios.append(np.log(_evenness(squared * by_head) / null).mean())
    return float(np.mean(ratios)) if ratios else math.nan


def _evenness(energy: np.ndarray) -> np.ndarray:
    even: np.ndarray = energy.sum(-1) ** 2 / np.square(energy).sum(-1)
    return even


def kept(run: Run, method: str) -> float:
    """C11: share of what keys are worth that a cut to `CAPACITY_RANK` keeps, mean over its draws."""
    table = capacity.kept(run)
    found = table[(table["method"] == method) & (table["rank"] == CAPACITY_RANK)]["kept"]
    return float(found.mean()) if len(found) else math.nan
