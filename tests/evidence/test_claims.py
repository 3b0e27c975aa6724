"""The verdicts: their statistics against closed forms, and every claim's test on sweeps whose truth is known."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from civilwar.analysis.capacity import report_rank
from civilwar.evidence import claims
from civilwar.evidence.claims import Finding, holm, on_the_side, one_sided_p, verdict_of
from civilwar.evidence.estimators import CAPACITY_RANK, ESTIMATORS, order_persistence
from civilwar.evidence.rule import LEVEL, Criterion, Role, Rule
from civilwar.evidence.rules import RULES
from civilwar.names.verdicts import PENDING, VERDICTS
from civilwar.recipe.config import make_config
from civilwar.recipe.plan import CONTROL_SEEDS
from civilwar.runs.collection import Sweep

# one worker writes the sweeps
pytestmark = pytest.mark.xdist_group("sweeps")

# ---------------------------------------------------------------- the rules


def test_every_claim_of_the_report_has_a_rule() -> None:
    assert [rule.id for rule in RULES] == [f"C{i:02d}" for i in range(1, len(RULES) + 1)]
    assert all(any(c.role in ("claim", "construction") for c in rule.criteria) for rule in RULES)


def test_every_criterion_has_an_estimator_and_every_estimator_a_criterion() -> None:
    names = [c.name for rule in RULES for c in rule.criteria]
    assert len(names) == len(set(names))
    assert set(names) == set(ESTIMATORS)


def test_every_rule_gives_a_reason_for_its_threshold_and_a_null() -> None:
    assert all(c.reason and c.says for rule in RULES for c in rule.criteria)
    assert all(rule.null and rule.reported and rule.statement for rule in RULES)
    pairs = [c.threshold for rule in RULES for c in rule.criteria if c.side == "within"]
    assert pairs
    assert all(isinstance(pair, tuple) and pair[0] < pair[1] for pair in pairs)


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_c11_is_decided_at_the_rank_that_its_rule_names_and_the_capacity_pages_mark(preset: str) -> None:
    assert report_rank(make_config(preset)) == CAPACITY_RANK
    (says,) = (c.says for rule in RULES for c in rule.criteria if c.name == "kept_by_directions")
    assert f"that {CAPACITY_RANK} principal directions a head keep" in says


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize("side", ["above", "below"])
def test_a_one_sided_p_is_student_s(side: str) -> None:
    values = [0.1, 0.4, 0.2, 0.35, 0.3]
    alternative = {"above": "greater", "below": "less"}[side]
    expected = stats.ttest_1samp(values, 0.25, alternative=alternative).pvalue
    assert one_sided_p(values, side, 0.25) == pytest.approx(expected)  # type: ignore[arg-type]


def test_within_needs_both_ends() -> None:
    values = [0.1, 0.4, 0.2, 0.35, 0.3]
    both = one_sided_p(values, "above", 0.0), one_sided_p(values, "below", 0.5)
    assert one_sided_p(values, "within", (0.0, 0.5)) == max(both)
    assert one_sided_p(values, "within", (0.3, 0.5)) > 0.5


def test_seeds_that_agree_to_the_letter_get_the_sign_test_and_no_more() -> None:
    assert one_sided_p([1.0] * 4, "above", 0.5) == 2**-4
    assert one_sided_p([1.0] * 8, "below", 0.5) == 1
    assert one_sided_p([0.5] * 8, "above", 0.5) == 1
    assert math.isnan(one_sided_p([1.0], "above", 0.5))


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, math.nan, 0.03, 0.005])[:2] == pytest.approx([0.03, 0.06])
    adjusted = holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert adjusted[3:] == pytest.approx([0.06, 0.02])
    assert math.isnan(adjusted[2])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_holds_the_error_rate_of_the_whole_family() -> None:
    random = np.random.default_rng(0)
    false_alarms = [min(holm(random.uniform(size=30).tolist())) < LEVEL for _ in range(2000)]
    # binomial: LEVEL, within four standard errors
    assert np.mean(false_alarms) < LEVEL + 4 * math.sqrt(LEVEL / 2000)
    assert min(holm([1e-6, *random.uniform(size=29)])) < LEVEL


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
def test_sides(value: float, side: str, threshold: float | tuple[float, float], there: bool) -> None:
    assert on_the_side(value, side, threshold) is there  # type: ignore[arg-type]


# ---------------------------------------------------------------- from findings to a verdict


def finding(role: Role, holds: bool, defined: bool = True) -> Finding:
    criterion = Criterion(name="dip_depth", says="a number", side="above", threshold=0.0, reason="because", role=role)
    rule = Rule(id="C00", statement="s", reported="r", null="n", criteria=(criterion,), figure=("page", "figure"))
    value = (1.0 if holds else -1.0) if defined else math.nan
    p = (1e-6 if holds else 0.9) if defined else math.nan
    return Finding(
        rule=rule, criterion=criterion, value=value, low=value, high=value, n=8, per_seed={}, p=p, p_adjusted=p
    )


@pytest.mark.parametrize(
    ("verdict", "findings"),
    [
        ("true by construction", [("construction", True)]),
        ("not supported", [("construction", False)]),
        ("supported", [("claim", True), ("claim", True)]),
        ("supported", [("claim", True), ("artefact", False)]),
        ("supported in part", [("claim", True), ("claim", False)]),
        ("not supported", [("claim", False), ("claim", False)]),
        ("not supported", [("claim", False), ("artefact", True)]),
        ("artefact", [("claim", True), ("claim", False), ("artefact", True)]),
        ("supported", [("claim", True), ("artefact", True), ("artefact", False)]),
        ("not testable here", [("premise", False), ("claim", True)]),
        ("supported", [("premise", True), ("claim", True), ("context", False)]),
        ("not testable here", [("claim", True), ("claim", None)]),
        ("not testable here", [("claim", True), ("artefact", None)]),
        ("not supported", [("claim", False), ("artefact", None)]),
        ("supported", [("claim", True), ("context", None)]),
    ],
)
def test_how_findings_make_a_verdict(verdict: str, findings: list[tuple[Role, bool | None]]) -> None:
    made = [finding(role, bool(holds), holds is not None) for role, holds in findings]
    assert verdict_of(made) == verdict
    assert verdict in VERDICTS


def test_a_good_estimate_without_significance_does_not_hold() -> None:
    good = finding("claim", True)
    assert good.holds
    assert not replace(good, low=-3.0, high=5.0, n=4, p=0.2, p_adjusted=0.9).holds


# ---------------------------------------------------------------- whole sweeps


RIGHT = {rule.id: "supported" for rule in RULES} | {"C01": "true by construction"}
WRONG = {rule.id: "not supported" for rule in RULES} | {
    "C16": "not testable here",  # no retriever, nothing to test
    "C14": "not testable here",  # no sink, nothing to point
    "C17": "supported in part",  # the recipe's arithmetic stays what it is
}
OTHER = dict.fromkeys(("C02", "C05", "C09", "C10", "C12", "C18"), "artefact")


@pytest.mark.parametrize(
    ("sweep", "claim", "expected"),
    [
        (name, claim, verdict)
        for name, table in (("right", RIGHT), ("wrong", WRONG), ("other", OTHER))
        for claim, verdict in table.items()
    ],
)
def test_the_verdict_follows_the_truth(
    verdicts: dict[str, dict[str, claims.Verdict]], sweep: str, claim: str, expected: str
) -> None:
    found = verdicts[sweep][claim]
    assert found.verdict == expected, [
        (f.criterion.name, f.value, f.low, f.high, f.p_adjusted, f.holds) for f in found.findings
    ]


def test_controls_rest_on_their_own_seeds(verdicts: dict[str, dict[str, claims.Verdict]]) -> None:
    by_name = {f.criterion.name: f for v in verdicts["right"].values() for f in v.findings}
    assert tuple(by_name["dip_removed_without_decay"].per_seed) == CONTROL_SEEDS
    assert by_name["dip_removed_without_decay"].n == len(CONTROL_SEEDS)
    assert by_name["dip_depth"].n == 8


def test_without_runs_only_arithmetic_is_decided() -> None:
    none = claims.decide(Sweep({}, ()))
    assert {v.verdict for v in none} == {"not testable here"}
    table = claims.criteria_table(none)
    assert table[table["outcome"] == "holds"]["criterion"].tolist() == ["recipe_parameters", "recipe_tokens"]


def test_one_seed_decides_nothing_that_needs_seeds(sweeps: dict[str, Sweep]) -> None:
    runs = sweeps["right"].runs
    single = Sweep({variant: {1: by_seed[1]} for variant, by_seed in runs.items()}, ("the rest",))
    found = {v.rule.id: v.verdict for v in claims.decide(single)}
    assert found.pop("C01") == "true by construction"
    assert set(found.values()) == {PENDING.label}


def test_a_sweep_that_lacks_one_control_leaves_only_its_claims_open(sweeps: dict[str, Sweep]) -> None:
    runs = {variant: by_seed for variant, by_seed in sweeps["right"].runs.items() if variant != "pure_bf16"}
    found = {v.rule.id: v.verdict for v in claims.decide(Sweep(runs, ("laptop-pure_bf16-seed1",)))}
    assert [claim for claim, verdict in found.items() if verdict == PENDING.label] == ["C17"]


def test_the_ledger_has_a_row_for_every_claim(verdicts: dict[str, dict[str, claims.Verdict]]) -> None:
    made = list(verdicts["other"].values())
    table = claims.ledger(made).set_index("id")
    assert list(table.index) == [rule.id for rule in RULES]
    # an artefact shows the number that explains it
    assert table.loc["C02", "estimate"] == claims.value_of(made, "dip_removed_without_decay")
    assert table.loc["C02", "n"] == 4
    assert table.loc["C13", "estimate"] == claims.value_of(made, "settle_step")
    summary = claims.summary(made)
    assert summary["n_claims"] == len(RULES)
    assert summary["c02_dip_depth"] == claims.value_of(made, "dip_depth")
    assert summary["verdict_c02"] == "artefact"


def test_distances_are_positive_where_criteria_are_met(verdicts: dict[str, dict[str, claims.Verdict]]) -> None:
    right = claims.distances(verdicts["right"].values())
    claimed = {c.name for rule in RULES for c in rule.criteria if c.role == "claim"}
    assert (right[right["criterion"].isin(claimed)]["distance"] > 0).all()
    assert (right["low"] <= right["distance"]).all()
    assert (right["distance"] <= right["high"]).all()
    wrong = claims.distances(verdicts["wrong"].values()).set_index("criterion")
    assert wrong.loc["dip_depth", "distance"] < 0
    assert not wrong.loc["dip_depth", "holds"]


def test_every_mean_can_be_traced_to_its_seeds(verdicts: dict[str, dict[str, claims.Verdict]]) -> None:
    made = list(verdicts["right"].values())
    per_seed, table = claims.per_seed_table(made), claims.criteria_table(made).set_index("criterion")
    for name, rows in per_seed.groupby("criterion"):
        if table.loc[name, "role"] != "construction":
            assert rows["value"].mean() == pytest.approx(table.loc[name, "estimate"], nan_ok=True)
    assert set(per_seed[per_seed["criterion"] == "dip_in_pure_bfloat16"]["variant"]) == {"pure_bf16"}


def test_order_kept_by_slow_drift_is_no_persistence(tmp_path: Path, sweeps: dict[str, Sweep]) -> None:
    steady = order_persistence(sweeps["right"].baseline[0])
    assert steady["tau"].mean() > 0.95
    aimless = order_persistence(sweeps["wrong"].baseline[0])
    assert aimless["tau"].mean() < 0.5
