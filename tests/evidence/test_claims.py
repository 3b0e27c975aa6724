"""The verdicts: every claim's test on sweeps whose truth is known, and how scales and standing make an answer."""

import math
from dataclasses import replace
from typing import get_args

import pytest

from civilwar.analysis.capacity import report_rank
from civilwar.evidence import claims, tables
from civilwar.evidence.answers import answer, brief, headline, rungs_part, untold
from civilwar.evidence.claims import AtRung, Finding, Verdict, answer_of, level_of
from civilwar.evidence.decision import Outcome
from civilwar.evidence.estimators import ESTIMATORS
from civilwar.evidence.of_dimensions import CAPACITY_RANK
from civilwar.evidence.of_norms import order_persistence
from civilwar.evidence.registration import began_under, current
from civilwar.evidence.rule import DECIDING, LEVEL, Criterion, Role, Rule
from civilwar.evidence.rules import RULES
from civilwar.evidence.rungs import Rung, _divided, of_sweep
from civilwar.names.verdicts import PENDING, VERDICTS
from civilwar.recipe.config import make_config
from civilwar.recipe.plan import FRESH_SEEDS
from civilwar.runs.collection import Sweep

# one worker writes the sweeps
pytestmark = pytest.mark.xdist_group("sweeps")

Verdicts = dict[str, dict[str, Verdict]]

# ---------------------------------------------------------------- the rules


def test_every_claim_of_the_report_has_a_rule() -> None:
    assert [rule.id for rule in RULES] == [f"C{i:02d}" for i in range(1, len(RULES) + 1)]
    assert all(any(c.role in ("thing", "construction") for c in rule.criteria) for rule in RULES)


def test_every_criterion_has_an_estimator_and_every_estimator_a_criterion() -> None:
    names = [c.name for rule in RULES for c in rule.criteria]
    assert len(names) == len(set(names))
    assert set(names) == set(ESTIMATORS)


def test_every_rule_gives_a_reason_for_its_threshold_and_a_null() -> None:
    assert all(c.reason and c.says and c.label for rule in RULES for c in rule.criteria)
    assert all(rule.null and rule.reported and rule.statement for rule in RULES)
    assert {c.role for rule in RULES for c in rule.criteria} == set(get_args(Role))
    pairs = [c.threshold for rule in RULES for c in rule.criteria if c.side == "within"]
    assert pairs
    assert all(isinstance(pair, tuple) and pair[0] < pair[1] for pair in pairs)


def test_a_claim_has_an_answer_for_every_verdict_that_it_can_get_and_no_other() -> None:
    for rule in RULES:
        roles = [c.role for c in rule.criteria]
        expected = {"true by construction", "not there"} if "construction" in roles else {"there", "not there"}
        expected |= {"there, for another reason"} if "reading" in roles else set()
        assert set(rule.answers) == expected, rule.id
        assert all(text[0].isupper() and text[-1] == "." for text in rule.answers.values())
        # numbers come from the findings
        assert not any(
            character.isdigit() for text in rule.answers.values() for character in text.replace("bfloat16", "")
        )


def test_the_error_of_a_claim_is_shared_by_what_decides_it() -> None:
    by_id = {rule.id: rule for rule in RULES}
    assert level_of(by_id["C13"]) == LEVEL
    assert level_of(by_id["C02"]) == LEVEL / 5
    # of C07's, the runs' size and the worst run's count have no sampling error
    assert level_of(by_id["C07"]) == LEVEL


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_c11_is_decided_at_the_rank_that_its_rule_names_and_the_capacity_pages_mark(preset: str) -> None:
    assert report_rank(make_config(preset)) == CAPACITY_RANK
    (says,) = (c.says for rule in RULES for c in rule.criteria if c.name == "kept_by_directions")
    assert f"that {CAPACITY_RANK} principal directions a head keep" in says


# ---------------------------------------------------------------- whole sweeps


RIGHT = {rule.id: "there" for rule in RULES} | {"C01": "true by construction"}
WRONG = {rule.id: "not there" for rule in RULES} | {
    "C06": "open",  # so few heads: no second population is seen, and none is ruled out
    "C07": "open",  # no head that loud, nothing to look at
    "C14": "open",  # no static head
    "C16": "open",  # no retriever
    "C17": "in part",  # the recipe's arithmetic stays what it is
}
OTHER = dict.fromkeys(("C02", "C03", "C05", "C09", "C10", "C12", "C18"), "there, for another reason")


@pytest.mark.parametrize(
    ("sweep", "claim", "expected"),
    [
        (name, claim, verdict)
        for name, table in (("right", RIGHT), ("wrong", WRONG), ("other", OTHER))
        for claim, verdict in table.items()
    ],
)
def test_the_verdict_follows_the_truth(verdicts: Verdicts, sweep: str, claim: str, expected: str) -> None:
    found = verdicts[sweep][claim]
    assert found.verdict == expected, [(f.criterion.name, f.value, f.low, f.high, f.outcome) for f in found.findings]


def test_intervals_are_simultaneous_and_say_what_they_could_have_seen(verdicts: Verdicts) -> None:
    for verdict in verdicts["right"].values():
        for finding in verdict.findings:
            values = list(finding.per_seed.values())
            if finding.criterion.role in ("thing", "reading") and len(values) > 1:
                assert finding.low <= finding.value <= finding.high
                assert finding.smallest >= 0
                # what is decided lies further from its threshold than half of its interval
                assert finding.outcome != "open"


def test_a_verdict_turns_on_the_finding_that_it_shows_first(verdicts: Verdicts) -> None:
    other, wrong, right = verdicts["other"], verdicts["wrong"], verdicts["right"]
    assert headline(other["C02"]).criterion.name == "dip_kept_without_decay"
    assert headline(wrong["C14"]).criterion.name == "n_static_sinks"
    assert headline(wrong["C17"]).criterion.name == "dip_in_pure_bfloat16"
    assert headline(right["C13"]).criterion.name == "settle_step"
    assert [f.criterion.name for f in untold(wrong["C16"])] == ["n_retrievers"]


def test_an_answer_says_no_more_than_its_verdict(verdicts: Verdicts) -> None:
    for of_sweep_ in verdicts.values():
        for verdict in of_sweep_.values():
            said = answer(verdict)
            # in brief it is the same verdict, counted where it is not settled
            assert "asked" not in brief(verdict)
            assert brief(verdict).split(". ")[0].rstrip(".") in said
            others = {text for name, text in verdict.rule.answers.items() if name != verdict.verdict}
            assert not any(text in said for text in others)
            for finding in verdict.findings:
                if finding.holds and finding.criterion.role != "context":
                    assert f"Against it: {finding.criterion.label} (" not in said
    assert answer(verdicts["right"]["C03"]) == verdicts["right"]["C03"].rule.answers["there"]
    decayed = answer(verdicts["other"]["C02"])
    assert decayed.startswith(
        "The norms first fall. Most of that fall is not there without decay on the gain. Against it: share of the fall"
    )
    assert (
        answer(verdicts["wrong"]["C16"]) == "These runs cannot tell. Lacking: heads that retrieve (asked: above 0.5)."
    )


def test_controls_rest_on_pairs_of_one_seed(verdicts: Verdicts) -> None:
    by_name = {f.criterion.name: f for v in verdicts["right"].values() for f in v.findings}
    assert tuple(by_name["dip_kept_without_decay"].per_seed) == FRESH_SEEDS
    assert by_name["dip_kept_without_decay"].n == len(FRESH_SEEDS)


def test_every_mean_can_be_traced_to_its_seeds(verdicts: Verdicts) -> None:
    made = list(verdicts["right"].values())
    per_seed, table = tables.per_seed_table(made), tables.criteria_table(made).set_index("criterion")
    for name, rows in per_seed.groupby("criterion"):
        if table.loc[name, "role"] != "construction":
            of_runs = rows["value"].min() if name == "heads_above_11" else rows["value"].mean()
            assert of_runs == pytest.approx(table.loc[name, "estimate"], nan_ok=True)
    assert set(per_seed[per_seed["criterion"] == "dip_in_pure_bfloat16"]["variant"]) == {"pure_bf16"}


def test_the_ledger_and_the_prose_say_the_same(verdicts: Verdicts) -> None:
    made = list(verdicts["other"].values())
    table = tables.ledger(made).set_index("id")
    assert list(table.index) == [rule.id for rule in RULES]
    # where the report's reason fails, the number that tells is shown
    assert table.loc["C02", "estimate"] == tables.value_of(made, "dip_kept_without_decay")
    assert table.loc["C02", "synthetic"] == "there, for another reason (8 seeds)"
    numbers = tables.summary(made) | tables.shares(made)
    assert numbers["n_claims"] == len(RULES)
    assert numbers["c02_dip_depth"] == tables.value_of(made, "dip_depth")
    assert numbers["c02_dip_removed_without_decay"] == 1 - tables.value_of(made, "dip_kept_without_decay")
    assert numbers["verdict_c02"] == "there, for another reason"
    assert numbers["verdicts_standing"].startswith("Fresh runs")  # type: ignore[union-attr]


def test_distances_are_positive_where_criteria_are_met(verdicts: Verdicts) -> None:
    right = tables.distances(verdicts["right"].values())
    assert (right["distance"] > 0).all()
    assert set(right["outcome"]) == {"holds"}
    assert (right["low"] <= right["distance"]).all()
    assert (right["distance"] <= right["high"]).all()
    wrong = tables.distances(verdicts["wrong"].values()).set_index("criterion")
    assert wrong.loc["dip_depth", "distance"] < 0
    assert wrong.loc["dip_depth", "outcome"] == "fails"


def test_order_kept_by_slow_drift_is_no_persistence(sweeps: dict[str, Sweep]) -> None:
    steady = order_persistence(sweeps["right"].baseline[0])
    assert steady["tau"].mean() > 0.95
    aimless = order_persistence(sweeps["wrong"].baseline[0])
    assert aimless["tau"].mean() < 0.5


# ---------------------------------------------------------------- which runs speak

FEW = [rule for rule in RULES if rule.id in ("C01", "C02", "C04")]


def rung(sweep: Sweep, preset: str = "laptop") -> Rung:
    none = replace(sweep, runs={}, missing=())
    return Rung(preset, sweep, none)


def without(sweep: Sweep, variant: str, seeds: int = 0) -> Sweep:
    """The sweep with so many seeds of one variant only."""
    kept = dict(list(sweep.runs[variant].items())[:seeds])
    return replace(sweep, runs={**sweep.runs, variant: kept})


def test_without_runs_every_claim_awaits_them() -> None:
    none = claims.decide(Sweep({}, ()))
    assert {v.verdict for v in none} == {PENDING.label}
    assert {answer(v) for v in none} == {PENDING.says}
    assert "18 await runs" in tables.standing(none)


def test_a_claim_awaits_the_seeds_that_it_needs_and_no_others(sweeps: dict[str, Sweep]) -> None:
    lacking = without(sweeps["right"], "no_gain_decay", 7)
    found = {v.rule.id: v.verdict for v in claims.decide((rung(lacking),), FEW)}
    assert found == {"C01": "true by construction", "C02": PENDING.label, "C04": "there"}


def test_until_fresh_runs_are_there_exploratory_ones_answer_and_are_called_so(sweeps: dict[str, Sweep]) -> None:
    lacking, other = without(sweeps["right"], "no_gain_decay", 7), replace(sweeps["other"], exploratory=True)
    (one, two, four) = claims.decide((Rung("laptop", lacking, other),), FEW)
    assert (two.verdict, two.exploratory) == ("there, for another reason", True)
    assert answer(two).startswith("So far (exploratory runs): The norms")
    assert not one.exploratory
    assert not four.exploratory
    assert tables.standing([one, two, four]) == (
        "Of 3 claims, exploratory runs, seen before the rules were written, answer 1, fresh ones answer 2."
    )


def test_a_run_that_began_under_other_rules_is_exploratory(sweeps: dict[str, Sweep]) -> None:
    fresh = replace(sweeps["right"], config=replace(sweeps["right"].config, preset="smoke"))
    none = replace(fresh, runs={}, exploratory=True)
    registered = {"hash": current(), "date": "2026-12-01T00:00:00+00:00"}
    assert _divided("smoke", fresh, none, registered).fresh.runs == fresh.runs
    for other in (
        {**registered, "hash": "another hash"},
        None,
        # the runs began before these rules were registered
        {**registered, "date": "2026-12-03T00:00:00+00:00"},
    ):
        divided = _divided("smoke", fresh, none, other)
        assert divided.fresh.n_runs == 0
        assert divided.exploratory.runs == fresh.runs
        assert len(divided.fresh.missing) == 64


def test_a_run_that_does_not_say_when_it_began_is_exploratory() -> None:
    registered = {"hash": "a", "date": "2026-12-01T12:00:00+00:00"}
    assert began_under({"rules": "a", "sittings": [{"started": "2026-12-01T12:00:00+00:00"}]}, registered)
    # it went on after, but began before
    sittings = [{"started": "2026-12-01T11:00:00+00:00"}, {"started": "2026-12-01T13:00:00+00:00"}]
    for manifest in ({"rules": "a"}, {"rules": "a", "sittings": [{}]}, {"rules": "a", "sittings": sittings}):
        assert not began_under(manifest, registered)


def test_a_sweep_is_one_rung(sweeps: dict[str, Sweep]) -> None:
    (one,) = of_sweep(sweeps["right"])
    assert one.fresh is sweeps["right"]
    (other,) = of_sweep(replace(sweeps["right"], exploratory=True))
    assert other.fresh.n_runs == 0
    assert other.exploratory.n_runs == sweeps["right"].n_runs


# ---------------------------------------------------------------- from scales to an answer


def made_rule(*roles: Role) -> Rule:
    criteria = tuple(
        Criterion(name="dip_depth", label="l", says="s", side="above", threshold=0.0, reason="because", role=role)
        for role in roles
    )
    answers = {"there": "There.", "there, for another reason": "Another.", "not there": "Not."}
    return Rule(id="C00", statement="s", reported="r", null="n", criteria=criteria, answers=answers, figure=("p", "f"))


def at(rule: Rule, preset: str, outcomes: list[tuple[Outcome, float]], exploratory: bool = False) -> AtRung:
    """A rung with these outcomes and means."""
    findings = tuple(
        Finding(rule=rule, criterion=c, preset=preset, exploratory=exploratory, outcome=outcome, value=value, n=3)
        for c, (outcome, value) in zip(rule.criteria, outcomes, strict=True)
    )
    verdict = claims.decision.verdict_of(claims.outcomes(findings))
    return AtRung(preset, verdict, exploratory, 3, findings)


@pytest.mark.parametrize(
    ("small", "large", "verdict", "by"),
    [
        # the report's scale decides
        (("holds", 1.0), ("fails", -1.0), "not there", "paper"),
        (("fails", -1.0), ("holds", 1.0), "there", "paper"),
        (("open", 0.1), ("holds", 1.0), "there", "paper"),
        # what it leaves open a smaller one decides, where its own mean agrees
        (("holds", 1.0), ("open", 0.1), "there", "laptop"),
        (("fails", -1.0), ("open", -0.1), "not there", "laptop"),
        (("holds", 1.0), ("open", -0.1), "open", "paper"),
        (("fails", -1.0), ("open", 0.1), "open", "paper"),
        # what it cannot measure it has no say in
        (("holds", 1.0), ("open", math.nan), "there", "laptop"),
        (("open", math.nan), ("open", math.nan), "open", "paper"),
    ],
)
def test_the_answer_is_the_report_s_scale_s(
    small: tuple[Outcome, float], large: tuple[Outcome, float], verdict: str, by: str
) -> None:
    rule = made_rule("thing")
    found = answer_of(rule, [at(rule, "laptop", [small]), at(rule, "paper", [large])])
    assert (found.verdict, found.findings[0].preset) == (verdict, by)
    assert rungs_part(found) == ({small[0], large[0]} == {"holds", "fails"})


def test_a_scale_whose_premise_fails_says_nothing() -> None:
    rule = made_rule("premise", "thing")
    able, unable = [("holds", 1.0), ("holds", 1.0)], [("fails", -1.0), ("fails", -1.0)]
    found = answer_of(rule, [at(rule, "laptop", able), at(rule, "paper", unable)])  # type: ignore[arg-type]
    assert found.verdict == "there"
    found = answer_of(rule, [at(rule, "laptop", unable), at(rule, "paper", unable)])  # type: ignore[arg-type]
    assert found.verdict == "open"
    assert untold(found) == found.findings[:1]


def test_exploratory_runs_of_a_larger_scale_do_not_overrule_fresh_ones() -> None:
    rule = made_rule("thing")
    found = answer_of(rule, [at(rule, "laptop", [("holds", 1.0)]), at(rule, "paper", [("fails", -1.0)], True)])
    assert (found.verdict, found.exploratory) == ("there", False)


@pytest.mark.parametrize("flipped", range(4))
def test_each_criterion_can_flip_the_verdict(flipped: int) -> None:
    rule = made_rule("premise", "thing", "thing", "reading")
    expected = ["open", "not there", "in part", "there, for another reason"][flipped]
    outcomes: list[tuple[Outcome, float]] = [("holds", 1.0)] * 4
    assert answer_of(rule, [at(rule, "laptop", outcomes)]).verdict == "there"
    outcomes[flipped] = ("fails", -1.0)
    assert answer_of(rule, [at(rule, "laptop", outcomes)]).verdict == expected
    # what is merely open is never its opposite
    outcomes[flipped] = ("open", 0.0)
    assert answer_of(rule, [at(rule, "laptop", outcomes)]).verdict == "open"


def test_deciding_roles_have_a_say_in_the_verdict() -> None:
    assert set(DECIDING) == {"thing", "reading", "premise"}
    assert set(VERDICTS) >= {"there", "in part", "open"}
