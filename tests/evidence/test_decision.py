"""How a criterion is decided, and how a verdict follows: every branch, on numbers made for it."""

import math

import numpy as np
import pytest
from scipy import stats

from civilwar.evidence.decision import (
    Outcome,
    Pooled,
    by_chance,
    by_ends,
    by_interval,
    by_value,
    smallest_effect,
    verdict_of,
)
from civilwar.evidence.rule import Role, Side, on_the_side
from civilwar.names.verdicts import VERDICTS


@pytest.mark.parametrize(
    ("value", "side", "threshold", "there"),
    [
        (1.0, "above", 0.5, True),
        (0.5, "above", 0.5, False),
        (0.4, "below", 0.5, True),
        (math.nan, "below", 0.5, False),
        (2.0, "within", (2.0, 3.0), True),
        (3.1, "within", (2.0, 3.0), False),
    ],
)
def test_sides(value: float, side: Side, threshold: float | tuple[float, float], there: bool) -> None:
    assert on_the_side(value, side, threshold) is there


@pytest.mark.parametrize(
    ("ends", "side", "threshold", "outcome"),
    [
        ((0.6, 0.9), "above", 0.5, "holds"),
        ((0.1, 0.4), "above", 0.5, "fails"),
        ((0.4, 0.6), "above", 0.5, "open"),
        ((0.1, 0.4), "below", 0.5, "holds"),
        ((0.6, 0.9), "below", 0.5, "fails"),
        ((0.4, 0.6), "below", 0.5, "open"),
        ((2.1, 2.9), "within", (2.0, 3.0), "holds"),
        ((1.0, 1.9), "within", (2.0, 3.0), "fails"),
        ((3.1, 4.0), "within", (2.0, 3.0), "fails"),
        ((1.9, 2.1), "within", (2.0, 3.0), "open"),
        ((1.0, 4.0), "within", (2.0, 3.0), "open"),
    ],
)
def test_an_interval_decides_only_where_the_whole_of_it_lies(
    ends: tuple[float, float], side: Side, threshold: float | tuple[float, float], outcome: Outcome
) -> None:
    assert by_ends(*ends, side, threshold) == outcome


def test_seeds_are_judged_by_student_s_interval_at_the_level_asked_for() -> None:
    values = [0.1, 0.4, 0.2, 0.35, 0.3]
    for level in (0.05, 0.01):
        low, high = stats.ttest_1samp(values, 0).confidence_interval(1 - level)
        for threshold, outcome in (
            (low - 1e-6, "holds"),
            (low + 1e-6, "open"),
            (high - 1e-6, "open"),
            (high + 1e-6, "fails"),
        ):
            assert by_interval(values, "above", float(threshold), level) == outcome
    # undefined seeds do not count, and one seed decides nothing
    assert by_interval([*values, math.nan], "above", 0.0, 0.05) == by_interval(values, "above", 0.0, 0.05)
    assert by_interval([1.0, math.nan], "above", 0.0, 0.05) == "open"


def test_seeds_that_agree_to_the_letter_get_the_sign_test_and_no_more() -> None:
    assert by_interval([1.0] * 8, "above", 0.5, 0.05) == "holds"
    assert by_interval([1.0] * 8, "below", 0.5, 0.05) == "fails"
    assert by_interval([1.0] * 4, "above", 0.5, 0.05) == "open"
    assert by_interval([1.0] * 8, "above", 0.5, 2 * 0.5**8) == "open"
    assert by_interval([0.5] * 8, "above", 0.5, 0.05) == "open"


def test_what_has_no_sampling_error_is_decided_by_its_value() -> None:
    assert by_value(1.0, "above", 0.5) == "holds"
    assert by_value(0.4, "above", 0.5) == "fails"
    assert by_value(0.5, "above", 0.5) == "open"
    assert by_value(math.nan, "within", (0.0, 1.0)) == "open"


def test_a_sweep_s_number_fails_by_evidence_too() -> None:
    assert by_chance(Pooled(0.1, 0.001, 0.9, 100), 0.05) == "holds"
    assert by_chance(Pooled(0.1, 0.9, 0.001, 100), 0.05) == "fails"
    assert by_chance(Pooled(0.1, 0.9, 0.5, 100), 0.05) == "open"
    assert by_chance(Pooled(math.nan, math.nan, math.nan, 4), 0.05) == "open"


def test_intervals_of_one_claim_hold_together() -> None:
    """The rate at which any of m true criteria is decided wrongly stays below the level, either way."""
    random, m, level, wrong = np.random.default_rng(0), 6, 0.05, 0
    for _ in range(600):
        outcomes = [by_interval(random.normal(size=8).tolist(), "above", 0.0, level / m) for _ in range(m)]
        wrong += any(outcome != "open" for outcome in outcomes)
    # binomial: within four standard errors
    assert wrong / 600 < level + 4 * math.sqrt(level / 600)
    assert wrong > 0


def test_the_smallest_effect_is_seen_four_times_in_five() -> None:
    random, level = np.random.default_rng(1), 0.01
    effect = smallest_effect(random.normal(size=2000).tolist(), level, n=8)
    seen = [by_interval((random.normal(size=8) + effect).tolist(), "above", 0.0, level) == "holds" for _ in range(600)]
    assert 0.7 < np.mean(seen) < 0.9
    assert math.isnan(smallest_effect([1.0], level))


H, F, O = "holds", "fails", "open"  # noqa: E741


@pytest.mark.parametrize(
    ("verdict", "outcomes"),
    [
        ("true by construction", [("construction", H)]),
        ("not there", [("construction", F)]),
        ("open", [("construction", O)]),
        ("there", [("thing", H), ("thing", H), ("reading", H)]),
        ("there", [("premise", H), ("thing", H), ("context", F)]),
        # a failed reading, and one that is merely open
        ("there, for another reason", [("thing", H), ("reading", F)]),
        ("there, for another reason", [("thing", H), ("reading", H), ("reading", F)]),
        ("there, for another reason", [("thing", H), ("thing", F), ("reading", F)]),
        ("there, for another reason", [("thing", H), ("thing", O), ("reading", F)]),
        ("open", [("thing", H), ("reading", O)]),
        # details
        ("in part", [("thing", H), ("thing", F)]),
        ("in part", [("thing", H), ("thing", F), ("reading", O)]),
        ("open", [("thing", H), ("thing", O)]),
        # the core decides what can be said at all
        ("not there", [("thing", F), ("thing", H), ("reading", H)]),
        ("open", [("thing", O), ("thing", F), ("reading", F)]),
        # premises
        ("open", [("premise", F), ("thing", H)]),
        ("open", [("premise", O), ("thing", F)]),
        ("not there", [("premise", H), ("thing", F)]),
        ("open", []),
    ],
)
def test_how_outcomes_make_a_verdict(verdict: str, outcomes: list[tuple[Role, Outcome]]) -> None:
    assert verdict_of(outcomes) == verdict
    assert verdict in VERDICTS
