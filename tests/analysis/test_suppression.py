"""Amplified or turned down, on gains of which it is known."""

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import suppression
from civilwar.runs.reader import Run

PAIRS = 16


def with_pairs(path: Path, gains: np.ndarray) -> Run:
    """A run whose final gain has these values [layer, pair]; both entries of a pair are alike."""
    config = make_synthetic_config(d_head=2 * PAIRS, n_layers=len(gains), steps=20)
    gain = np.ones((21, len(gains), 2 * PAIRS))
    gain[1:] = np.repeat(gains, 2, axis=1)
    return write_run(path, config, Truth(gain=gain))


def test_slow_pairs_turned_down(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    fast = 1 + 0.02 * random.standard_normal((6, PAIRS // 2))
    slow = np.linspace(0.9, 0.5, PAIRS // 2) * np.ones((6, 1))
    table = suppression.by_layer(with_pairs(tmp_path / "run", np.hstack([fast, slow])))
    assert table["rho_slow"].to_numpy() == pytest.approx(np.full(6, -1))
    assert table["rho_fast"].abs().mean() < 0.4
    assert (table["rho_all"] < -0.7).all()
    assert (table["down"] > 3 * table["up"]).all()
    assert (table["slow_share"] > 0.99).all()


def test_fast_pairs_amplified(tmp_path: Path) -> None:
    gains = np.ones((2, PAIRS)) + 0.001 * np.arange(PAIRS)[::-1]
    gains[:, :2] = 2
    table = suppression.by_layer(with_pairs(tmp_path / "run", gains))
    assert (table["up"] > 0.9).all()
    assert (table["down"] < 0.01).all()
    # the golden ones are the two fastest pairs
    assert table["golden_auc_fast"].to_list() == [1, 1]


def test_where_frequency_says_nothing_of_gold(tmp_path: Path) -> None:
    gains = np.ones((1, PAIRS))
    gains[0, [0, 7]] = 2
    assert suppression.by_layer(with_pairs(tmp_path / "run", gains))["golden_auc_fast"][0] == pytest.approx(0.5)
    slow_gold = np.ones((1, PAIRS))
    slow_gold[0, 12] = 2
    assert math.isnan(suppression.by_layer(with_pairs(tmp_path / "slow", slow_gold))["golden_auc_fast"][0])


def test_profiles_are_over_each_layers_median(tmp_path: Path) -> None:
    gains = np.array([np.linspace(1.5, 0.5, PAIRS), 2 * np.linspace(1.5, 0.5, PAIRS)])
    run = with_pairs(tmp_path / "run", gains)
    table = suppression.profile([run])
    assert table["gain"].to_numpy() == pytest.approx(np.linspace(1.5, 0.5, PAIRS), rel=1e-5)
    assert table["low"].to_numpy() == pytest.approx(table["high"].to_numpy())
    assert table["wavelength"].is_monotonic_increasing
    assert suppression.over_runs([run])["rho_all"].to_list() == pytest.approx([-1])


def test_without_a_gain_there_are_no_rows(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_synthetic_config(qk_norm="frozen"))
    assert suppression.by_layer(run).empty
    assert suppression.profile([run]).empty
    assert suppression.over_runs([run])["rho_all"].isna().all()
