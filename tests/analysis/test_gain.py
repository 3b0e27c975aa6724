"""Phase 4's rules on gains that were made to break or to keep them."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import gain as gains
from civilwar.errors import RunError
from civilwar.recipe import rope
from civilwar.recipe.config import RunConfig
from civilwar.runs.reader import Run


def with_final_gain(path: Path, config: RunConfig, final: np.ndarray) -> Run:
    """From 1 straight to ``final`` [layer, d_head]."""
    share = np.linspace(0, 1, config.train.steps + 1)[:, None, None]
    return write_run(path, config, Truth(gain=1 + share * (final - 1)))


@pytest.mark.parametrize("qk_norm", ["frozen", "none"])
def test_a_run_without_a_learned_gain_is_refused_with_a_way_out(tmp_path: Path, qk_norm: str) -> None:
    run = write_run(tmp_path / "no-gain", make_synthetic_config(steps=4, qk_norm=qk_norm))
    with pytest.raises(RunError, match=r"no-gain .*learns no gain.*[Cc]hoose a variant.*baseline") as error:
        gains.require_gain(run)
    assert error.value.args[0].count("\n") == 0
    gains.require_gain(write_run(tmp_path / "gain", make_synthetic_config(steps=4)))


def test_gain_table_has_rank_and_wavelength_of_every_dimension(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=2, steps=4)
    gain = np.random.default_rng(0).uniform(0.5, 1.5, size=(5, 2, 16))
    table = gains.gain_table(write_run(tmp_path / "run", config, Truth(gain=gain)))
    assert len(table) == gain.size
    indexed = table.set_index(["step", "layer", "dimension"])
    assert indexed.loc[(3, 1, 6), "gain"] == np.float32(gain[3, 1, 6])
    # the pair of dimensions 6 and 7 is the fourth: wavelength 2 pi 10000^(6/16)
    assert indexed.loc[(3, 1, 6), "rank"] == indexed.loc[(3, 1, 7), "rank"] == 3
    assert indexed.loc[(3, 1, 7), "wavelength"] == pytest.approx(2 * math.pi * 10_000 ** (6 / 16))
    one = gains.gain_table(Run(tmp_path / "run"), [4])
    assert one["step"].unique().tolist() == [4]
    assert one["gain"].to_numpy() == pytest.approx(gain[4].ravel(), rel=1e-6)


def test_golden_is_above_mean_plus_one_and_a_half_deviations_of_its_layer(tmp_path: Path) -> None:
    final = np.ones((3, 16))
    final[0, [3, 9]] = 1.8
    # larger throughout than any golden entry of layer 0, but evenly so
    final[1] = np.linspace(2.0, 2.2, 16)
    final[2] = np.random.default_rng(0).gamma(4, 0.25, 16)
    threshold = final.mean(-1) + 1.5 * final.std(-1, ddof=1)
    run = with_final_gain(tmp_path / "run", make_synthetic_config(steps=4), final)
    table = gains.final_gain(run)
    golden = table.pivot(index="layer", columns="dimension", values="golden").to_numpy()
    assert np.flatnonzero(golden[0]).tolist() == [3, 9]
    assert (golden == (final > threshold[:, None])).all()
    assert 0 < golden[2].sum() < 16
    assert [len(gains.golden_dimensions(run, layer)) for layer in range(3)] == golden.sum(1).tolist()


@pytest.mark.parametrize("rope_order", ["standard", "shuffled"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_frequency_trend_recovers_a_planted_sign_through_the_runs_own_ranks(
    tmp_path: Path, rope_order: str, sign: int
) -> None:
    config = make_synthetic_config(d_head=64, steps=4, seed=3, rope_order=rope_order)
    ranks = rope.dimension_ranks(config.model, config.seed)
    assert (np.diff(ranks[0]) < 0).any() == (rope_order == "shuffled")
    final = 1 + sign * (0.01 * (ranks - 16) + 0.0)
    run = with_final_gain(tmp_path / "run", config, final)
    trend = gains.frequency_trend(run, draws=199)
    assert trend["rho"].to_numpy() == pytest.approx(np.full(3, float(sign)))
    assert trend["p"].to_list() == [1 / 200] * 3
    # 95% of Spearman's coefficient over 32 pairs: about 1.96 / sqrt(31)
    assert trend["null_high"].to_numpy() == pytest.approx(np.full(3, 0.352), abs=0.07)
    assert trend["null_low"].to_numpy() == pytest.approx(np.full(3, -0.352), abs=0.07)
    profile = gains.pair_gains(run)
    assert len(profile) == 3 * 32
    by_rank = profile.sort_values("rank").groupby("layer")["gain"]
    assert (sign * by_rank.diff().dropna() > 0).all()
    # the same gains read in index order say something else when frequencies are shuffled
    by_index = stats.spearmanr(np.arange(64), final[0]).statistic
    assert (abs(by_index) > 0.9) == (rope_order == "standard")


def test_the_gain_of_a_pair_is_the_root_mean_square_of_its_two(tmp_path: Path) -> None:
    config = make_synthetic_config(steps=4, seed=5, rope_order="shuffled")
    run = with_final_gain(tmp_path / "run", config, np.tile([1.0, 7.0], (3, 8)))
    pairs = gains.pair_gains(run)
    assert list(pairs.columns) == ["layer", "pair", "rank", "wavelength", "gain"]
    assert pairs["gain"].to_numpy() == pytest.approx(np.full(3 * 8, 5.0))
    # a turn of the pair moves its energy between the two and leaves the sum
    places = pairs[pairs["layer"] == 2].set_index("pair")["rank"]
    assert places.tolist() == rope.pair_ranks(config.model, config.seed)[2].tolist()


def test_heat_orders_rows_by_index_or_by_frequency(tmp_path: Path) -> None:
    config = make_synthetic_config(steps=4, seed=5, rope_order="shuffled")
    ranks = rope.dimension_ranks(config.model, config.seed)
    run = with_final_gain(tmp_path / "run", config, 1 + 0.1 * ranks)
    by_index, by_frequency = gains.heat(run, 1, False), gains.heat(run, 1, True)
    assert by_index.index.tolist() == list(range(16))
    assert by_index.columns.tolist() == list(range(5))
    assert by_index[4].to_numpy() == pytest.approx(1 + 0.1 * ranks[1], rel=1e-6)
    assert by_frequency[4].to_numpy() == pytest.approx(np.sort(1 + 0.1 * ranks[1]), rel=1e-6)
    assert sorted(by_frequency.index) == list(range(16))
    assert gains.largest_deviation(run) == pytest.approx(0.7, rel=1e-5)


def test_frequency_trend_holds_its_level_without_a_trend(tmp_path: Path) -> None:
    config = make_synthetic_config(d_head=64, n_layers=150, steps=1)
    final = np.random.default_rng(6).normal(1, 0.2, size=(150, 64))
    trend = gains.frequency_trend(with_final_gain(tmp_path / "run", config, final), draws=199)
    assert stats.kstest(trend["p"], "uniform").pvalue > 0.01
    assert 0 < (trend["p"] < 0.05).sum() < 18


def test_a_flat_gain_has_no_trend_no_direction_and_no_likeness(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_synthetic_config(steps=6))
    trend = gains.frequency_trend(run, draws=19)
    assert trend[["rho", "p"]].isna().all(axis=None)
    assert gains.settling(run)["cosine"].isna().all()
    assert gains.settle_steps(run)["settle_step"].isna().all()
    alike = gains.likeness(run)
    assert alike["raw"].to_numpy() == pytest.approx(np.ones(3))
    assert alike[["centred", "detrended"]].isna().all(axis=None)


def test_a_random_walk_scores_the_root_of_time(tmp_path: Path) -> None:
    steps = 100
    config = make_synthetic_config(d_head=64, n_layers=80, steps=steps)
    increments = 0.01 * np.random.default_rng(7).standard_normal((steps + 1, 80, 64))
    increments[0] = 0
    walk = gains.settling(write_run(tmp_path / "walk", config, Truth(gain=1 + increments.cumsum(0))))
    assert walk.loc[walk["step"] == 0, "cosine"].isna().all()
    by_step = walk.groupby("step")[["cosine", "random_walk"]].mean()
    assert by_step["random_walk"].to_numpy() == pytest.approx(np.sqrt(np.arange(steps + 1) / steps))
    # the standard error over 80 walks in 63 dimensions is 1 / sqrt(80 * 63) = 0.014
    assert (by_step["cosine"] - by_step["random_walk"]).iloc[1:].abs().max() < 0.05
    settled = gains.settle_steps(Run(tmp_path / "walk"))
    assert settled["random_walk_step"].unique().tolist() == [0.95**2 * steps]
    assert settled["settle_step"].mean() == pytest.approx(0.95**2 * steps, abs=3)


def test_a_gain_that_knows_where_it_goes_settles_at_once(tmp_path: Path) -> None:
    config = make_synthetic_config(d_head=64, n_layers=2, steps=50)
    random = np.random.default_rng(8)
    directions = random.standard_normal((2, 2, 64))
    directions -= directions.mean(-1, keepdims=True)
    step = np.arange(51)[:, None]
    # the level falls all the while, as decay makes it, which centring must take out
    gain = (1 - 0.004 * step)[..., None] + np.zeros((51, 2, 64))
    gain[:, 0] += 0.01 * step * directions[0, 0]
    # layer 1 goes one way, and from step 20 on another
    gain[:, 1] += 0.01 * np.minimum(step, 20) * directions[1, 0] + 0.05 * np.maximum(0, step - 20) * directions[1, 1]
    run = write_run(tmp_path / "run", config, Truth(gain=gain))
    settled = gains.settle_steps(run).set_index("layer")["settle_step"]
    assert settled[0] == 1
    assert 20 < settled[1] < 50
    table = gains.settling(run).set_index(["step", "layer"])["cosine"]
    a, b = (gain[10, 1] - gain[10, 1].mean(), gain[50, 1] - gain[50, 1].mean())
    assert table[10, 1] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    assert table[50, 1] == pytest.approx(1)


@pytest.mark.parametrize("rope_order", ["standard", "shuffled"])
def test_likeness_from_a_common_frequency_trend_goes_when_the_trend_goes(tmp_path: Path, rope_order: str) -> None:
    config = make_synthetic_config(d_head=64, n_layers=6, steps=1, rope_order=rope_order)
    random = np.random.default_rng(9)
    ranks = rope.dimension_ranks(config.model, config.seed)
    final = 1.4 - 0.6 * (ranks / 31) ** 2 + 0.05 * random.standard_normal((6, 64))
    table = gains.likeness(with_final_gain(tmp_path / "run", config, final))
    assert len(table) == 15
    assert (table["layer"] < table["other"]).all()
    assert table["raw"].min() > 0.9
    assert table["detrended"].abs().mean() < 0.15
    if rope_order == "standard":
        assert table["centred"].min() > 0.85
    else:
        # each layer has an order of its own: no common dimension, though each has the trend
        assert table["centred"].abs().mean() < 0.3
    a, b = final[0], final[5]
    row = table[(table["layer"] == 0) & (table["other"] == 5)].iloc[0]
    assert row["raw"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-4)
    assert row["centred"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)


def test_likeness_beyond_frequency_survives_detrending(tmp_path: Path) -> None:
    config = make_synthetic_config(d_head=64, n_layers=4, steps=1)
    random = np.random.default_rng(10)
    common = 0.2 * random.standard_normal(64)
    final = 1 + common + 0.05 * random.standard_normal((4, 64))
    table = gains.likeness(with_final_gain(tmp_path / "run", config, final))
    assert table["detrended"].min() > 0.8


def test_likeness_null_bounds_the_mean_of_unrelated_layers(tmp_path: Path) -> None:
    config = make_synthetic_config(d_head=64, n_layers=4, steps=1)
    random = np.random.default_rng(11)
    runs = [
        with_final_gain(tmp_path / f"run{repeat}", config, random.normal(1, 0.2, size=(4, 64))) for repeat in range(40)
    ]
    means = np.array([gains.likeness(run)["centred"].mean() for run in runs])
    bounds = [gains.likeness_null(run, draws=199)["centred_high"] for run in runs[:4]]
    assert np.ptp(bounds) < 0.08
    assert 0.04 < np.mean(bounds) < 0.2
    # one-sided 2.5%: at most 5 of 40 but for one time in a thousand
    assert (means > np.mean(bounds)).sum() <= 5


def test_summary_repeats_the_tables(tmp_path: Path) -> None:
    config = make_synthetic_config(d_head=64, steps=10)
    final = np.random.default_rng(12).normal(1, 0.2, size=(3, 64))
    run = with_final_gain(tmp_path / "run", config, final)
    trend, settled, alike = gains.frequency_trend(run, draws=19), gains.settle_steps(run), gains.likeness(run)
    summary = gains.summary(run, trend, settled, alike)
    assert summary["gain_min"] == pytest.approx(final.min(), rel=1e-6)
    assert summary["gain_max"] == pytest.approx(final.max(), rel=1e-6)
    assert summary["n_golden"] == sum(len(gains.golden_dimensions(run, layer)) for layer in range(3)) > 0
    assert summary["n_dimensions"] == 192
    assert summary["gain_rope_rho_min"] == trend["rho"].min()
    assert summary["settle_step_max"] == settled["settle_step"].max()
    assert summary["gain_likeness_centred"] == pytest.approx(alike["centred"].mean())
    assert all(type(value) in (int, float) for value in summary.values())
