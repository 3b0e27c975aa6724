"""Phase 2's correlations on planted relations, and their null against full enumeration."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import focus
from civilwar.recipe.config import RunConfig
from civilwar.runs.reader import Run

LAST = 20


def small_config(n_layers: int) -> RunConfig:
    return make_synthetic_config(n_layers=n_layers, steps=LAST)


def planted(
    path: Path, n_layers: int, random: np.random.Generator, slope: float, text_noise: float = 0.0, report: float = 0.0
) -> Run:
    """Norms that differ between KV heads from step 1 on; entropy falls by ``slope`` per unit of norm, plus noise."""
    config = small_config(n_layers)
    n_snapshots, texts = len(config.snapshot_steps()), config.probe.n_texts
    norms = 4 + random.standard_normal((n_layers, 4))
    key_norms = np.broadcast_to(norms, (n_snapshots, texts, n_layers, 4)).copy()
    key_norms[0] = 4.0
    per_query = np.repeat(norms, 2, axis=1)
    noise = 0.05 * random.standard_normal((n_layers, 8))
    by_text = text_noise * random.standard_normal((n_snapshots, texts, n_layers, 8))
    # another level in each layer, which a pooled correlation must not see
    level = 3.0 * np.arange(n_layers)[:, None]
    truth = Truth(
        key_norms=key_norms,
        entropy_normalised=level - slope * per_query + noise + by_text,
        entropy_rescaled=np.broadcast_to(random.standard_normal((n_layers, 8)), by_text.shape),
        entropy_report=report * per_query + noise + np.zeros_like(by_text),
    )
    return write_run(path, config, truth)


def test_stratified_rho_is_the_correlation_of_ranks_within_layers() -> None:
    random = np.random.default_rng(0)
    points = pd.DataFrame(
        {"layer": np.repeat([0, 1, 2], 8), "norm": random.standard_normal(24), "entropy": random.standard_normal(24)}
    )
    x, y = [], []
    for layer in range(3):
        rows = points[points["layer"] == layer]
        for side, column in ((x, "norm"), (y, "entropy")):
            side.extend(stats.rankdata(rows[column]) - 4.5)
    expected = float(np.corrcoef(x, y)[0, 1])
    assert focus.stratified_rho(points, "entropy") == pytest.approx(expected)
    assert focus.stratified_rho(points.sample(frac=1, random_state=1), "entropy") == pytest.approx(expected)
    # layers are strata: a shift or a stretch of one of them changes nothing
    moved = points.assign(entropy=points["entropy"] * (1 + points["layer"]) + 100 * points["layer"])
    assert focus.stratified_rho(moved, "entropy") == pytest.approx(expected)
    single = points[points["layer"] == 1]
    assert focus.stratified_rho(single, "entropy") == pytest.approx(
        stats.spearmanr(single["norm"], single["entropy"]).statistic
    )


def test_stratified_rho_takes_ties_as_scipy_does() -> None:
    norm = np.repeat([1.0, 3.0, 2.0, 4.0], 2)
    entropy = np.array([0.9, 0.7, 0.1, 0.2, 0.7, 0.5, 0.3, 0.1])
    points = pd.DataFrame({"layer": 0, "norm": norm, "entropy": entropy})
    assert focus.stratified_rho(points, "entropy") == pytest.approx(stats.spearmanr(norm, entropy).statistic)


def test_layers_whose_norms_are_equal_are_left_out() -> None:
    random = np.random.default_rng(1)
    points = pd.DataFrame({"layer": 0, "norm": random.standard_normal(8), "entropy": random.standard_normal(8)})
    equal = pd.DataFrame(
        {"layer": 1, "norm": 8 + 1e-6 * random.standard_normal(8), "entropy": random.standard_normal(8)}
    )
    alone = focus.stratified_rho(points, "entropy")
    assert focus.stratified_rho(pd.concat([points, equal]), "entropy") == alone
    assert math.isnan(focus.stratified_rho(equal, "entropy"))


def test_correlation_is_undefined_at_step_0_and_never_zero(tmp_path: Path) -> None:
    run = planted(tmp_path / "run", 3, np.random.default_rng(2), slope=0.1)
    table = focus.correlations_over_time(run, draws=19)
    first = table[table["step"] == 0]
    assert len(first) == 3
    assert first[["rho", "null_low", "null_high", "p"]].isna().all(axis=None)
    assert table[table["step"] > 0].notna().all(axis=None)
    assert table["step"].unique().tolist() == run.config.snapshot_steps()


def test_a_planted_law_is_found_with_its_sign(tmp_path: Path) -> None:
    run = planted(tmp_path / "run", 4, np.random.default_rng(3), slope=1.0, report=1.0)
    table = focus.correlations_over_time(run, draws=499).query("step == @LAST").set_index("measure")
    # two query heads share a norm but not an entropy rank, so -1 itself is out of reach
    assert table.loc["causal", "rho"] < -0.93
    assert table.loc["report", "rho"] > 0.93
    assert table.loc["causal", "p"] == table.loc["report", "p"] == 1 / 500
    assert abs(table.loc["rescaled", "rho"]) < 0.6
    assert focus.rho_at(table.reset_index(), LAST)["causal"] == table.loc["causal", "rho"]
    per_layer = focus.correlations_per_layer(run, LAST)
    assert focus.n_negative(per_layer) == 4
    assert (per_layer.loc[per_layer["measure"] == "report", "rho"] > 0.8).all()


def test_independence_gives_every_p(tmp_path: Path) -> None:
    """The query heads of a KV head are made alike, which a null that shuffled query heads would take for evidence."""
    random = np.random.default_rng(4)
    config = make_synthetic_config(n_layers=3, steps=160)
    n = len(config.snapshot_steps())
    key_norms = np.broadcast_to(4 + random.standard_normal((n, 1, 3, 4)), (n, 4, 3, 4))
    entropy = np.repeat(random.standard_normal((3, n, 1, 3, 4)), 2, axis=-1)
    entropy = entropy + 0.01 * random.standard_normal(entropy.shape)
    entropy = np.broadcast_to(entropy, (3, n, 4, 3, 8))
    truth = Truth(
        key_norms=key_norms, entropy_normalised=entropy[0], entropy_rescaled=entropy[1], entropy_report=entropy[2]
    )
    table = focus.correlations_over_time(write_run(tmp_path / "run", config, truth), draws=199)
    assert len(table) == 3 * n > 60
    assert stats.kstest(table["p"], "uniform").pvalue > 0.01
    assert (table["p"] < 0.05).mean() < 0.12
    assert table["rho"].between(table["null_low"], table["null_high"]).mean() > 0.88


def brute_force(points: pd.DataFrame, column: str) -> list[float]:
    """Every way to deal one layer's 4 norms to its 4 KV heads, their query heads following."""
    norms = points.drop_duplicates("kv_head").sort_values("kv_head")["norm"].to_numpy()
    dealt = [points["kv_head"].map(dict(enumerate(order))) for order in itertools.permutations(norms)]
    return [float(stats.spearmanr(norm, points[column]).statistic) for norm in dealt]


def test_query_heads_of_a_kv_head_move_together_in_the_null(tmp_path: Path) -> None:
    run = planted(tmp_path / "run", 1, np.random.default_rng(5), slope=0.02)
    points = focus.head_points(run)
    points = points[points["step"] == LAST]
    every = brute_force(points, "entropy_normalised")
    assert len(every) == 24
    draws = 20_000
    null = focus._null_rhos(points, "entropy_normalised", focus._shuffled_norm_ranks(points, draws, LAST))
    assert set(np.round(null, 9)) == set(np.round(every, 9))
    observed = focus.stratified_rho(points, "entropy_normalised")
    assert min(abs(np.array(every) - observed)) < 1e-12
    exact = np.mean(np.abs(every) >= abs(observed) - 1e-9)
    table = focus.correlations_over_time(run, draws=draws).query("step == @LAST and measure == 'causal'")
    assert table["p"].iloc[0] == pytest.approx(exact, abs=0.012)
    assert table["null_low"].iloc[0] >= min(every) - 1e-9


def test_the_null_leaves_out_layers_whose_norms_are_equal(tmp_path: Path) -> None:
    config = small_config(2)
    n = len(config.snapshot_steps())
    random = np.random.default_rng(6)
    key_norms = np.full((n, 4, 2, 4), 4.0)
    key_norms[:, :, 1] = [1, 2, 3, 4]
    entropy = np.broadcast_to(random.standard_normal((2, 8)), (n, 4, 2, 8))
    truth = Truth(key_norms=key_norms, entropy_normalised=entropy, entropy_rescaled=entropy, entropy_report=entropy)
    run = write_run(tmp_path / "run", config, truth)
    points = focus.head_points(run)
    varying = points[(points["step"] == LAST) & (points["layer"] == 1)]
    table = focus.correlations_over_time(run, draws=2000).query("step == @LAST and measure == 'causal'")
    assert table["rho"].iloc[0] == pytest.approx(focus.stratified_rho(varying, "entropy_normalised"))
    every = np.abs(brute_force(varying, "entropy_normalised"))
    assert table["p"].iloc[0] == pytest.approx(np.mean(every >= abs(table["rho"].iloc[0]) - 1e-9), abs=0.04)
    per_layer = focus.correlations_per_layer(run, LAST).query("measure == 'causal'")
    assert math.isnan(per_layer["rho"].iloc[0])


def test_points_join_a_query_head_with_the_norm_of_its_own_kv_head(tmp_path: Path) -> None:
    run = planted(tmp_path / "run", 2, np.random.default_rng(7), slope=0.3, text_noise=0.1)
    points = focus.head_points(run)
    norms = run.table("probe_kv_heads").groupby(["step", "layer", "kv_head"])["norm_mean"].mean()
    assert len(points) == len(run.config.snapshot_steps()) * 2 * 8
    for row in points.sample(20, random_state=0).itertuples():
        assert row.kv_head == row.query_head // 2
        assert row.norm == pytest.approx(norms[row.step, row.layer, row.kv_head])
    groups = focus.group_points(run)
    mine = points[(points["step"] == LAST) & (points["layer"] == 1) & (points["kv_head"] == 3)]
    row = groups[(groups["step"] == LAST) & (groups["layer"] == 1) & (groups["kv_head"] == 3)]
    assert row["entropy_report"].iloc[0] == pytest.approx(mine["entropy_report"].mean())
    assert len(groups) * 2 == len(points)


def test_moments_are_the_reports_four(tmp_path: Path) -> None:
    run = planted(tmp_path / "run", 1, np.random.default_rng(8), slope=0.3)
    moments = focus.at_moments(run, focus.head_points(run))
    assert list(moments["moment"].cat.categories) == ["start", "early", "mid", "late"]
    assert moments.groupby("moment", observed=True)["step"].first().to_list() == [0, 5, 10, 20]
    assert (moments.groupby("moment", observed=True).size() == 8).all()


@pytest.mark.parametrize("text_noise", [0.0, 0.3])
def test_within_run_interval_brackets_the_estimate(tmp_path: Path, text_noise: float) -> None:
    run = planted(tmp_path / "run", 3, np.random.default_rng(9), slope=0.3, text_noise=text_noise)
    points = focus.head_points(run)
    rho = focus.stratified_rho(points[points["step"] == LAST], "entropy_normalised")
    low, high = focus.within_run_interval(run, LAST, "causal")
    assert -1 <= low <= high <= 1
    if text_noise:
        assert low < rho < high
    else:
        assert low == pytest.approx(rho) == high
    assert focus.within_run_interval(run, LAST, "causal") == (low, high)


def test_everything_is_undefined_where_norms_never_differ(tmp_path: Path) -> None:
    """As under a frozen gain: null, not 0, and not a warning either."""
    run = write_run(tmp_path / "run", small_config(2))
    correlations = focus.correlations_over_time(run, draws=19)
    assert correlations["rho"].isna().all()
    summary = focus.summary(run, correlations)
    assert summary["report_tokens"] == 32
    undefined = {key for key, value in summary.items() if math.isnan(value)}
    assert undefined == set(summary) - {"report_tokens"}
    assert focus.n_negative(focus.correlations_per_layer(run, LAST)) == 0


def test_summary_repeats_the_tables(tmp_path: Path) -> None:
    run = planted(tmp_path / "run", 3, np.random.default_rng(10), slope=0.1, text_noise=0.2)
    correlations = focus.correlations_over_time(run, draws=49)
    summary = focus.summary(run, correlations)
    for name, step in {"early": 5, "mid": 10, "late": 20}.items():
        for measure in focus.MEASURES:
            assert summary[f"rho_{measure}_{name}"] == focus.rho_at(correlations, step)[measure]
    assert (summary["rho_causal_low"], summary["rho_causal_high"]) == focus.within_run_interval(run, 20, "causal")
    assert summary["rho_causal_p"] == correlations.query("step == 20 and measure == 'causal'")["p"].iloc[0]
