"""What a hostile reader of the rules made flip on tables of numbers, and what comes of it now."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from civilwar.analysis import power
from civilwar.evidence import claims, of_attention
from civilwar.evidence.answers import answer, rungs_part
from civilwar.evidence.claims import Verdict
from civilwar.evidence.decision import Pooled, by_value
from civilwar.evidence.estimators import ESTIMATORS, measuring_share
from civilwar.evidence.rule import LEVEL, Rule
from civilwar.evidence.rules import RULES
from civilwar.evidence.rungs import Rung
from civilwar.recipe.config import make_config
from civilwar.recipe.plan import seeds_of
from civilwar.runs.collection import Sweep

BY_ID = {rule.id: rule for rule in RULES}
Table = Mapping[str, float | Sequence[float]]
Decide = Callable[..., Verdict]


def around(mean: float, spread: float | None = None, n: int = 8) -> list[float]:
    """So many numbers of exactly this mean and standard deviation, by default a hundredth of the mean."""
    x = np.arange(n) - (n - 1) / 2
    return list(mean + (abs(mean) / 100 + 1e-3 if spread is None else spread) * x / x.std(ddof=1))


@pytest.fixture
def decide(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """A claim's verdict on tables of numbers by preset and criterion, one a seed, or their mean; undefined where left out."""

    def by_tables(claim: str, **tables: Table) -> Verdict:
        rule = BY_ID[claim]
        for criterion in rule.criteria:
            estimator = ESTIMATORS[criterion.name]
            if estimator.unit in ("run", "pair"):
                monkeypatch.setitem(ESTIMATORS, criterion.name, replace(estimator, compute=looked_up(criterion.name)))
            elif estimator.unit == "sweep":
                none = replace(estimator, compute=lambda sweep: Pooled(math.nan, math.nan, math.nan, 0))
                monkeypatch.setitem(ESTIMATORS, criterion.name, none)
        current.clear()
        current.update(tables)
        (found,) = claims.decide(tuple(rung(rule, preset) for preset in tables), [rule])
        return found

    def looked_up(name: str) -> Callable[..., float]:
        return lambda *runs: runs[0].made(name)

    def rung(rule: Rule, preset: str) -> Rung:
        config, runs = make_config(preset), {}
        for variant in {ESTIMATORS[c.name].variant for c in rule.criteria} | {"baseline"}:
            runs[variant] = {seed: made_run(preset, seed, i) for i, seed in enumerate(seeds_of(variant, preset))}
        return Rung(preset, Sweep(runs, (), config), Sweep({}, (), config, exploratory=True))

    def made_run(preset: str, seed: int, place: int) -> Any:
        def made(name: str) -> float:
            values = current[preset].get(name, math.nan)
            if isinstance(values, float | int):
                values = around(values) if not math.isnan(values) else [math.nan] * 8
            return float(values[place])

        return SimpleNamespace(config=SimpleNamespace(seed=seed), made=made)

    current: dict[str, Table] = {}
    return by_tables


def outcome(verdict: Verdict, criterion: str) -> str:
    return next(f.outcome for f in verdict.findings if f.criterion.name == criterion)


def test_gains_that_have_nothing_in_common_are_not_alike_however_large_their_cosine(decide: Decide) -> None:
    apart = around(0.0, 0.02)
    table = {"likeness_raw": 0.99, "likeness_centred": apart, "likeness_detrended": apart, "likeness_in_strata": apart}
    assert decide("C18", laptop=table).verdict == "not there"


FALL = {"dip_depth": 0.4, "dip_norm": 7.1, "dip_step": 90.0}


def test_the_sentence_follows_the_reading_that_failed_and_details_are_not_hidden(decide: Decide) -> None:
    compressed = {**FALL, "rank_kept_at_dip": 0.8, "cosine_rise_at_dip": around(0.05, 0.001)}
    undecided = decide("C02", laptop={**compressed, "dip_kept_without_decay": around(0.5, 0.3)})
    # likeness of keys is only shown: on its threshold it takes nothing away
    assert undecided.verdict == "open"
    decayed = decide("C02", laptop={**compressed, "dip_kept_without_decay": 0.02, "dip_norm": 7.6, "dip_step": 41.0})
    assert decayed.verdict == "there, for another reason"
    said = answer(decayed)
    assert "without decay on the gain" in said.split("Against it:")[0]
    assert "fewer directions" not in said
    assert all(label in said for label in ("lowest norm of a layer (", "step of the lowest norm ("))
    in_part = decide("C02", laptop={**compressed, "dip_kept_without_decay": around(0.5, 0.3), "dip_norm": 7.6})
    assert in_part.verdict == "in part"
    assert "Open: share of the fall that is left without decay" in answer(in_part)


def test_the_rungs_of_an_answer_share_one_error(decide: Decide) -> None:
    random, wrong, n = np.random.default_rng(3), 0, 150
    for _ in range(n):
        # the truth lies on the threshold at every rung, so that whatever is decided is decided wrongly
        seeds = {"laptop": 8, "middle": 4, "paper": 3}
        tables = {p: {"settle_step": list(200 + 20 * random.normal(size=k))} for p, k in seeds.items()}
        wrong += decide("C13", **tables).verdict != "open"
    assert wrong / n < LEVEL + 3 * math.sqrt(LEVEL / n)
    # each rung's own verdict has the whole of it
    both = decide("C13", laptop={"settle_step": around(150.0, 20)}, middle={"settle_step": around(250.0, 150, 4)})
    assert both.findings[0].preset == "middle"
    own, shared = (one.findings[0] for one in (both.at[1], both))
    assert own.high - own.low < shared.high - shared.low


def test_rungs_that_contradict_each_other_on_one_criterion_are_named(decide: Decide) -> None:
    laptop = {"focus_late": -0.5, "focus_early": -0.5, "focus_given_query_norm": -0.5, "focus_late_without_norm": 0.4}
    paper = {
        "focus_late": around(-0.35, 0.05, 3),
        "focus_early": around(-0.5, 0.05, 3),
        "focus_given_query_norm": around(0.06, 0.001, 3),
        "focus_late_without_norm": around(0.3, 0.1, 3),
    }
    mixed = decide("C05", laptop=laptop, paper=paper)
    assert mixed.verdict == "there, for another reason"
    assert [one.verdict for one in mixed.at] == ["there", "open"]
    assert rungs_part(mixed)


def test_a_pooled_number_of_the_largest_rung_is_settled_by_no_smaller_one() -> None:
    rule = BY_ID["C06"]
    for small in ("holds", "fails"):
        found = [
            claims.AtRung(preset, "open", False, 8, tuple(findings(rule, preset, outcome)))
            for preset, outcome in (("laptop", small), ("paper", "open"))
        ]
        assert claims.answer_of(rule, found).verdict == "open"


def findings(rule: Rule, preset: str, outcome: Any) -> list[claims.Finding]:
    return [
        claims.Finding(rule=rule, criterion=c, preset=preset, exploratory=False, outcome=outcome, value=0.02, n=9)
        for c in rule.criteria
    ]


def test_a_count_in_every_run_is_decided_by_the_worst_run(decide: Decide) -> None:
    entropy = {"entropy_above_11": around(0.5, 0.01, 3)}
    assert decide("C07", paper={"heads_above_11": [12, 14, 40], **entropy}).verdict == "not there"
    without = decide("C07", paper={"heads_above_11": [12, 0, 40], **entropy})
    assert (without.verdict, outcome(without, "heads_above_11")) == ("open", "fails")


def test_a_run_whose_number_is_undefined_does_not_vanish(decide: Decide) -> None:
    assert decide("C01", laptop={"largest_start_deviation": [0.01] + [math.nan] * 7}).verdict == "open"
    steps = [100.0, 101.0, *[math.nan] * 6]
    assert decide("C13", laptop={"settle_step": steps}).verdict == "open"
    # but where it has nothing to look at, and a premise sees to that
    static = {"golden_energy_sinks_less_others": [0.3, 0.31, *around(0.3, 0.01, 5), math.nan]}
    found = decide("C14", laptop={"n_static_sinks": 3.0, "golden_energy_of_sinks": 2.0, **static})
    assert found.verdict == "there"


def test_order_that_no_drift_could_disturb_tells_nothing(decide: Decide) -> None:
    held = decide("C04", laptop={"order_of_drift": 0.97, "order_persistence_excess": 0.01})
    assert held.verdict == "open"
    assert "Lacking: agreement with the last order that drift alone gives" in answer(held)


def test_retrievers_that_answer_as_all_heads_do_are_there_for_another_reason(decide: Decide) -> None:
    table = {"n_retrievers": 3.0, "contrast_of_retrievers": 5.0, "contrast_of_all": 5.0, "contrast_over_others": 1.0}
    assert decide("C16", laptop=table).verdict == "there, for another reason"


def test_dimensions_that_are_merely_the_largest_of_a_scatter_are_no_group(decide: Decide) -> None:
    table = {"golden_gain": 1.19, "golden_gain_over_scatter": 1.0, "gains_over_random": 0.5, "fast_half_trend": 0.0}
    said = answer(decide("C12", laptop=table))
    assert said.startswith("Golden dimensions are amplified. They are no group of their own")
    assert "hardly more than random" not in said


def test_snapshots_are_a_share_of_the_training_that_they_are_in() -> None:
    timings = {"wall_seconds": 100.0, "snapshot_seconds": 20.0, "experiment_seconds": 50.0}
    assert measuring_share(SimpleNamespace(manifest={"timings": timings})) == 0.2  # type: ignore[arg-type]
    assert math.isnan(measuring_share(SimpleNamespace(manifest={})))  # type: ignore[arg-type]


def test_two_populations_show_in_layers_of_any_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (8, 6, 4)
    random = np.random.default_rng(0)
    x = random.normal(size=shape) + 8.0 * (random.random(shape) < 0.5)
    x = x * np.geomspace(0.05, 2, 6)[None, :, None]
    index = np.indices(shape).reshape(3, -1)
    columns = dict(zip(("seed", "layer", "kv_head"), index, strict=True))

    def sample(runs: object, column: str) -> Any:
        return pd.DataFrame({**columns, "value": power.in_own_scale(x.ravel(), shape)})

    monkeypatch.setattr(power, "sample", sample)
    monkeypatch.setattr(of_attention, "SIMULATED", 100)
    found = of_attention.dip(Sweep({}, ()), "norm")
    assert found.p_null < 0.0125
    # heads of a layer that never differ have no modes
    x[:] = x.mean(2, keepdims=True)
    assert math.isnan(of_attention.dip(Sweep({}, ()), "norm").value)


def test_the_end_of_a_range_is_open() -> None:
    assert by_value(2.0, "within", (2.0, 3.0)) == by_value(3.0, "within", (2.0, 3.0)) == "open"
