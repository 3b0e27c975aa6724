"""The robustness map on sweeps whose truth is known, and on numbers that a choice turns."""

from dataclasses import replace

import pandas as pd
import pytest

from civilwar.evidence import robustness
from civilwar.evidence.alternatives import CHOICES
from civilwar.evidence.claims import Verdict
from civilwar.evidence.robustness import UNTOUCHED, against
from civilwar.evidence.rungs import of_sweep
from civilwar.names.verdicts import PENDING
from civilwar.runs.collection import Sweep

# one worker writes the sweeps
pytestmark = pytest.mark.xdist_group("sweeps")

Verdicts = dict[str, dict[str, Verdict]]
BY_KEY = {choice.key: choice for choice in CHOICES}
PLAIN = ("uncorrected", "over_all", "signs", "leave_one_out")


@pytest.mark.parametrize("truth", ["right", "wrong"])
def test_what_is_plainly_true_or_false_stands_whatever_the_correction_and_the_test(
    sweeps: dict[str, Sweep], verdicts: Verdicts, truth: str
) -> None:
    evidence = of_sweep(sweeps[truth])
    for claim in ("C02", "C04", "C13"):
        verdict = verdicts[truth][claim]
        found = {key: robustness.under(BY_KEY[key], verdict, evidence) for key in PLAIN}
        assert set(found.values()) == {verdict.verdict}, (claim, found)


def test_the_stated_rule_under_no_change_is_the_ledgers(sweeps: dict[str, Sweep], verdicts: Verdicts) -> None:
    nothing = replace(BY_KEY["laxer"], laxer=0.0)
    for truth, sweep in sweeps.items():
        for claim in ("C02", "C03", "C05", "C07", "C17"):
            verdict = verdicts[truth][claim]
            assert robustness.under(nothing, verdict, of_sweep(sweep)) == verdict.verdict


def test_a_threshold_out_of_reach_turns_the_verdict(sweeps: dict[str, Sweep], verdicts: Verdicts) -> None:
    # a claim without a premise, which harsher thresholds would have fail as well
    verdict = verdicts["right"]["C13"]
    assert verdict.verdict == "there"
    harsh = replace(BY_KEY["stricter"], laxer=-100.0)
    assert robustness.under(harsh, verdict, of_sweep(sweeps["right"])) == "not there"


def test_numbers_measured_otherwise_decide(sweeps: dict[str, Sweep], verdicts: Verdicts) -> None:
    verdict, evidence = verdicts["right"]["C04"], of_sweep(sweeps["right"])
    seeds = iter(range(8))
    other = replace(
        BY_KEY["one_onset"],
        measures=lambda run: {"order_persistence_excess": -0.5 + 0.01 * next(seeds)},
        replaces=frozenset({"order_persistence_excess"}),
        drops=frozenset(),
    )
    assert robustness.under(other, verdict, evidence) == "not there"
    undefined = replace(other, measures=lambda run: {})
    assert robustness.under(undefined, verdict, evidence) == "open"
    assert robustness.under(BY_KEY["one_onset"], verdict, evidence) == UNTOUCHED


def test_the_whole_map_of_a_few_claims(sweeps: dict[str, Sweep], verdicts: Verdicts) -> None:
    few = [verdicts["other"][claim] for claim in ("C01", "C02", "C04")]
    sweep = sweeps["other"]
    empty = replace(sweep, runs={})
    found = robustness.columns(few, of_sweep(sweep), {"source": empty, "prose": sweep})
    long = robustness.table(found)
    assert list(long["choice"].unique()) == [column.label for column in found]
    assert len(long) == 3 * len(found)
    cells = long.set_index(["choice", "id"])["verdict"]
    assert cells[robustness.STATED].to_dict() == {v.rule.id: v.verdict for v in few}
    # the same runs, called another text, say the same; where none are there, nothing is said
    assert cells["prose"].to_dict() == cells[robustness.STATED].to_dict()
    assert set(cells["Python source"]) == {PENDING.label}
    # all of these runs are fresh, none exploratory
    assert cells[robustness.FRESH].to_dict() == cells[robustness.STATED].to_dict()
    assert set(cells[robustness.SEEN]) == {PENDING.label}
    assert set(cells[:, "C01"][[choice.label for choice in CHOICES]]) == {UNTOUCHED}
    standings = robustness.standing(long).set_index("id")
    assert (standings[["same", "unsettled", "settled", "other"]].sum(axis=1) == standings["choices"]).all()
    numbers = robustness.summary(standings.reset_index())
    assert numbers["robust_n_claims"] == 3
    assert "C01" in str(numbers["robust_unmoved"])


@pytest.mark.parametrize(
    ("stated", "other", "said"),
    [
        ("there", "there", "same"),
        ("there", "in part", "other"),
        ("there", "open", "unsettled"),
        ("open", "not there", "settled"),
        ("open", "open", "same"),
        ("there", UNTOUCHED, "untouched"),
        ("open", PENDING.label, "untouched"),
    ],
)
def test_how_a_cell_stands_to_the_rules(stated: str, other: str, said: str) -> None:
    assert against(stated, other) == said


def test_standing_counts_what_touches() -> None:
    found = [
        robustness.Column(robustness.STATED, "rules", "", {"C05": "there"}),
        robustness.Column("a", "test", "", {"C05": "there"}),
        robustness.Column("b", "test", "", {"C05": "not there"}),
        robustness.Column("c", "null", "", {"C05": UNTOUCHED}),
    ]
    row = robustness.standing(robustness.table(found)).iloc[0]
    assert (row["choices"], row["same"], row["other"], row["others"]) == (2, 1, 1, "not there (1)")
    assert robustness.summary(pd.DataFrame([row]))["robust_parted"] == "C05"
