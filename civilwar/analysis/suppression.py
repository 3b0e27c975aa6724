"""C12 turned round: are a few dimensions amplified, or are the slow ones turned down?

The report sees bright rows in the gain. A gain can stand out because it rose or because its neighbours fell. Here the pairs of
a layer (`civilwar.analysis.gain.pair_gains`) are split at half of the frequencies: if a few dimensions are chosen, the trend
should hold among fast pairs too, and the upper tail be the longer one; if slow pairs are suppressed, the trend should vanish
among the fast half and the lower tail be the longer one.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from civilwar.analysis import gain
from civilwar.analysis.statistics import spearman
from civilwar.runs.reader import Run

COLUMNS = ["layer", "rho_all", "rho_fast", "rho_slow", "up", "down", "slow_share", "golden_auc_fast"]


def by_layer(run: Run) -> pd.DataFrame:
    """One row a layer, at the end of the run; no rows where the model learns no gain.

    ``rho_all``, ``rho_fast``, ``rho_slow``: Spearman's rho of pair gain and frequency rank (0 fastest) among all pairs, the
    fast half, the slow half; negative where slower pairs end lower. ``up``, ``down``: how far the highest pair lies above the
    layer's median pair, and the lowest below it, as shares of the median; at least 0. ``slow_share``: of the sum of squared
    distances below the median, the share of the slow half, in [0, 1]. ``golden_auc_fast``: among the dimensions of the fast
    half, the chance that a golden one turns faster than one that is not, ties counting half; 0.5 where frequency says nothing,
    NaN where all or none are golden.
    """
    if run.config.model.qk_norm != "learned":
        return pd.DataFrame(columns=COLUMNS)
    dimensions = gain.final_gain(run)
    rows = []
    for layer, pairs in gain.pair_gains(run).groupby("layer"):
        gains, rank = pairs["gain"].to_numpy(dtype=float), pairs["rank"].to_numpy(dtype=float)
        fast = rank < len(rank) / 2
        median = float(np.median(gains))
        below = np.square(np.minimum(gains - median, 0))
        rows.append(
            {
                "layer": layer,
                "rho_all": spearman(gains, rank),
                "rho_fast": spearman(gains[fast], rank[fast]),
                "rho_slow": spearman(gains[~fast], rank[~fast]),
                "up": gains.max() / median - 1,
                "down": 1 - gains.min() / median,
                "slow_share": float(below[~fast].sum() / below.sum()) if below.sum() > 0 else math.nan,
                "golden_auc_fast": _auc(dimensions[(dimensions["layer"] == layer)], len(rank) / 2),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _auc(dimensions: pd.DataFrame, half: float) -> float:
    fast = dimensions[dimensions["rank"] < half]
    golden, others = fast[fast["golden"]]["rank"], fast[~fast["golden"]]["rank"]
    if not len(golden) or not len(others):
        return math.nan
    # U counts the pairs in which the golden one has the higher rank, that is, turns slower
    slower = stats.mannwhitneyu(golden, others).statistic
    return float(1 - slower / (len(golden) * len(others)))


def over_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """Mean of `by_layer` over layers, run by run: run, seed and its columns but ``layer``."""
    rows = [
        {"run": run.name, "seed": run.config.seed, **by_layer(run)[COLUMNS[1:]].astype(float).mean().to_dict()}
        for run in runs
    ]
    return pd.DataFrame(rows, columns=["run", "seed", *COLUMNS[1:]])


def profile(runs: Sequence[Run]) -> pd.DataFrame:
    """A pair's final gain over its layer's median pair, mean over runs and layers: rank, wavelength, gain, low, high.

    ``low`` and ``high``: a tenth of the layers of all runs lie below, and above. Ranks from the fastest, 0; wavelengths in
    tokens.
    """
    parts = [gain.pair_gains(run) for run in runs if run.config.model.qk_norm == "learned"]
    columns = ["rank", "wavelength", "gain", "low", "high"]
    if not parts:
        return pd.DataFrame(columns=columns)
    parts = [part.assign(gain=part["gain"] / part.groupby("layer")["gain"].transform("median")) for part in parts]
    grouped = pd.concat(parts).groupby(["rank", "wavelength"])["gain"]
    table = grouped.agg(
        gain="mean", low=lambda x: float(np.quantile(x, 0.1)), high=lambda x: float(np.quantile(x, 0.9))
    )
    return table.reset_index()[columns]
