"""The few statistics all phases share. Each is stated here once, with its formula; nothing is tuned to a run."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

#: Draws of every permutation and Monte Carlo null; p-values cannot fall below 1 / (DRAWS + 1).
DRAWS = 1999


def generator(*key: int) -> np.random.Generator:
    """Random numbers of a null: fixed by the analysis, so that a page rebuilt from the same run says the same."""
    return np.random.Generator(np.random.PCG64([2026, *key]))


def permutation_p(observed: float, null: np.ndarray) -> float:
    """(1 + number of draws at least as large) / (1 + draws), in [1 / (draws + 1), 1]. NaN where ``observed`` is.

    A draw that equals ``observed`` but for rounding counts as at least as large.
    """
    if math.isnan(observed):
        return math.nan
    return float((1 + np.count_nonzero(null >= observed - 1e-9 * abs(observed))) / (1 + len(null)))


def spearman(x: np.ndarray, y: np.ndarray, tolerance: float = 1e-3) -> float:
    """Spearman's rank correlation. NaN where either side varies by less than ``tolerance``, that is, by rounding only."""
    if len(x) < 3 or np.ptp(x) < tolerance or np.ptp(y) < tolerance:
        return math.nan
    return float(stats.spearmanr(x, y).statistic)


def t_half_width(deviation: float | pd.Series, n: int | pd.Series, level: float = 0.95) -> Any:
    """Half the width of the t interval of a mean over ``n`` seeds with this standard deviation. NaN where n is 1."""
    return stats.t.ppf((1 + level) / 2, n - 1) * deviation / np.sqrt(n)


def first_lasting(step: np.ndarray, condition: np.ndarray) -> float:
    """The first step from which ``condition`` holds to the end. NaN where it does not hold at the end."""
    broken = np.flatnonzero(~condition)
    first = broken[-1] + 1 if len(broken) else 0
    return float(step[first]) if first < len(step) else math.nan


def bootstrap_interval(
    table: pd.DataFrame, unit: str, estimate: Callable[[pd.DataFrame], float], draws: int = 399, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval from resampling whole units (probe texts, say) with replacement: a within-run interval.

    It says how much the estimate depends on which texts were probed, nothing about other seeds. NaN where the estimate is
    undefined in every draw.
    """
    groups = dict(list(table.groupby(unit)))
    labels = list(groups)
    random = generator(7)
    values = []
    for _ in range(draws):
        chosen = random.integers(len(labels), size=len(labels))
        values.append(estimate(pd.concat([groups[labels[i]] for i in chosen])))
    if np.isnan(values).all():
        return math.nan, math.nan
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
