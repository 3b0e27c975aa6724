"""What pages say of numbers that are known."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import Truth, make_synthetic_config, write_run
from synthetic_kinds import D_HEAD, LAYERS, STEPS, golden_gain, heads, kinds_run

from civilwar.analysis import controls, roles, taxonomy
from civilwar.names.variants import LABELS, VARIANTS
from civilwar.pages import sentences
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run

# ---------------------------------------------------------------- phase 5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return kinds_run(tmp_path_factory.mktemp("kinds") / "run")


def test_kinds_are_counted_by_their_labels_most_frequent_first(run: Run) -> None:
    labelled = taxonomy.labels(run, draws=0)
    assert sentences.kinds_counted(labelled) == "19 mixed, 2 separator, 1 sink, 1 induction, 1 retriever"
    assert sentences.kinds_counted(pd.DataFrame({"kind": ["previous_token"]})) == "1 previous token"


def test_agreement_of_seeds_is_a_sentence_even_where_there_is_none() -> None:
    numbers = {"same": 0.5, "dealt": 0.25, "low": 0.125, "high": 0.375, "p": 0.01, "n_seeds": 3}
    said = sentences.seeds_agree(numbers)
    assert said.startswith("Between two of 3 seeds, 50% of places")
    assert said.endswith("give 25% (95%: 12% to 38%).")
    assert sentences.seeds_agree(numbers | {"n_seeds": 1}).startswith("Fewer than two runs")


def test_golden_energy_in_words(run: Run) -> None:
    own, less = roles.golden_energy_of_sinks(run), roles.golden_energy_sinks_less_others(run)
    said = sentences.golden_energy(run)
    assert f"{own:.2f} times" in said
    assert f"{abs(less):.2f} {'more' if less > 0 else 'less'} than the other KV heads" in said


def test_golden_energy_in_words_where_there_is_nothing_to_measure(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    plain = write_run(tmp_path / "plain", config, Truth(gain=golden_gain()))
    assert sentences.golden_energy(plain).startswith("There is no static sink")
    flat = write_run(tmp_path / "flat", config)
    assert "nothing can be said" in sentences.golden_energy(flat)
    every = heads(config, 0.2, **{f"at_2_{head}": 0.9 for head in (0, 2, 4, 6)})
    full = write_run(tmp_path / "full", config, Truth(gain=golden_gain(), separator_mass=every))
    assert "nothing to compare" in sentences.golden_energy(full)


def test_the_costliest_kind_is_said_with_what_random_heads_cost() -> None:
    row = {"kind": "sink", "mode": "mean", "score": "loss", "n_heads": 1, "change": 0.5, "random": 0.2}
    cheap = row | {"kind": "previous_token", "n_heads": 2, "change": 0.1}
    table = pd.DataFrame([cheap, row])
    assert (
        sentences.costliest_to_silence(table)
        == "1 sink head, +0.50 nats; as many random heads of the same layers, +0.20"
    )
    alone = pd.DataFrame([cheap | {"random": math.nan}])
    assert sentences.costliest_to_silence(alone).startswith(
        "2 previous token heads, +0.10 nats; they fill their layers"
    )


# ---------------------------------------------------------------- phase 6

FALLS = {"baseline": 0.5, "no_gain_decay": 0.0, "shuffled_rope": 0.25}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two seeds of the baseline, one of two controls; norms fall by what `FALLS` says and come back."""
    folder, runs = tmp_path_factory.mktemp("falls"), {}
    for variant, fall in FALLS.items():
        runs[variant] = {}
        for seed in (1, 2) if variant == "baseline" else (2,):
            config = make_synthetic_config(16, STEPS, seed, **VARIANTS[variant].changes)
            config = dataclasses.replace(config, variant=variant)
            path = np.interp(np.arange(STEPS + 1), [0, 10, STEPS], [4, 4 - fall, 5])
            norms = np.zeros((STEPS + 1, config.model.n_layers, config.model.n_kv_heads)) + path[:, None, None]
            runs[variant][seed] = write_run(folder / f"{variant}-{seed}", config, Truth(norms=norms))
    return Sweep(runs, ())


def test_falls_are_said_of_a_run_and_of_what_stands_beside_it(sweep: Sweep) -> None:
    shown = sweep.baseline[1]
    beside = Sweep({variant: {2: runs[2]} for variant, runs in sweep.runs.items()}, ())
    assert sentences.first_falls(shown, beside) == (
        "its norms first fall by 0.50 on average over layers, those of other variants by "
        f"0.00 ({LABELS['no_gain_decay']}), 0.25 ({LABELS['shuffled_rope']})"
    )
    alone = sentences.first_falls(shown, Sweep({"baseline": {2: shown}}, ()))
    assert alone == "its norms first fall by 0.50 on average over layers; no other variant is there"


def test_lacking_says_what_is_needed(sweep: Sweep) -> None:
    assert sentences.lacking(sweep) == ""
    assert sentences.lacking(sweep, ["baseline", "shuffled_rope"], 2) == ""
    assert "at least 4 of the baseline (recorded: 2)" in sentences.lacking(sweep, baseline_seeds=4)
    assert "one of pure_bf16" in sentences.lacking(sweep, ["pure_bf16"])
    assert "at least 1 of the baseline (recorded: 0)" in sentences.lacking(Sweep({}, ()))
    unpaired = Sweep({"baseline": {1: sweep.baseline[0]}, "shuffled_rope": sweep.runs["shuffled_rope"]}, ())
    assert "the baseline's of the same seed" in sentences.lacking(unpaired)


@pytest.fixture
def changes() -> pd.DataFrame:
    """Of three controls: all raise the loss, one by how much is unsure; one lowers the fall, in another it is undefined."""
    rows = []
    for variant, loss, clear in (("no_gain_decay", 0.1, True), ("frozen_gain", 0.3, True), ("no_qk_norm", 0.2, False)):
        for phenomenon in controls.PHENOMENA:
            change = {"loss": loss, "fall": -1.5 if variant == "no_gain_decay" else 0.0}.get(phenomenon, 0.0)
            if phenomenon == "fall" and variant == "no_qk_norm":
                change = math.nan
            half = math.nan if variant == "no_qk_norm" else 0.05
            row = {"variant": variant, "phenomenon": phenomenon, "change": change, "high": change + half}
            rows.append(row | {"baseline": 1.0, "clear": clear and change != 0})
    return pd.DataFrame(rows)


def test_attribution_names_only_knobs_clear_of_0_the_largest_first(changes: pd.DataFrame) -> None:
    table = sentences.attribution(changes).set_index("phenomenon")
    assert list(table.index) == list(controls.PHENOMENA)
    assert table["raised by"]["loss"] == "frozen gain, no decay on the gain"
    assert table["lowered by"]["fall"] == "no decay on the gain"
    assert table["no value in"]["fall"] == "no QK norm"
    assert table["raised by"]["fall"] == table["no value in"]["loss"] == "–"


def test_changes_in_words_have_half_their_interval_where_there_is_one(changes: pd.DataFrame) -> None:
    table = sentences.changes_in_words(changes).set_index("phenomenon")
    assert list(table.index) == list(controls.PHENOMENA)
    assert list(table.columns) == ["no_gain_decay", "frozen_gain", "no_qk_norm"]
    assert table["no_gain_decay"]["fall"] == "\N{MINUS SIGN}1.50 ± 0.05"
    assert table["no_qk_norm"]["loss"] == "+0.200"
    assert table["no_qk_norm"]["fall"] == "–"


# ---------------------------------------------------------------- phase 10


def test_the_loud_heads_have_a_sentence_even_where_there_are_none() -> None:
    heads = pd.DataFrame({"norm": [12.0, 11.5, 9.0], "entropy": [1.25, 2.0, 5.0]})
    assert sentences.loud_heads(heads) == "Here the attention of the loud ones has 1.2 to 2.0 nats."
    assert sentences.loud_heads(heads.assign(norm=11.0)) == "Here no head is that loud."


def test_every_control_is_told_and_the_baseline_is_none() -> None:
    told = sentences.controls_there_are()
    assert list(told["control"]) == [label for key, label in LABELS.items() if key != "baseline"]
    assert told["what is changed"].str.len().min() > 0


@pytest.mark.parametrize(
    ("n", "said"),
    [(88_630_528, "88.6 million"), (7_602_944, "7.6 million"), (29_312, "29 thousand"), (12, "12")],
)
def test_a_size_has_the_digits_that_a_reader_needs(n: int, said: str) -> None:
    assert sentences.large_number(n) == said
    assert sentences.parameters_in_words(n) == f"{said} parameters"
    assert sentences.parameters_in_words(1) == "1 parameter"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 second"),
        (1.0, "1 second"),
        (59, "59 seconds"),
        (110, "110 seconds"),
        (120, "2 minutes"),
        (86400, "24 hours"),
    ],
)
def test_how_long_something_took_is_said_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert sentences.duration(seconds) == said


def test_how_long_is_not_said_where_nobody_measured_it() -> None:
    assert sentences.duration(math.nan) is None


@pytest.mark.parametrize(
    ("rho", "low", "high", "p", "said"),
    [
        (-0.3, -0.4, -0.2, 0.003, "attend more sharply"),
        (0.3, 0.2, 0.4, 0.003, "attend more broadly"),
        (-0.3, -0.4, -0.2, 0.2, "it is open"),
        (-0.3, -0.7, 0.1, 0.01, "it is open"),
        (-0.3, math.nan, math.nan, math.nan, "it is open"),
        (math.nan, math.nan, math.nan, math.nan, "equally long"),
    ],
)
def test_the_focus_law_hangs_on_its_interval_and_p(rho: float, low: float, high: float, p: float, said: str) -> None:
    numbers = {"rho_causal_late": rho, "rho_causal_low": low, "rho_causal_high": high, "rho_causal_p": p}
    assert said in sentences.focus_law(numbers)
    assert "nan" not in sentences.focus_law(numbers)


def test_which_knobs_move_what_is_said_only_with_intervals() -> None:
    change = {"phenomenon": "fall", "change": 0.5, "low": 0.2, "high": 0.8, "deviations": 3.0, "clear": True}
    weaker = change | {"variant": "pure_bf16", "deviations": -1.0}
    table = pd.DataFrame([change | {"variant": "no_gain_decay"}, weaker])
    assert "Of 2 changes" in sentences.knobs_that_move(table)
    assert LABELS["no_gain_decay"] in sentences.knobs_that_move(table)
    unsure = table.assign(clear=False)
    assert sentences.knobs_that_move(unsure).endswith("0.1.")
    assert sentences.knobs_that_move(table.assign(deviations=math.nan)).endswith("0.1.")
    assert "open" in sentences.knobs_that_move(table.assign(low=math.nan))
