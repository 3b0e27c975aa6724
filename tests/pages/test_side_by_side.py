"""The report's numbers beside a run whose numbers are known."""

import dataclasses
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import beside, divergence
from civilwar.pages import side_by_side
from civilwar.pages.sentences import large_number
from civilwar.plots import beside as draw
from civilwar.runs.reader import Run

STEPS, LAYERS = 40, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=64)
    snapshots = len(config.snapshot_steps())
    norms = np.full((STEPS + 1, LAYERS, 4), 8.0)
    # layer 2 is half way up: lowest at step 17, and heads that end apart
    norms[17, 2] = 6.5
    norms[-1, 2] = [9.0, 12.25, 10.0, 9.5]
    gain = np.ones((STEPS + 1, LAYERS, 64))
    gain[-1, 2, :2], gain[-1, 2, 2:] = 1.75, np.linspace(1.5, 0.25, 62)
    ranks = np.full((snapshots, 1, LAYERS, 1, 4), 20.0)
    ranks[-1, :, 1, :, 0], ranks[-1, :, 2, :, 0], ranks[-1, :, 2, :, 1] = 18.25, 11.5, 9.25
    entropy = np.full((snapshots, 1, LAYERS, 8), 4.0)
    # both query heads of the only loud KV head
    entropy[-1, :, 2, 2:4] = [3.0, 3.5]
    truth = Truth(gain=gain, norms=norms, ranks=ranks, entropy_report=entropy)
    return write_run(tmp_path_factory.mktemp("beside") / "known", config, truth)


def row(table: pd.DataFrame, starts: str) -> pd.Series:
    (found,) = [line for _, line in table.iterrows() if line["quantity"].startswith(starts)]
    return found


def test_our_numbers_by_the_report_s_definitions(run: Run) -> None:
    table = side_by_side.table(run)
    assert list(table.columns) == side_by_side.COLUMNS
    assert row(table, "key norm at the start")["ours"] == "8.00"
    assert row(table, "lowest key norm of layer 2")["ours"] == "6.50 at step 17"
    assert row(table, "key norms of layer 2 at the end")["ours"] == "12.2, 10.0, 9.5, 9.0"
    assert row(table, "participation ratio of layer 1 ")["ours"] == "18.2"
    middle = row(table, "participation ratio of layer 2 at the end (theirs: 11)")
    assert (middle["ours"], middle["report"]) == ("11.5", "11.4")
    assert row(table, "gains of layer 2")["ours"] == "0.25 to 1.75"
    # the report's points are KV heads, with the mean entropy of their query heads
    assert row(table, "entropy of KV heads with")["ours"] == "3.2 to 3.2; 1 of 16 heads"
    assert row(table, "entropy of all KV heads")["ours"] == "3.2 to 4.0"


def test_beside_them_stand_nulls_and_better_measures(run: Run) -> None:
    table = side_by_side.table(run)
    decay = float(divergence.decay_only(run.config, np.array(17)))
    assert row(table, "lowest key norm")["ours_better"] == f"{decay:.2f}"
    assert row(table, "participation ratio of layer 2 at the end (theirs: 11)")["ours_better"].endswith("; 9.2")
    # slow pairs were given the smaller gains
    assert float(row(table, "gains of layer 2")["ours_better"]) == pytest.approx(-1, abs=0.01)
    spread = np.std([9.0, 12.25, 10.0, 9.5], ddof=1)
    # the spread is recomputed from energies, which are equal here
    assert row(table, "key norms of layer 2")["ours_better"].startswith("0.00; chance ")
    assert spread > 1


def test_without_a_gain_nothing_is_made_up(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, qk_norm="none"))
    nothing = np.full((STEPS + 1, LAYERS, config.model.d_head), np.nan)
    norms = np.full((STEPS + 1, LAYERS, config.model.n_kv_heads), 5.0)
    table = side_by_side.table(write_run(tmp_path / "none", config, Truth(gain=nothing, norms=norms)))
    assert row(table, "gains of layer")[["ours", "ours_better"]].tolist() == ["no value", "no value"]
    assert row(table, "lowest key norm")["ours_better"] == "no value"
    assert row(table, "entropy of KV heads with")["ours"] == f"no such head; 0 of {4 * LAYERS} heads"


def test_what_differs_is_read_from_the_run(run: Run) -> None:
    ours = side_by_side.differences(run).set_index("what")["ours"]
    assert ours["layers"] == "4"
    assert ours["steps"] == "40"
    assert ours["tokens"] == large_number(run.config.n_tokens)
    assert "10 documents" in ours["corpus"]


def test_the_report_s_numbers_are_marked_in_its_colour(run: Run) -> None:
    norms = divergence.key_norms(run)
    ax = draw.norms(norms[norms["layer"] == 2], divergence.decay_only_curve(run), beside.REPORTED, plt.figure().gca())
    dip, ends = (collection.get_offsets().tolist() for collection in ax.collections)
    assert dip == [[90.0, 7.1]]
    assert ends == [[40.0, value] for value in (11.6, 10.5, 9.9, 9.7)]
    plt.close("all")
