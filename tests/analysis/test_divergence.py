"""Phase 1's numbers on runs whose truth is known."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import Truth, flat_norm, keys_like, make_synthetic_config, write_run

from civilwar.analysis import divergence
from civilwar.analysis.statistics import generator
from civilwar.runs.reader import Run
from civilwar.runs.schema import ARRAYS, OWN_TABLES


def test_synthetic_runs_have_the_tables_and_columns_of_trained_ones(tmp_path: Path, smoke_run: Run) -> None:
    made = write_run(tmp_path / "made", smoke_run.config)
    for name in OWN_TABLES:
        theirs, ours = smoke_run.table(name), made.table(name)
        assert set(theirs.columns) == set(ours.columns), name
        # which kinds of heads there are, and what their texts tell apart, is the model's and the corpus's business
        if name not in ("ablation", "head_content"):
            assert len(theirs) == len(ours), name
    for name in ARRAYS:
        theirs, ours = smoke_run.array(name), made.array(name)
        assert {key: value.shape for key, value in theirs.items()} == {key: value.shape for key, value in ours.items()}


def test_trained_norms_obey_the_identity_and_the_bounds(smoke_run: Run) -> None:
    """The root of sum_j g_j^2 E_j is the RMS norm over tokens, recomputed from mean and deviation of the norms."""
    gain, energy = smoke_run.array("gain")["k_gain"], smoke_run.array("energy")["energy"]
    table = smoke_run.table("step_kv_heads")
    # the recorded deviation divides by n - 1
    n = smoke_run.config.tokens_per_step
    mean_square = table["norm_mean"] ** 2 + table["norm_std"] ** 2 * (n - 1) / n
    implied = np.einsum("sld,slhd->slh", gain.astype(float) ** 2, energy.astype(float))
    assert mean_square.to_numpy() == pytest.approx(implied.ravel(), rel=1e-4)
    merged = divergence.key_norms(smoke_run).merge(divergence.gain_bounds(smoke_run), on=["step", "layer"])
    assert len(merged) == len(table)
    # the norm's epsilon takes up to 5e-5 of a short key
    assert (merged["lower"] <= merged["norm"] * (1 + 1e-4)).all()
    assert (merged["norm"] <= merged["upper"] * (1 + 1e-5)).all()
    assert (merged["upper"] - merged["lower"])[merged["step"] > 5].min() > 0.001


def test_bounds_are_the_extreme_gains(tmp_path: Path) -> None:
    config = make_synthetic_config(steps=4, n_layers=2)
    gain = np.random.default_rng(0).uniform(-2, 2, size=(5, 2, 16))
    run = write_run(tmp_path / "bounds", config, Truth(gain=gain))
    bounds = divergence.gain_bounds(run).set_index(["step", "layer"])
    for step, layer in ((0, 0), (3, 1)):
        size = 4 * np.abs(gain[step, layer])
        assert bounds.loc[(step, layer)].to_list() == pytest.approx([size.min(), size.max()])
    # the bound is reached by a key that has all its energy on one dimension
    energy = np.zeros((5, 2, 4, 16))
    np.put_along_axis(energy, np.abs(gain).argmax(-1)[:, :, None, None].repeat(4, 2), 16.0, axis=-1)
    at_bound = divergence.key_norms(write_run(tmp_path / "at", config, Truth(gain=gain, energy=energy)))
    at_bound = at_bound.merge(bounds.reset_index(), on=["step", "layer"])
    assert at_bound["norm"].to_numpy() == pytest.approx(at_bound["upper"].to_numpy())


def test_middle_layer_is_the_reports_eleventh_of_22() -> None:
    assert divergence.middle_layer(make_synthetic_config(n_layers=22)) == 11
    assert divergence.middle_layer(make_synthetic_config(n_layers=6)) == 3


def test_decay_only_is_what_adamw_does_to_a_gain_that_learns_nothing() -> None:
    """C02: lr 0.006 and decay 0.2 predict 8 (1 - 0.0012)^100 = 7.0949 at step 100."""
    config = make_synthetic_config(d_head=64)
    assert divergence.decay_only(config, np.array([0, 1, 100])) == pytest.approx([8, 8 * 0.9988, 7.0949], abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "level"),
    [({"gain_weight_decay": 0.0}, 4.0), ({"qk_norm": "frozen"}, 4.0), ({"qk_norm": "none"}, math.nan)],
)
def test_decay_only_is_flat_where_nothing_decays_and_null_where_there_is_no_norm(
    tmp_path: Path, changes: dict[str, float | str], level: float
) -> None:
    config = make_synthetic_config(steps=20, **changes)
    run = write_run(tmp_path / "run", config)
    curve = divergence.decay_only_curve(run)
    assert curve.index.tolist() == list(range(21))
    assert curve.to_numpy() == pytest.approx(np.full(21, level), nan_ok=True)
    assert divergence.dips(run)["decay_only_norm"].to_numpy() == pytest.approx(np.full(3, level), nan_ok=True)


def noisy_norms(config, random: np.random.Generator, noise: float = 0.02) -> np.ndarray:
    """Equal heads: the layer's common path, and independent batch noise."""
    shape = (config.train.steps + 1, config.model.n_layers, config.model.n_kv_heads)
    common = flat_norm(config) + 0.3 * np.cumsum(random.standard_normal(shape[:2]), axis=0)[..., None]
    return common + noise * random.standard_normal(shape)


def test_dips_finds_each_layers_minimum_beside_decay_alone(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=3)
    step = np.arange(61)[:, None, None]
    lowest = np.array([10, 25, 60])[None, :, None]
    norms = 3.5 + 0.001 * (step - lowest) ** 2 + np.array([-0.3, -0.1, 0.1, 0.3])
    table = divergence.dips(write_run(tmp_path / "dips", config, Truth(norms=norms))).set_index("layer")
    assert table["dip_step"].to_list() == [10, 25, 60]
    assert table["dip_norm"].to_numpy() == pytest.approx([3.5] * 3)
    assert table["decay_only_norm"].to_numpy() == pytest.approx(4 * 0.9988 ** np.array([10, 25, 60]))
    assert table["start_norm"].to_numpy() == pytest.approx([3.6, 4.125, 7.1])
    assert table["end_norm"].to_numpy() == pytest.approx([6.0, 4.725, 3.5])


def test_departures_are_where_a_layer_leaves_decay_for_good(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=3, steps=60)
    step = np.arange(61)[:, None, None]
    away = np.concatenate([0.012 * np.maximum(0, step - 20), 0 * step, 0.3 * ((step > 10) & (step < 40))], axis=1)
    norms = divergence.decay_only(config, step) + away + np.array([-0.3, -0.1, 0.1, 0.3])
    table = divergence.departures(write_run(tmp_path / "run", config, Truth(norms=norms))).set_index("layer")
    assert table["departure_step"][0] == 25
    assert table["departure_step"].isna().to_list() == [False, True, True]


def test_the_batch_noise_threshold_holds_its_level(tmp_path: Path) -> None:
    """Heads that are equal but for noise exceed the 99% threshold at about 1% of steps, whatever moves them together."""
    config = make_synthetic_config(n_layers=6, steps=400)
    random = np.random.default_rng(4)
    exceeded = []
    for repeat in range(4):
        run = write_run(tmp_path / f"equal{repeat}", config, Truth(norms=noisy_norms(config, random)))
        table = divergence.spreads(run)
        exceeded.append((table["spread"] > table["noise"]).mean())
        factor = math.sqrt(stats.chi2.ppf(0.99, 3) / 3)
        assert (table["noise"] / factor).to_numpy() == pytest.approx(np.full(len(table), 0.02), rel=0.12)
    assert 0.005 < np.mean(exceeded) < 0.017


def test_spread_is_the_deviation_between_heads(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=1, steps=3)
    norms = np.array([[[4.0, 4, 4, 4]], [[1, 2, 3, 4]], [[5, 5, 5, 9]], [[2, 4, 2, 4]]])
    table = divergence.spreads(write_run(tmp_path / "run", config, Truth(norms=norms)))
    assert table["spread"].to_numpy() == pytest.approx(norms[:, 0].std(axis=-1, ddof=1))


def test_onset_is_found_where_it_was_planted_and_nowhere_else(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=3, steps=200)
    random = np.random.default_rng(5)
    norms = noisy_norms(config, random)
    step = np.arange(201)[:, None]
    parting = np.maximum(0, step - 80) * 0.03 * np.array([-1.0, -0.4, 0.5, 0.9])
    norms[:, 1] += parting
    # a parting that ends again is no onset
    norms[:, 2] += np.where(step < 150, parting, 0)
    # the last step of an equal layer exceeds its threshold once in a hundred runs: not in this one
    table = divergence.onsets(write_run(tmp_path / "run", config, Truth(norms=norms))).set_index("layer")
    assert 80 < table["onset_step"][1] <= 90
    assert table["end_spread"][1] == pytest.approx(norms[-1, 1].std(ddof=1))
    assert math.isnan(table["onset_step"][0])
    assert math.isnan(table["onset_step"][2])


def test_permute_pairs_deals_whole_pairs() -> None:
    values = np.arange(16.0) ** 2
    dealt = divergence.permute_pairs(values, generator(0), 500)
    assert dealt.shape == (500, 16)
    pairs = {tuple(pair) for pair in values.reshape(-1, 2)}
    for row in dealt:
        assert {tuple(pair) for pair in row.reshape(-1, 2)} == pairs
    # every pair turns up in every place about equally often
    first = pd.Series(dealt[:, 0]).value_counts()
    assert len(first) == 8
    assert first.min() > 35


def test_alignment_is_uniform_under_exchangeable_energy(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=120, steps=2)
    random = np.random.default_rng(6)
    gain = np.ones((3, 120, 16))
    gain[1:] = random.uniform(0.5, 1.8, size=(2, 120, 16))
    energy = keys_like(random, (3, 120, 4, 16))
    table = divergence.alignment(write_run(tmp_path / "run", config, Truth(gain=gain, energy=energy)), [2], draws=199)
    assert len(table) == 120
    assert stats.kstest(table["p"], "uniform").pvalue > 0.01
    assert 0.42 < table["p"].mean() < 0.58
    assert 1 <= divergence.n_aligned(table) <= 14
    assert (table["null_low"] <= table["null_median"]).all()
    assert (table["null_median"] <= table["null_high"]).all()
    inside = table["spread"].between(table["null_low"], table["null_high"]).mean()
    assert 0.88 < inside <= 1


def test_alignment_finds_heads_whose_energy_sits_on_high_and_low_gain(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=2, steps=2)
    random = np.random.default_rng(7)
    pair_gain = np.linspace(0.5, 1.8, 8)
    gain = np.ones((3, 2, 16))
    gain[1:] = np.repeat(random.permuted(np.tile(pair_gain, (2, 1)), axis=1), 2, axis=1)
    energy = np.ones((3, 2, 4, 16))
    # layer 1: two heads on the high half of the gain, two on the low; layer 0: the same energies, off the gain
    for layer, order in ((0, random.permutation(16)), (1, np.arange(16))):
        high = (gain[1, layer] > 1.15)[order]
        energy[:, layer, :2] = np.where(high, 1.9, 0.1)
        energy[:, layer, 2:] = np.where(high, 0.1, 1.9)
    run = write_run(tmp_path / "run", config, Truth(gain=gain, energy=energy))
    table = divergence.alignment(run, draws=999).set_index(["step", "layer"])
    # 70 ways to choose the high half, 2 of them as far apart as this
    assert table.loc[(2, 1), "p"] < 0.06
    assert table.loc[(2, 1), "spread"] == pytest.approx(table.loc[(2, 1), "null_high"], rel=0.05)
    assert table.loc[(2, 0), "p"] > 0.1
    spread = np.sqrt(np.einsum("hd,d->h", energy[2, 1], gain[2, 1] ** 2)).std(ddof=1)
    assert table.loc[(2, 1), "spread"] == pytest.approx(spread, rel=1e-5)


def test_alignment_p_is_minimal_when_no_permutation_does_better(tmp_path: Path) -> None:
    config = make_synthetic_config(d_head=64, n_layers=1, steps=1)
    pair_gain = np.geomspace(0.3, 3, 32)
    gain = np.stack([np.ones((1, 64)), np.repeat(pair_gain, 2)[None]])
    weight = np.repeat(np.linspace(0.02, 1.98, 32), 2)
    energy = np.stack([weight, weight, weight[::-1], weight[::-1]])[None, None].repeat(2, axis=0)
    table = divergence.alignment(write_run(tmp_path / "run", config, Truth(gain=gain, energy=energy)))
    assert table["p"].to_list() == [1 / 2000]
    assert divergence.n_aligned(table) == 1
    again = divergence.alignment(Run(tmp_path / "run"))
    pd.testing.assert_frame_equal(table, again)


@pytest.mark.parametrize("gain", [math.nan, 1.0])
def test_alignment_says_nothing_of_a_gain_that_is_absent_or_flat(tmp_path: Path, gain: float) -> None:
    """A flat gain has nothing to be aligned with; the rounding of the heads' norms must not become a p."""
    config = make_synthetic_config(n_layers=2, steps=20, qk_norm="none" if math.isnan(gain) else "frozen")
    random = np.random.default_rng(8)
    norms = noisy_norms(config, random)
    truth = Truth(gain=np.full((21, 2, 16), gain), energy=keys_like(random, (21, 2, 4, 16)), norms=norms)
    run = write_run(tmp_path / "run", config, truth)
    aligned = divergence.alignment(run)
    assert aligned.empty
    assert "p" in aligned.columns
    assert divergence.n_aligned(aligned) == 0
    onsets = divergence.onsets(run)
    merged = onsets.merge(divergence.last_p(aligned), on="layer", how="left")
    assert merged["p"].isna().to_list() == [True, True]
    summary = divergence.summary(run, divergence.dips(run), onsets, aligned)
    assert summary["n_layers_aligned"] == 0
    assert math.isnan(summary["decay_only_norm"]) == math.isnan(gain)


def test_snapshots_are_where_alignment_looks_by_default(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=1, steps=30)
    random = np.random.default_rng(9)
    gain = random.uniform(0.5, 1.5, size=(31, 1, 16))
    run = write_run(tmp_path / "run", config, Truth(gain=gain, energy=keys_like(random, (31, 1, 4, 16))))
    table = divergence.alignment(run, draws=19)
    assert table["step"].to_list() == [step for step in config.snapshot_steps() if step > 0]
    assert divergence.last_p(table)["p"].to_list() == table["p"].tail(1).to_list()


def test_summary_repeats_the_tables(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=3, steps=40)
    random = np.random.default_rng(10)
    truth = Truth(gain=random.uniform(0.5, 1.5, size=(41, 3, 16)), energy=keys_like(random, (41, 3, 4, 16)))
    run = write_run(tmp_path / "run", config, truth)
    norms = divergence.key_norms(run)
    dips, onsets, aligned = divergence.dips(run), divergence.onsets(run), divergence.alignment(run, draws=49)
    summary = divergence.summary(run, dips, onsets, aligned)
    assert summary["initial_norm"] == pytest.approx(norms.loc[norms["step"] == 0, "norm"].mean())
    assert summary["end_norm_max"] == norms.loc[norms["step"] == 40, "norm"].max()
    lowest = norms.groupby(["layer", "step"])["norm"].mean().groupby("layer").min()
    assert summary["dip_norm"] == pytest.approx(lowest[divergence.middle_layer(config)])
    assert summary["dip_norm_min"] == pytest.approx(lowest.min())
    assert summary["dip_norm_max"] == pytest.approx(lowest.max())
    assert divergence.decay_only(config, np.array(summary["dip_step"])) == pytest.approx(summary["decay_only_norm"])
    assert summary["n_layers_aligned"] == int((aligned.loc[aligned["step"] == 40, "p"] < 0.05).sum())
    assert summary["n_layers_onset"] == int(onsets["onset_step"].notna().sum())
    assert all(type(value) in (int, float) for value in summary.values())
