"""What compression predicts and decay does not, on runs in which one or the other is true."""

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import RANKS, Truth, make_synthetic_config, write_run

from civilwar.analysis import compression
from civilwar.runs.reader import Run

STEPS, LOWEST = 128, 32


def falling(path: Path, falls: bool, squeezed: np.ndarray) -> Run:
    """Layer-mean norms that are lowest at step 32, or rise; ranks that fall by the share ``squeezed`` [layer] until then."""
    config = make_synthetic_config(steps=STEPS, n_layers=len(squeezed))
    step = np.arange(STEPS + 1)
    depth = np.linspace(0.5, 1.5, len(squeezed)) * (1 if falls else -0.1)
    course = np.interp(step, [0, LOWEST, STEPS], [0, -1, 1])
    norms = 4 + course[:, None, None] * depth[:, None] * np.ones(4)
    snapshots = np.array(config.snapshot_steps())
    share = 1 - np.interp(snapshots, [0, LOWEST], [0, 1])[:, None] * squeezed
    ranks = 12 * np.broadcast_to(share[:, None, :, None, None], (len(snapshots), 4, len(squeezed), 4, len(RANKS)))
    return write_run(path, config, Truth(norms=norms, ranks=ranks))


def test_the_calm_ends_where_norms_are_lowest(tmp_path: Path) -> None:
    run = falling(tmp_path / "run", True, np.full(4, 0.2))
    assert compression.calm_end(run) == LOWEST
    changes = compression.changes(run, LOWEST)
    assert changes["norm"].to_numpy() == pytest.approx(-np.linspace(0.5, 1.5, 4) / 4)
    assert changes["effective_rank"].to_numpy() == pytest.approx(np.full(4, -0.2))
    # a synthetic run's cosines stay as they are
    assert changes["key_cosine"].to_numpy() == pytest.approx(np.zeros(4))


def test_a_squeeze_that_needs_no_decay_is_the_same_in_the_control(tmp_path: Path) -> None:
    base = falling(tmp_path / "base", True, np.full(4, 0.25))
    control = falling(tmp_path / "control", False, np.full(4, 0.25))
    table = compression.over_pairs([(base, control)]).set_index("measure")
    assert table.loc["norm", "base"] < -0.2 < 0 < table.loc["norm", "control"]
    assert table.loc["effective_rank", "base"] == pytest.approx(table.loc["effective_rank", "control"])
    assert compression.over_pairs([]).empty


def test_layers_that_fall_most_are_squeezed_most_or_not(tmp_path: Path) -> None:
    with_norm = falling(tmp_path / "with", True, np.array([0.1, 0.2, 0.3, 0.4]))
    assert compression.fall_with_rank(with_norm) == pytest.approx(1)
    against = falling(tmp_path / "against", True, np.array([0.4, 0.3, 0.2, 0.1]))
    assert compression.fall_with_rank(against) == pytest.approx(-1)
    assert math.isnan(compression.fall_with_rank(falling(tmp_path / "two", True, np.array([0.1, 0.2]))))


def test_of_a_trained_run_every_measure_is_there(smoke_run: Run) -> None:
    table = compression.measures(smoke_run)
    assert set(table["measure"]) == set(compression.PREDICTED)
    assert sorted(table["step"].unique()) == smoke_run.snapshots
    assert table["value"].notna().all()
