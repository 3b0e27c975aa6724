"""One run beside a sweep whose truth is known to be the other."""

import math
from pathlib import Path

import pandas as pd
import pytest

from civilwar import paths
from civilwar.evidence import claims, scales, tables
from civilwar.evidence.claims import Verdict
from civilwar.evidence.estimators import ESTIMATORS
from civilwar.pages import ledger
from civilwar.pages.ledger import rounded, shown_scale
from civilwar.recipe import plan
from civilwar.runs.collection import Sweep, open_sweep
from civilwar.runs.reader import Run

# one worker writes the sweeps
pytestmark = pytest.mark.xdist_group("sweeps")


@pytest.fixture
def right(sweeps: dict[str, Sweep]) -> Sweep:
    return sweeps["right"]


@pytest.fixture(name="verdicts")
def verdicts_on_the_right(verdicts: dict[str, dict[str, Verdict]]) -> list[Verdict]:
    return list(verdicts["right"].values())


@pytest.fixture
def other(sweeps: dict[str, Sweep]) -> Run:
    """One run of a world in which the report is wrong."""
    return sweeps["wrong"].baseline[0]


def test_a_run_of_the_sweep_falls_on_its_side_and_gives_the_number_it_gave_there(
    right: Sweep, verdicts: list[Verdict]
) -> None:
    table = scales.beside(verdicts, right.baseline[2]).set_index("criterion")
    per_seed = tables.per_seed_table(verdicts).set_index(["criterion", "seed"])["value"]
    seed = right.baseline[2].config.seed
    for name, row in table.iterrows():
        assert row["shown"] == pytest.approx(per_seed[name, seed]), name
    assert table["same_side"].isin([True, False]).all()
    assert table["same_side"].mean() > 0.9
    # what takes a control, all seeds or no run is not made up
    units = {ESTIMATORS[name].unit for name in table.index}
    assert units == {"run"}
    assert "dip_kept_without_decay" not in table.index
    assert "frequency_trend_shuffled" not in table.index


def test_a_run_of_another_world_falls_on_other_sides(verdicts: list[Verdict], other: Run) -> None:
    table = scales.beside(verdicts, other)
    different = scales.differing(table)
    assert len(different) >= 5
    assert set(different["same_side"]) == {False}
    numbers = scales.summary(table)
    assert numbers["scales_differ"] == len(different)
    assert numbers["scales_compared"] == len(table)
    assert "C10" in str(numbers["scales_differ_claims"])
    only = scales.beside(verdicts, other, {"C10"})
    assert set(only["id"]) == {"C10"}
    assert only.to_dict("list") == table[table["id"] == "C10"].to_dict("list")


def test_without_a_sweep_there_is_a_number_and_no_side(other: Run) -> None:
    table = scales.beside(claims.decide(Sweep({}, ())), other)
    assert len(table) > 40
    assert table["same_side"].isna().all()
    assert table["shown"].notna().all()
    assert scales.summary(table) == {"scales_compared": 0, "scales_differ": 0, "scales_differ_claims": "none"}


def test_beside_the_report_s_scale_stands_the_laptop_s_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path))
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    assert open_sweep("paper").config.preset == "laptop"
    assert open_sweep("smoke").config.preset == "smoke"
    assert open_sweep("paper").n_planned == len(plan.sweep("laptop"))


def test_numbers_are_written_by_their_size() -> None:
    assert [rounded(x) for x in (0.1234, -12.345, 123.4, math.nan)] == ["0.12", "\N{MINUS SIGN}12.3", "123", "–"]


def test_the_column_says_how_large_and_which_seed(other: Run) -> None:
    millions = other.config.model.n_parameters / 1e6
    assert shown_scale(other) == f"{millions:.1f} million parameters, seed {other.config.seed}"


def test_a_run_behind_the_page_is_listed_once(smoke_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[list[str], pd.DataFrame]] = []
    monkeypatch.setattr(ledger, "show_rows", lambda name, look, columns, rows, data: shown.append((list(rows), data)))
    ledger.show_runs([smoke_run, smoke_run])
    ((rows, data),) = shown
    assert len(rows) == 1
    assert data["run"].tolist() == [smoke_run.name]
