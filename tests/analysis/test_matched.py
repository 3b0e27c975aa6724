"""Two runs head by head: the null of other seeds, the null of dealt heads, and what cannot be compared."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis.matched import compare
from civilwar.errors import RunMismatch
from civilwar.runs.reader import Run

LAYERS, HEADS = 3, 4


def with_norms(path: Path, norms: np.ndarray, seed: int = 0) -> Run:
    """A run whose KV heads have these key norms throughout, [layer, kv_head]."""
    config = make_synthetic_config(steps=8, seed=seed)
    whole = np.broadcast_to(norms, (9, LAYERS, HEADS)).astype(float)
    return write_run(path, config, Truth(norms=whole))


@pytest.fixture
def heads() -> np.ndarray:
    return 8 + np.random.default_rng(0).normal(size=(LAYERS, HEADS))


def test_heads_are_matched_by_place(tmp_path: Path, heads: np.ndarray) -> None:
    a, b = with_norms(tmp_path / "a", heads), with_norms(tmp_path / "b", heads + 0.25)
    found = compare(a, b)
    norms = found[found["measure"] == "norm_mean"]
    assert len(norms) == LAYERS * HEADS
    np.testing.assert_allclose(norms["difference"], 0.25, atol=1e-5)
    np.testing.assert_allclose(norms.set_index(["layer", "head"])["a"].unstack(), heads, atol=1e-5)
    summary = found.summary().set_index("measure").loc["norm_mean"]
    assert summary["mean_size"] == pytest.approx(0.25, abs=1e-5)
    # places of the two runs are far more alike than heads of a layer
    assert summary["p"] < 0.01
    assert summary["null_size"] > 0.5


def test_other_places_match_no_better_than_chance(tmp_path: Path, heads: np.ndarray) -> None:
    other = 8 + np.random.default_rng(1).normal(size=(LAYERS, HEADS))
    found = compare(with_norms(tmp_path / "a", heads), with_norms(tmp_path / "b", other))
    assert found.summary().set_index("measure")["p"]["norm_mean"] > 0.05


def test_seeds_are_the_null_where_there_are_some(tmp_path: Path, heads: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(size=(3, LAYERS, HEADS), scale=0.1)
    seeds = [with_norms(tmp_path / f"seed{i}", heads + noise[i], seed=i + 1) for i in range(3)]
    shifted = heads.copy()
    shifted[1, 2] += 5
    found = compare(with_norms(tmp_path / "a", heads), with_norms(tmp_path / "b", shifted), seeds=seeds)
    norms = found[found["measure"] == "norm_mean"]
    assert norms[norms["beyond"]][["layer", "head"]].to_numpy().tolist() == [[1, 2]]
    assert (norms["high"] < 1).all()


def test_runs_of_other_shapes_are_refused(tmp_path: Path, heads: np.ndarray) -> None:
    other = write_run(tmp_path / "b", make_synthetic_config(steps=8, n_layers=2))
    with pytest.raises(RunMismatch, match="other layers or heads"):
        compare(with_norms(tmp_path / "a", heads), other)
