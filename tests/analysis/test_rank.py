"""Phase 3's measures and nulls against closed forms and the torch metrics."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import RANKS, Truth, make_synthetic_config, write_run

from civilwar.analysis import rank
from civilwar.analysis.statistics import generator
from civilwar.measure import metrics
from civilwar.runs.reader import Run


def test_isotropic_null_of_64_dimensions() -> None:
    """C09: mean of ratios 22.7, ratio of means (64 + 2) / 3 = 22; covariance ratio 1 / (1 / d + 1 / n)."""
    n, d = 2048, 64
    null = rank.isotropic_null(n, np.ones(d))
    assert set(null) == set(rank.MEASURES) == set(RANKS)
    assert null["coordinate_participation_ratio"] == pytest.approx(22.7, abs=0.1)
    assert null["participation_ratio"] == pytest.approx(1 / (1 / d + 1 / n), rel=0.005)
    # Marchenko and Pastur: the largest eigenvalue of n draws in d dimensions
    assert null["stable_rank"] == pytest.approx(d / (1 + math.sqrt(d / n)) ** 2, rel=0.03)
    assert null["participation_ratio"] < null["effective_rank"] < d
    keys = rank._directions(generator(0), 4000, d)
    assert np.linalg.norm(keys, axis=1) == pytest.approx(np.full(4000, 8.0))
    squared = np.square(keys)
    assert (squared.sum(1) ** 2).mean() / np.square(squared).sum(1).mean() == pytest.approx((d + 2) / 3, rel=0.005)


@pytest.mark.parametrize("gain", ["flat", "uneven"])
def test_score_agrees_with_the_torch_metrics(gain: str) -> None:
    random = np.random.default_rng(0)
    keys = random.standard_normal((200, 16)) * (np.ones(16) if gain == "flat" else np.geomspace(0.1, 4, 16)) + 0.5
    tensor = torch.from_numpy(keys).float()
    spectrum = metrics.covariance_spectrum(tensor)
    expected = {
        "coordinate_participation_ratio": metrics.coordinate_participation_ratio(tensor).mean(),
        "participation_ratio": metrics.participation_ratio(spectrum),
        "effective_rank": metrics.effective_rank(spectrum),
        "stable_rank": metrics.stable_rank(spectrum),
    }
    score = rank._score(keys)
    assert score == {name: pytest.approx(float(value), rel=1e-4) for name, value in expected.items()}


def test_score_of_a_flat_cloud_counts_its_directions() -> None:
    """Equal variance along 3 of 16 axes: every covariance measure is 3, whatever the axes."""
    basis = np.concatenate([np.eye(3), -np.eye(3)])
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))
    keys = basis @ turn[:3]
    score = rank._score(keys)
    for measure in ("participation_ratio", "stable_rank"):
        assert score[measure] == pytest.approx(3)
    # 13 eigenvalues of rounding size, of which the square root is taken
    assert score["effective_rank"] == pytest.approx(3, rel=1e-5)
    assert rank._score(np.pad(basis, ((0, 0), (0, 13))))["coordinate_participation_ratio"] == pytest.approx(1)


def test_the_null_falls_when_the_gain_is_uneven_and_ignores_its_scale() -> None:
    flat = rank.isotropic_null(256, np.ones(32))
    uneven = rank.isotropic_null(256, np.geomspace(0.3, 3, 32))
    scaled = rank.isotropic_null(256, np.full(32, 2.5))
    for measure in rank.MEASURES:
        assert uneven[measure] < 0.85 * flat[measure]
        assert scaled[measure] == pytest.approx(flat[measure])
    assert rank.isotropic_null(256, np.ones(32)) == flat
    assert rank.isotropic_null(256, np.ones(32), key=1) != flat


def test_shown_layers_are_the_reports() -> None:
    assert rank.shown_layers(22) == {"early": 1, "middle": 11, "late": 20}
    assert rank.shown_layers(6) == {"early": 1, "middle": 3, "late": 4}
    assert set(rank.shown_layers(1).values()) == {0}
    assert all(0 <= layer < 2 for layer in rank.shown_layers(2).values())


def known_ranks(path: Path, gain: np.ndarray | None = None, **changes: str) -> tuple[Run, np.ndarray]:
    config = make_synthetic_config(steps=20, **changes)
    n = len(config.snapshot_steps())
    ranks = np.random.default_rng(2).uniform(1, 16, size=(n, 4, 3, 4, 4))
    return write_run(path, config, Truth(ranks=ranks, gain=gain)), ranks


def test_over_time_texts_and_heads_are_averaged(tmp_path: Path) -> None:
    run, ranks = known_ranks(tmp_path / "run")
    heads = rank.ranks_over_time(run).set_index(["step", "layer", "kv_head", "measure"])["value"]
    means = rank.layer_means(run).set_index(["step", "layer", "measure"])["value"]
    for at, step in enumerate(run.config.snapshot_steps()):
        for i, measure in enumerate(RANKS):
            assert heads[step, 2, 3, measure] == pytest.approx(ranks[at, :, 2, 3, i].mean(), rel=1e-6)
            assert means[step, 1, measure] == pytest.approx(ranks[at, :, 1, :, i].mean(), rel=1e-6)
    assert len(heads) == len(run.config.snapshot_steps()) * 3 * 4 * 4


def test_null_over_time_follows_each_layers_own_gain(tmp_path: Path) -> None:
    step = np.arange(21)[:, None, None]
    unevenness = np.array([0.0, 0.5, 1.0])[None, :, None] * step / 20
    gain = np.exp(unevenness * np.linspace(-1, 1, 16))
    run, _ = known_ranks(tmp_path / "run", gain)
    null = rank.null_over_time(run).set_index(["step", "layer", "measure"])["value"]
    flat = rank.isotropic_null(run.config.model.context, np.ones(16))
    for measure in rank.MEASURES:
        assert null[0, 2, measure] == pytest.approx(flat[measure])
        assert null[20, 0, measure] == pytest.approx(flat[measure])
        assert null[20, 2, measure] < null[20, 1, measure] < null[20, 0, measure]
        by_step = null.xs((2, measure), level=("layer", "measure"))
        assert (by_step.diff().dropna() < 0).all()


def test_ends_pairs_start_and_end_with_both_nulls(tmp_path: Path) -> None:
    gain = np.ones((21, 3, 16))
    gain[-1] = np.geomspace(0.3, 3, 16)
    run, ranks = known_ranks(tmp_path / "run", gain)
    ends = rank.ends(run)
    assert list(ends.columns) == ["layer", "measure", "start", "end", "null_gain", "null_isotropic"]
    assert len(ends) == 12
    at = ends.set_index(["layer", "measure"]).loc[(1, "stable_rank")]
    assert at["start"] == pytest.approx(ranks[0, :, 1, :, 3].mean(), rel=1e-6)
    assert at["end"] == pytest.approx(ranks[-1, :, 1, :, 3].mean(), rel=1e-6)
    context = run.config.model.context
    assert at["null_gain"] == pytest.approx(rank.isotropic_null(context, gain[-1, 1].astype(np.float32))["stable_rank"])
    assert at["null_isotropic"] == rank.isotropic_null(context, np.ones(16))["stable_rank"]

    lowest = rank.lowest_layer(ends)
    for i, measure in enumerate(RANKS):
        assert lowest[measure] == ranks[-1, ..., i].mean(axis=(0, 2)).argmin()
    wide = rank.wide(ends)
    assert len(wide) == 3
    assert wide.set_index("layer")["stable rank end"][1] == at["end"]
    assert wide.set_index("layer")["stable rank null"][1] == at["null_gain"]

    summary = rank.summary(run, ends)
    assert summary["coordinate_pr_start"] == pytest.approx(ranks[0, ..., 0].mean(), rel=1e-6)
    of_lowest = ends[(ends["measure"] == "coordinate_participation_ratio") & (ends["layer"] == lowest[RANKS[0]])]
    assert summary["coordinate_pr_end_min"] == of_lowest["end"].iloc[0]
    assert summary["coordinate_pr_end_null"] == of_lowest["null_gain"].iloc[0]
    assert summary["covariance_pr_end_max"] == pytest.approx(ranks[-1, ..., 1].mean(axis=(0, 2)).max(), rel=1e-6)


def test_without_a_gain_its_null_is_null(tmp_path: Path) -> None:
    run, ranks = known_ranks(tmp_path / "run", np.full((21, 3, 16), math.nan), qk_norm="none")
    assert rank.null_over_time(run).empty
    ends = rank.ends(run)
    assert ends["null_gain"].isna().all()
    assert ends[["start", "end", "null_isotropic"]].notna().all(axis=None)
    assert rank.wide(ends)["covariance null"].isna().all()
    summary = rank.summary(run, ends)
    assert math.isnan(summary["coordinate_pr_end_null"])
    assert summary["covariance_pr_end_min"] == pytest.approx(ranks[-1, ..., 1].mean(axis=(0, 2)).min(), rel=1e-6)
