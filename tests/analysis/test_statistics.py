"""The shared statistics, against scipy, brute force and curves with known bends."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from civilwar.analysis.statistics import (
    bootstrap_interval,
    first_lasting,
    generator,
    permutation_p,
    spearman,
    t_half_width,
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


def test_half_width_is_student_s_for_numbers_and_columns() -> None:
    low, high = stats.t.interval(0.95, 3, loc=0, scale=1.5 / 2)
    assert t_half_width(1.5, 4) == pytest.approx(high)
    assert -t_half_width(1.5, 4) == pytest.approx(low)
    column = t_half_width(pd.Series([1.5, 1.5]), pd.Series([4, 1]))
    assert column[0] == pytest.approx(high)
    assert math.isnan(column[1])
