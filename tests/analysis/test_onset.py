"""Onset over its threshold, on spreads that grow as told."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import divergence, onset
from civilwar.runs.reader import Run

HEADS = np.array([-1.0, -0.5, 0.5, 1.0])
SPREAD = float(HEADS.std(ddof=1))


def grown(path: Path, size: np.ndarray) -> Run:
    """Heads whose spread over a mean of 4 is ``size`` [step] times that of HEADS; batch noise is a hundredth."""
    config = make_synthetic_config(steps=len(size) - 1, n_layers=2)
    noise = 0.01 * np.random.default_rng(0).standard_normal((len(size), 2, 4))
    return write_run(path, config, Truth(norms=4 + size[:, None, None] * HEADS + noise))


def test_a_spread_that_grows_in_a_straight_line_has_an_onset_for_every_threshold(tmp_path: Path) -> None:
    run = grown(tmp_path / "line", np.linspace(0, 2, 201))
    thresholds = (0.05, 0.1, 0.2, 0.4)
    table = onset.onsets_over_thresholds(run, "norm", thresholds)
    # the spread is a hundredth of SPREAD more at every step
    expected = [4 * threshold / SPREAD / 0.01 for threshold in thresholds]
    assert table.groupby("threshold")["onset_step"].median().to_list() == pytest.approx(expected, abs=4)
    curve = onset.curve(run, "norm", thresholds)
    assert onset.steepness(curve) == pytest.approx(1, abs=0.1)
    assert (curve["parted"] == 1).all()


def test_a_spread_that_jumps_has_one_onset_whatever_the_threshold(tmp_path: Path) -> None:
    run = grown(tmp_path / "jump", np.where(np.arange(201) < 100, 0.0, 1.0))
    curve = onset.curve(run, "norm", (0.05, 0.1, 0.2))
    assert curve["onset"].to_list() == [100, 100, 100]
    assert onset.steepness(curve) == pytest.approx(0)


def test_once_the_noise_is_the_onset_of_phase_1(smoke_run: Run) -> None:
    table = onset.onsets_over_thresholds(smoke_run, "noise", (1.0,))
    theirs = divergence.onsets(smoke_run)
    assert table["onset_step"].to_numpy() == pytest.approx(theirs["onset_step"].to_numpy(), nan_ok=True)


def test_what_never_parts_is_null_and_counts_as_the_end(tmp_path: Path) -> None:
    run = grown(tmp_path / "never", np.linspace(0, 0.5, 101))
    assert onset.onsets_over_thresholds(run, "norm", (10.0,))["onset_step"].isna().all()
    curve = onset.curve(run, "norm", (0.01, 10.0))
    assert curve["onset"].to_list()[1] == 100
    assert curve["parted"].to_list() == [1, 0]
    assert math.isnan(onset.steepness(curve))
    frozen = write_run(tmp_path / "frozen", make_synthetic_config(qk_norm="frozen"))
    assert onset.curve(frozen, "noise").empty
    assert onset.curves([run], "norm")["run"].unique().tolist() == ["never"]
    assert onset.curves([], "noise").columns.to_list() == ["run", "seed", "threshold", "onset", "parted"]
    assert isinstance(onset.THRESHOLDS["noise"], tuple)
    assert pd.Series(onset.THRESHOLDS["noise"]).is_monotonic_increasing
