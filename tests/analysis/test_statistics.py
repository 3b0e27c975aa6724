"""The shared statistics, against scipy, brute force and curves with known bends."""

import math
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from civilwar.analysis.statistics import (
    bootstrap_interval,
    first_lasting,
    generator,
    one_sided_t,
    over_seeds,
    permutation_p,
    spearman,
    t_interval,
)


@pytest.mark.parametrize(
    ("observed", "expected"), [(99.5, 1 / 101), (-1.0, 1.0), (98.5, 2 / 101), (50.0, 51 / 101), (0.0, 1.0)]
)
def test_permutation_p_is_one_plus_k_over_one_plus_n(observed: float, expected: float) -> None:
    null = np.arange(100, dtype=float)
    assert permutation_p(observed, null) == expected


def test_permutation_p_counts_a_draw_that_differs_by_rounding_only() -> None:
    third = 0.1 + 0.2
    assert third != 0.3
    assert permutation_p(third, np.full(9, 0.3)) == 1.0
    assert permutation_p(-third, np.full(9, -0.3)) == 1.0
    assert permutation_p(0.3, np.full(9, 0.2999)) == 0.1


def test_permutation_p_of_nothing_is_nothing() -> None:
    assert math.isnan(permutation_p(math.nan, np.arange(10.0)))


def test_permutation_p_is_uniform_when_the_observation_is_one_of_the_draws() -> None:
    random = np.random.default_rng(1)
    p = [permutation_p(values[0], values[1:]) for values in random.standard_normal((2000, 20))]
    assert set(np.round(np.array(p) * 20).astype(int)) == set(range(1, 21))
    assert stats.chisquare(np.bincount(np.round(np.array(p) * 20).astype(int))[1:]).pvalue > 0.001


@pytest.mark.parametrize("n", [3, 8, 50])
def test_spearman_is_scipys(n: int) -> None:
    random = np.random.default_rng(n)
    x, y = random.standard_normal((2, n))
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    tied = np.round(x)
    if np.ptp(tied):
        assert spearman(tied, y) == pytest.approx(stats.spearmanr(tied, y).statistic)
    assert spearman(x, np.exp(x)) == pytest.approx(1)


def test_spearman_of_a_constant_is_undefined() -> None:
    x = np.arange(8.0)
    rounding = 8 + 1e-5 * np.random.default_rng(0).standard_normal(8)
    for flat in (np.full(8, 8.0), rounding):
        assert math.isnan(spearman(flat, x))
        assert math.isnan(spearman(x, flat))
    assert math.isnan(spearman(x[:2], x[:2]))


def test_first_lasting() -> None:
    step = np.array([0, 1, 2, 4, 8, 16])

    def first(condition: str) -> float:
        return first_lasting(step, np.array([letter == "y" for letter in condition]))

    assert first("nynyyy") == 4
    assert first("yyyyyy") == 0
    assert first("nnnnny") == 16
    assert math.isnan(first("yyyyyn"))
    assert math.isnan(first("nnnnnn"))


def mean_value(table: pd.DataFrame) -> float:
    return float(table["value"].mean())


def of_units(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"text": np.repeat(np.arange(len(values)), 2), "value": np.repeat(values, 2)})


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        low, high = bootstrap_interval(of_units(random.normal(5, 1, size=25)), "text", mean_value, draws=150)
        assert low < high
        covered += low <= 5 <= high
    # binomial(60, 0.95), and a percentile interval of 25 units is a little too short
    assert 49 <= covered <= 60


def test_bootstrap_resamples_whole_units_and_repeats_itself() -> None:
    table = of_units(np.array([1.0, 2.0, 4.0, 8.0]))
    means: list[float] = []

    def watched(resampled: pd.DataFrame) -> float:
        counts = resampled["text"].value_counts()
        assert counts.sum() == len(table)
        assert (counts % 2 == 0).all()
        means.append(mean_value(resampled))
        return means[-1]

    first = bootstrap_interval(table, "text", watched, draws=50)
    drawn = list(means)
    assert len(set(drawn)) > 5
    assert bootstrap_interval(table, "text", watched, draws=50) == first
    assert means[50:] == drawn
    assert bootstrap_interval(of_units(np.full(5, 3.0)), "text", mean_value, draws=20) == (3.0, 3.0)


def test_bootstrap_of_an_undefined_estimate_is_undefined() -> None:
    table = of_units(np.arange(4.0))
    assert all(math.isnan(end) for end in bootstrap_interval(table, "text", lambda _: math.nan, draws=20))


def test_generators_depend_on_their_key_alone() -> None:
    assert generator(1, 2).integers(1 << 40, size=4).tolist() == generator(1, 2).integers(1 << 40, size=4).tolist()
    assert generator(1, 2).integers(1 << 40, size=4).tolist() != generator(1, 3).integers(1 << 40, size=4).tolist()


SEEDS = np.random.default_rng(0).normal(3, 2, (50, 8))


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_is_student_s_formula(level: float) -> None:
    for values in (SEEDS[0, :2], *SEEDS):
        n = len(values)
        half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
        assert t_interval(values, level) == pytest.approx(
            (values.mean() - half, values.mean() + half), rel=0, abs=1e-12
        )


def test_an_interval_takes_two_seeds_and_has_no_width_without_a_spread() -> None:
    assert all(math.isnan(end) for values in ([], [3.0], [3.0, math.nan]) for end in t_interval(values))
    assert t_interval([3.0, math.nan, 3.0]) == (3.0, 3.0)
    assert t_interval([1.0, 1.0 + 1e-13]) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(("side", "sign"), [("above", 1), ("below", -1)])
def test_a_one_sided_p_is_student_s_formula(side: Literal["above", "below"], sign: int) -> None:
    for values in SEEDS:
        t = sign * (values.mean() - 2.5) / (values.std(ddof=1) / math.sqrt(len(values)))
        expected = stats.t.sf(t, len(values) - 1)
        assert one_sided_t(values, 2.5, side) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_over_seeds_is_a_row_a_group_and_leaves_out_what_is_undefined() -> None:
    table = pd.DataFrame({"group": list("aaabbc"), "value": [1.0, 2.0, 4.0, 5.0, math.nan, math.nan]})
    found = over_seeds(table.groupby("group")["value"])
    assert list(found.columns) == ["mean", "low", "high", "n"]
    assert found.loc["a", ["low", "high"]].tolist() == pytest.approx(t_interval([1.0, 2.0, 4.0]))
    assert found["n"].tolist() == [3, 1, 0]
    assert found["low"].isna().tolist() == [False, True, True]
    assert found["mean"].isna().tolist() == [False, False, True]
    assert over_seeds(table[:0].groupby("group")["value"]).empty
