"""The few statistics all phases share. Each is stated here once, with its formula; nothing is tuned to a run."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

#: Draws of every permutation and Monte Carlo null; p-values cannot fall below 1 / (DRAWS + 1).
DRAWS = 1999
#: Below this, two runs' numbers count as the same: a spread of rounding errors says nothing about seeds, and is no unit.
NO_SPREAD = 1e-9


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


def t_interval(values: Sequence[float] | np.ndarray | pd.Series, level: float = 0.95) -> tuple[float, float]:
    """t interval of the mean over seeds, mean -+ t_{n-1} s / sqrt(n), in the unit of ``values``; undefined ones do not count.

    NaN with fewer than two; the mean itself, twice, where they have no spread.
    """
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    if len(x) < 2:
        return math.nan, math.nan
    if x.std(ddof=1) < NO_SPREAD:
        return float(x.mean()), float(x.mean())
    low, high = stats.ttest_1samp(x, 0.0).confidence_interval(level)
    return float(low), float(high)


def one_sided_t(values: Sequence[float] | np.ndarray, threshold: float, side: Literal["above", "below"]) -> float:
    """p of the mean over seeds not lying on this side of the threshold, by Student's t. Range [0, 1].

    Seeds that all give the same number have no spread to judge by: then the sign test's 2^-n on the stated side, 1 on the
    other. NaN with fewer than two values.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return math.nan
    if x.std(ddof=1) < NO_SPREAD:
        return 0.5 ** len(x) if on_side(x.mean(), threshold, side) else 1.0
    alternative = {"above": "greater", "below": "less"}[side]
    return float(stats.ttest_1samp(x, threshold, alternative=alternative).pvalue)


def on_side(value: float, threshold: float, side: Literal["above", "below"]) -> bool:
    """Whether ``value`` lies strictly above, or strictly below, the threshold."""
    return bool(value > threshold if side == "above" else value < threshold)


def over_seeds(grouped: Any) -> pd.DataFrame:
    """Of a column that is grouped by everything but seeds: mean, low, high and n, a row a group.

    ``low`` and ``high``: `t_interval`. Undefined values do not count.
    """
    table: pd.DataFrame = grouped.agg(
        mean="mean", low=lambda x: t_interval(x)[0], high=lambda x: t_interval(x)[1], n="count"
    )
    return table


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
