"""Phase 6's numbers on sweeps whose truth is known."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import Truth, keys_like, make_synthetic_config, probe_description, write_run

from civilwar.analysis import controls, divergence, focus
from civilwar.files import write_json
from civilwar.names.variants import VARIANTS
from civilwar.recipe import rope
from civilwar.recipe.config import RunConfig
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run
from civilwar.runs.recording import thinned
from civilwar.runs.schema import PROBE
from civilwar.runs.writer import RunWriter

STEPS, LOWEST = 40, 12
SEEDS = {
    "baseline": (1, 2, 3),
    "no_gain_decay": (1, 2),
    "frozen_gain": (1, 2),
    "no_qk_norm": (1,),
    "shuffled_rope": (2, 3),
}


def config_of(variant: str, seed: int) -> RunConfig:
    return dataclasses.replace(make_synthetic_config(16, STEPS, seed, **VARIANTS[variant].changes), variant=variant)


def depth(seed: int) -> float:
    """How far the baseline's norms fall, different in every seed."""
    return 0.5 + 0.01 * seed


def truth_of(config: RunConfig) -> Truth:
    """Norms that fall where there is decay, gains that follow frequency where there is one, losses by variant and seed."""
    step, random = np.arange(STEPS + 1), np.random.default_rng(config.seed)
    falls = config.model.qk_norm == "learned" and config.train.gain_weight_decay > 0
    # two layers fall to the same depth, one twice as far and at another step
    lowest = depth(config.seed) * falls
    path = [np.interp(step, [0, at, STEPS], [4, 4 - d, 5]) for at, d in ((LOWEST, 1), (LOWEST, 1), (4, 2))]
    scaled = np.stack([4 + (p - 4) * (lowest if falls else 0) * (p < 4) + (p - 4) * (p >= 4) for p in path], axis=1)
    apart = np.array([-0.3, -0.1, 0.1, 0.3]) * (step / STEPS)[:, None, None]
    norms = scaled[..., None] + apart
    if config.model.qk_norm == "frozen":
        norms = np.full((STEPS + 1, 3, 4), 4.0)
        gain = np.ones((STEPS + 1, 3, 16))
    elif config.model.qk_norm == "none":
        gain = np.full((STEPS + 1, 3, 16), math.nan)
    else:
        ranks = rope.dimension_ranks(config.model, config.seed)
        gain = 1 - 0.05 * ranks * (step / STEPS)[:, None, None]
    at_snapshots = norms[np.array(config.snapshot_steps())]
    sharper = 0.9 - 0.1 * np.repeat(at_snapshots, 2, axis=-1)[:, None]
    loss = 4.0 + 0.1 * list(VARIANTS).index(config.variant) + 0.02 * config.seed
    return Truth(
        gain=gain,
        norms=norms,
        energy=keys_like(random, (1, 3, 4, 16)) + np.zeros((STEPS + 1, 1, 1, 1)),
        entropy_normalised=sharper,
        ranks=np.full((1, 1, 1, 1, 4), 5.0 + config.seed),
        probe_loss=np.array(loss),
    )


def write_sweep(folder: Path, seeds: Mapping[str, tuple[int, ...]]) -> Sweep:
    runs = {}
    for variant, of in seeds.items():
        configs = [config_of(variant, seed) for seed in of]
        runs[variant] = {c.seed: write_run(folder / f"{variant}-{c.seed}", c, truth_of(c)) for c in configs}
    return Sweep(runs, ())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return write_sweep(tmp_path_factory.mktemp("controls"), SEEDS)


@pytest.fixture(scope="module")
def curves(sweep: Sweep) -> pd.DataFrame:
    return controls.curves(sweep)


@pytest.fixture(scope="module")
def outcomes(sweep: Sweep, curves: pd.DataFrame) -> pd.DataFrame:
    return controls.outcomes(sweep, curves)


@pytest.fixture(scope="module")
def changes(outcomes: pd.DataFrame) -> pd.DataFrame:
    return controls.changes(outcomes)


def one(changes: pd.DataFrame, variant: str, phenomenon: str) -> pd.Series:
    (row,) = changes[(changes["variant"] == variant) & (changes["phenomenon"] == phenomenon)].to_dict("records")
    return pd.Series(row)


EMPTY = Sweep({}, ("baseline-seed1",))


# ---------------------------------------------------------------- over steps


def test_curves_are_the_phases_own_numbers(sweep: Sweep, curves: pd.DataFrame) -> None:
    (run, *_) = sweep.baseline
    own = curves[(curves["variant"] == "baseline") & (curves["seed"] == 1)].set_index(["measure", "step"])["value"]
    norms = divergence.key_norms(run)
    assert own["norm", LOWEST] == pytest.approx(norms[norms["step"] == LOWEST]["norm"].mean())
    assert own["spread", STEPS] == pytest.approx(np.std([-0.3, -0.1, 0.1, 0.3], ddof=1), rel=1e-5)
    rho = focus.stratified_rho(focus.head_points(run).query("step == @STEPS"), "entropy_normalised")
    assert own["focus", STEPS] == pytest.approx(rho)
    assert rho == pytest.approx(-1)
    assert own["coordinate_ratio", 0] == own["covariance_ratio", STEPS] == pytest.approx(6)
    assert own["loss", STEPS] == pytest.approx(4.02)
    assert set(curves["measure"]) == set(controls.MEASURES)
    steps = set(own["norm"].index)
    assert steps == {*range(0, STEPS + 1, controls.EVERY)}
    assert set(own["loss"].index) == set(run.config.snapshot_steps())


def test_over_seeds_is_mean_and_range_and_leaves_out_what_is_undefined(curves: pd.DataFrame) -> None:
    table = controls.measure_over_seeds(curves, "loss").set_index(["variant", "step"])
    at = table.loc[("baseline", STEPS)]
    assert at[["mean", "low", "high", "n"]].tolist() == pytest.approx([4.04, 4.02, 4.06, 3])
    focused = controls.measure_over_seeds(curves, "focus")
    assert "frozen_gain" not in set(focused["variant"])
    ends = controls.ends(controls.measure_over_seeds(curves, "loss"))
    assert list(ends.index) == ["baseline", "no_gain_decay", "frozen_gain", "no_qk_norm", "shuffled_rope"]


def test_less_the_baseline_pairs_seeds(curves: pd.DataFrame) -> None:
    paired = controls.less_baseline(curves, "loss")
    assert set(zip(paired["variant"], paired["seed"], strict=True)) == {
        (variant, seed) for variant, seeds in SEEDS.items() for seed in seeds if variant != "baseline"
    }
    assert paired[paired["variant"] == "no_gain_decay"]["value"].to_numpy() == pytest.approx(0.1)
    assert paired[paired["variant"] == "shuffled_rope"]["value"].to_numpy() == pytest.approx(0.7)


def test_decay_only_is_flat_without_decay_and_undefined_without_a_norm(sweep: Sweep) -> None:
    table = controls.decay_only(sweep).set_index(["variant", "step"])["norm"]
    assert table["baseline"][STEPS] == pytest.approx(4 * (1 - 0.006 * 0.2) ** STEPS)
    assert table["no_gain_decay"].to_numpy() == pytest.approx(4)
    assert table["frozen_gain"].to_numpy() == pytest.approx(4)
    assert table["no_qk_norm"].isna().all()


def test_the_focus_null_is_centred_on_0(sweep: Sweep) -> None:
    null = controls.focus_null(sweep)
    assert (null["low"] < 0).all()
    assert (null["high"] > 0).all()
    assert 0 not in set(null["step"])


# ---------------------------------------------------------------- gain and frequency


def test_frequency_or_place(sweep: Sweep) -> None:
    base, shuffled = (controls.gain_profiles(sweep, variant) for variant in ("baseline", "shuffled_rope"))
    assert len(base) == 3 * 3 * 8
    assert (base["rank"] == base["pair"]).all()
    assert controls.trend(base, "rank") == controls.trend(base, "pair") == pytest.approx(-1)
    assert controls.trend(shuffled, "rank") == pytest.approx(-1)
    ranks = [rope.pair_ranks(run.config.model, run.config.seed) for run in sweep.of("shuffled_rope")]
    expected = [stats.spearmanr(-layer, np.arange(8)).statistic for layers in ranks for layer in layers]
    assert controls.trend(shuffled, "pair") == pytest.approx(np.mean(expected))
    assert controls.gain_profiles(sweep, "frozen_gain").empty
    assert math.isnan(controls.trend(controls.gain_profiles(sweep, "no_qk_norm"), "rank"))


# ---------------------------------------------------------------- which knob changes what


def test_fall_is_each_layers_own_in_the_first_half(sweep: Sweep) -> None:
    for run in sweep.baseline:
        assert controls.fall(run) == pytest.approx(depth(run.config.seed) * 4 / 3, rel=1e-5)
    for variant in ("no_gain_decay", "frozen_gain", "no_qk_norm"):
        assert controls.fall(sweep.of(variant)[0]) == pytest.approx(0, abs=1e-5)


def test_a_later_fall_does_not_count(tmp_path: Path) -> None:
    config = config_of("baseline", 1)
    norms = np.interp(np.arange(STEPS + 1), [0, STEPS // 2, STEPS], [4, 5, 1])[:, None, None] + np.zeros((1, 3, 4))
    assert controls.fall(write_run(tmp_path / "late", config, Truth(norms=norms))) == 0


def test_changes_are_paired_by_seed_with_t_intervals(changes: pd.DataFrame) -> None:
    row = one(changes, "no_gain_decay", "fall")
    falls = np.array([depth(seed) for seed in (1, 2)]) * 4 / 3
    half = stats.t.ppf(0.975, 1) * falls.std(ddof=1) / math.sqrt(2)
    assert row["change"] == pytest.approx(-falls.mean(), rel=1e-4)
    assert [row["low"], row["high"]] == pytest.approx([-falls.mean() - half, -falls.mean() + half], rel=1e-3)
    assert row["n"] == 2
    unit = np.std([depth(seed) * 4 / 3 for seed in SEEDS["baseline"]], ddof=1)
    assert row["deviations"] == pytest.approx(-falls.mean() / unit, rel=1e-3)
    assert row["baseline"] == pytest.approx(depth(2) * 4 / 3, rel=1e-4)
    # seeds 2 and 3 against the baseline's seeds 2 and 3, not against all of them
    assert one(changes, "shuffled_rope", "loss")["change"] == pytest.approx(0.7)
    assert one(changes, "shuffled_rope", "coordinate_ratio")["change"] == pytest.approx(0)


def test_one_seed_has_a_change_but_no_interval(changes: pd.DataFrame) -> None:
    row = one(changes, "no_qk_norm", "loss")
    assert row["change"] == pytest.approx(0.3)
    assert row["n"] == 1
    assert math.isnan(row["low"])
    assert math.isnan(row["high"])
    assert not changes[changes["variant"] == "no_qk_norm"]["clear"].any()


@pytest.mark.parametrize(
    ("variant", "undefined"),
    [
        ("frozen_gain", {"focus", "onset", "frequency", "settle"}),
        ("no_qk_norm", {"frequency", "settle"}),
        ("no_gain_decay", set()),
        ("shuffled_rope", set()),
    ],
)
def test_what_is_undefined_stays_null(changes: pd.DataFrame, variant: str, undefined: set[str]) -> None:
    of = changes[changes["variant"] == variant]
    assert set(of["phenomenon"]) == set(controls.PHENOMENA)
    assert set(of[of["change"].isna()]["phenomenon"]) == undefined
    assert (of[of["change"].isna()]["n"] == 0).all()


def test_side_by_side_is_a_column_a_variant_and_a_row_a_phenomenon(outcomes: pd.DataFrame) -> None:
    table = controls.side_by_side(outcomes)
    assert table["phenomenon"].tolist() == list(controls.PHENOMENA)
    assert list(table.columns[1:]) == [variant for variant in VARIANTS if variant in set(outcomes["variant"])]
    of_loss = outcomes[(outcomes["phenomenon"] == "loss") & (outcomes["variant"] == "baseline")]
    assert table.set_index("phenomenon")["baseline"]["loss"] == pytest.approx(of_loss["value"].mean())


def test_a_baseline_without_spread_is_no_unit(outcomes: pd.DataFrame) -> None:
    alike = outcomes.assign(value=np.where(outcomes["variant"] == "baseline", 1.0, 2.0))
    assert controls.changes(alike)["deviations"].isna().all()
    single = outcomes[(outcomes["variant"] != "baseline") | (outcomes["seed"] == 1)]
    assert controls.changes(single)["deviations"].isna().all()


def test_summary_counts_what_has_an_interval(outcomes: pd.DataFrame, changes: pd.DataFrame) -> None:
    numbers = controls.summary(outcomes, changes, 0.25)
    assert numbers["controls_baseline_seeds"] == 3
    assert numbers["controls_seeds_min"] == 1
    assert numbers["controls_n_changes"] == 3 * len(controls.PHENOMENA) - 4
    assert numbers["controls_by_chance"] == pytest.approx(0.05 * numbers["controls_n_changes"])
    assert numbers["controls_n_clear"] == changes["clear"].sum()
    assert numbers["controls_fall_baseline"] == pytest.approx(depth(2) * 4 / 3, rel=1e-4)
    assert numbers["controls_fall_no_gain_decay"] == pytest.approx(0, abs=1e-5)
    assert math.isnan(numbers["controls_fall_pure_bf16"])
    assert numbers["controls_frequency_shuffled_rope"] == pytest.approx(-1)
    assert numbers["controls_place_shuffled_rope"] == 0.25


# ---------------------------------------------------------------- not all there, or slim


def test_without_runs_everything_is_empty_and_said() -> None:
    curves = controls.curves(EMPTY)
    outcomes = controls.outcomes(EMPTY, curves)
    changes = controls.changes(outcomes)
    assert curves.empty
    assert outcomes.empty
    assert changes.empty
    assert controls.less_baseline(curves, "loss").empty
    assert controls.measure_over_seeds(curves, "norm").empty
    assert controls.decay_only(EMPTY).empty
    assert controls.focus_null(EMPTY).empty
    numbers = controls.summary(outcomes, changes, math.nan)
    assert numbers["controls_baseline_seeds"] == numbers["controls_seeds_min"] == numbers["controls_n_changes"] == 0
    assert math.isnan(numbers["controls_fall_baseline"])


def test_a_slim_recording_gives_the_same(sweep: Sweep, outcomes: pd.DataFrame, tmp_path: Path) -> None:
    slimmed: dict[str, dict[int, Run]] = {}
    for variant in sweep.variants:
        slimmed[variant] = {}
        for run in sweep.of(variant):
            with RunWriter(tmp_path / run.name, run.config) as writer:
                write_json(writer.path / PROBE, probe_description(run.config, Truth()))
                writer.write_part(run.config.train.steps, thinned(run, "slim"))
                slimmed[variant][run.config.seed] = writer.finish()
    thin = Sweep(slimmed, ())
    assert len(slimmed["baseline"][1].array("gain")["step"]) < STEPS
    curves = controls.curves(thin)
    pd.testing.assert_frame_equal(curves, controls.curves(sweep))
    found = controls.outcomes(thin, curves)
    settles = found["phenomenon"] == "settle"
    pd.testing.assert_frame_equal(found[~settles], outcomes[~settles])
    # known to the recorded step only
    late = found[settles]["value"] - outcomes[settles]["value"]
    assert late.dropna().between(0, 8).all()
