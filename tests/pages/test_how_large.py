"""What phase 12 says, on numbers that are known: a sentence asserts only what its interval shows."""

import math
from pathlib import Path

import pandas as pd
import pytest
from synthetic import make_synthetic_config, write_run

from civilwar.analysis import partial
from civilwar.pages import how_large
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run


def questions(*rhos: float) -> pd.DataFrame:
    rows = [{"run": "a", "seed": i, "unit": "query_head", "x": "key_norm", "rho": rho} for i, rho in enumerate(rhos)]
    return pd.DataFrame(rows).assign(given="query_norm")


@pytest.mark.parametrize(
    ("rhos", "said"),
    [
        ((-0.5, -0.52, -0.48), "which its interval over seeds tells from 0."),
        ((-0.5, 0.1, 0.3), "which its interval over seeds does not tell from 0."),
        ((-0.5,), "of which one run has no interval."),
        ((math.nan,), "nothing can be held."),
    ],
)
def test_what_key_norm_keeps_is_said_as_its_interval_says_it(rhos: tuple[float, ...], said: str) -> None:
    assert how_large.key_norm_given_query_norm({"small": questions(*rhos)}).endswith(said)


def test_means_have_an_interval_from_two_seeds_on() -> None:
    assert how_large.mean_and_interval(pd.Series([0.5])) == "0.50"
    assert how_large.mean_and_interval(pd.Series([math.nan])) == "undefined"
    assert how_large.mean_and_interval(pd.Series([0.5, 0.5])) == "0.50 (0.50 to 0.50)"


def test_both_nulls_in_one_sentence() -> None:
    rows = [{"claim": "C03", "width": width, "value": value} for width, value in ((math.nan, 2.0), (8.0, 1.25))]
    said = how_large.beyond_the_trend({"small": pd.DataFrame(rows)})
    assert said == "At small the spread is 2.00 times the free null's and 1.25 times the other's."
    assert "no gain" in how_large.beyond_the_trend({"small": pd.DataFrame(rows).assign(value=math.nan)})


def test_the_calm_in_words() -> None:
    table = pd.DataFrame(
        [
            {"measure": "norm", "base": -0.05, "control": 0.02},
            {"measure": "effective_rank", "base": -0.25, "control": -0.24},
        ]
    )
    said = how_large.calm_in_words({"large": table})
    assert "-5.0%" in said.split(". ")[0]
    assert said.endswith("change by +2.0%, and the rank by -24.0%.")
    assert how_large.calm_in_words({}).startswith("No control")


def test_power_in_words() -> None:
    said = how_large.power_in_words((8, 6, 4), 0.39)
    assert said.startswith("Two halves, five deviations apart, are found 99%")
    assert "nothing tells how alike" in how_large.power_in_words((1, 6, 4), math.nan)


def test_of_one_run_there_is_all_that_needs_no_other(tmp_path: Path, smoke_run: Run) -> None:
    scales = {"smoke": [smoke_run]}
    numbers = how_large.summary(smoke_run, scales)
    assert 0 <= numbers["effects_layers_percent"] <= 100
    assert numbers["effects_range_percent"] > 0
    splits = how_large.splits(scales)
    assert [name.split("\n")[0] for name in splits] == list(how_large.SPLITS)
    together = how_large.together(splits)
    assert together["share"].sum() == pytest.approx(len(splits))
    assert how_large.calm_tables(smoke_run, Sweep({}, ())) == {}
    frozen = write_run(tmp_path / "frozen", make_synthetic_config(qk_norm="frozen"))
    undefined = how_large.summary(frozen, {"synthetic": [frozen]})
    assert math.isnan(undefined["effects_onset_once"])
    assert math.isnan(undefined["effects_rho_all"])
    pair = Sweep({"baseline": {0: smoke_run}, "no_gain_decay": {0: smoke_run}}, ())
    (table,) = how_large.calm_tables(smoke_run, pair).values()
    assert table["base"].to_list() == table["control"].to_list()


def test_every_question_is_a_row_for_both_units(smoke_run: Run) -> None:
    table = how_large.question_table({"small": partial.over_runs([smoke_run])})
    assert table["unit"].to_list() == ["query heads"] * 5 + ["KV heads"] * 5
    assert set(table["held"]) == {"–", "query norm", "key norm"}
