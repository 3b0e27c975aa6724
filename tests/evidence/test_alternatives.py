"""The other choices: each changes one thing, names criteria that exist, and has a number for each that it replaces."""

import math

import numpy as np
import pytest

from civilwar.evidence import alternatives, decision
from civilwar.evidence.alternatives import CHOICES, Choice
from civilwar.evidence.estimators import ESTIMATORS
from civilwar.evidence.rule import DECIDING
from civilwar.evidence.rules import RULES
from civilwar.runs.reader import Run

NAMES = {c.name for rule in RULES for c in rule.criteria}


def test_every_choice_is_told_from_the_others_and_touches_a_claim() -> None:
    assert len({choice.key for choice in CHOICES}) == len({choice.label for choice in CHOICES}) == len(CHOICES)
    for choice in CHOICES:
        assert choice.replaces | choice.drops <= NAMES
        assert any(choice.touches(rule) for rule in RULES)
        # numbers and the names that they stand for come together
        assert (choice.measures is None) == (not choice.replaces)
        assert choice.says.endswith(".")
    assert not any(choice.touches(rule) for rule in RULES if rule.id == "C01" for choice in CHOICES)


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.measures is not None], ids=lambda c: c.key)
def test_a_choice_measures_what_it_replaces(choice: Choice, smoke_run: Run) -> None:
    assert choice.measures is not None
    found = choice.measures(smoke_run)
    assert set(found) == choice.replaces
    assert all(isinstance(value, float) for value in found.values())


def test_the_rules_average_over_layers_what_the_other_averages_do(smoke_run: Run) -> None:
    table = alternatives.by_layer(smoke_run)
    exactly = alternatives.BY_LAYER - {
        # these are pooled over layers, or deal gains with other random numbers
        *("focus_late", "focus_early", "spread_over_alignment", "spread_over_neighbours"),
    }
    for name in exactly:
        of_rules = ESTIMATORS[name].compute(smoke_run)
        own = table[name].median() if name in alternatives.MEDIANS else table[name].mean()
        assert own == pytest.approx(of_rules, nan_ok=True), name


@pytest.mark.parametrize(
    ("side", "threshold", "share", "expected"),
    [
        ("above", 0.2, 0.25, 0.15),
        ("above", 0.2, -0.25, 0.25),
        ("above", -0.3, 0.25, -0.375),
        ("below", -0.3, 0.25, -0.225),
        ("below", 0.1, -0.25, 0.075),
        ("above", 0.0, 0.25, 0.0),
        ("within", (50, 150), 0.25, (37.5, 162.5)),
        ("within", (50, 150), -0.5, (75, 125)),
    ],
)
def test_thresholds_become_easier_or_harder(side, threshold, share, expected) -> None:  # type: ignore[no-untyped-def]
    assert alternatives.eased(side, threshold, share) == pytest.approx(expected)


def test_a_laxer_rule_holds_where_the_stated_one_does() -> None:
    random = np.random.default_rng(0)
    laxer = next(choice for choice in CHOICES if choice.laxer > 0)
    for rule in RULES:
        for stated, eased in zip(rule.criteria, laxer.of(rule).criteria, strict=True):
            if stated.role not in DECIDING:
                assert eased == stated
                continue
            centre = np.mean(stated.threshold)
            values = list(centre + (abs(centre) + 1) * random.normal(size=8) * 0.2)
            if decision.by_interval(values, stated.side, stated.threshold, 0.05) == "holds":
                assert decision.by_interval(values, eased.side, eased.threshold, 0.05) == "holds"


def test_what_is_dropped_decides_nothing_and_the_rest_stays() -> None:
    choice = next(choice for choice in CHOICES if choice.key == "free_null")
    rule = next(rule for rule in RULES if rule.id == "C03")
    roles = {c.name: c.role for c in choice.of(rule).criteria}
    assert roles["spread_over_neighbours"] == "context"
    assert roles["spread_over_alignment"] == "reading"


def test_signs_count_sides_only() -> None:
    assert alternatives.by_signs([1.0, 2, 3, 4, 5, 600], "above", 0.5, 0.05) == "holds"
    assert alternatives.by_signs([1.0, 2, 3, 4, 5, 600], "below", 0.5, 0.05) == "fails"
    assert alternatives.by_signs([1.0, 2, 3, 4, 5, -600], "above", 0.5, 0.05) == "open"
    # the chance of five coins on one side is 1 in 16
    assert alternatives.by_signs([1.0] * 5, "above", 0.5, 0.05) == "open"
    assert alternatives.by_signs([math.nan], "above", 0.5, 0.05) == "open"


def test_what_hangs_on_one_seed_is_open_without_it() -> None:
    firm = [1.0, 1.1, 0.9, 1.05, 0.95]
    assert alternatives.without_any_seed(firm, "above", 0.5, 0.05) == "holds"
    assert alternatives.without_any_seed(firm, "below", 0.5, 0.05) == "fails"
    hanging = [0.30, 0.31, 0.29, 0.30, 0.2]
    assert decision.by_interval(hanging, "above", 0.22, 0.05) == "holds"
    assert alternatives.without_any_seed(hanging, "above", 0.22, 0.05) == "open"
    assert alternatives.without_any_seed([], "above", 0.22, 0.05) == "open"
