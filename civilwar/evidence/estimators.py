"""The number behind every criterion of `civilwar.evidence.rules`, by name: a run, a pair of runs or the sweep in, a float out.

What a run does not have (a gain under a variant without one, heads of a kind that does not occur) is NaN, never 0. Nothing
here knows a threshold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import diptest
import numpy as np
import pandas as pd

from civilwar.analysis import capacity, controls, divergence, focus, gain, rank, roles
from civilwar.analysis.statistics import DRAWS, generator, permutation_p, spearman
from civilwar.evidence.rule import LEVEL
from civilwar.recipe.config import make_config
from civilwar.recipe.plan import BASELINE
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run

#: Checkpoints for the order of heads: every 32 steps from here on, the first after the report's step 100.
FIRST_CHECKPOINT, CHECKPOINT_EVERY = 128, 32
#: Separation of the two simulated populations behind C06's power, in deviations within a population.
SEPARATION = 5.0
POWER_DRAWS = 400
#: C11's rank, which its rule names: 15% of 64, rounded. Unlike `capacity.report_rank` it does not follow the size of a head.
CAPACITY_RANK = 10


@dataclass(frozen=True)
class Estimator:
    """How a criterion's number is computed, and from what."""

    compute: Callable[..., float | tuple[float, float, int]]
    """Of a run; of a (baseline, control) pair; of the sweep, with p and n; or of nothing, from the configuration."""
    unit: Literal["run", "pair", "sweep", "arithmetic"] = "run"
    variant: str = BASELINE


# ---------------------------------------------------------------- C01 to C04: norms


def _layer_norms(run: Run) -> pd.DataFrame:
    """Mean key norm [step, layer]."""
    return divergence.key_norms(run).groupby(["step", "layer"])["norm"].mean().unstack("layer")


def _at_end(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    return table[table["step"] == run.last_step]


def largest_start_deviation(run: Run) -> float:
    """C01. NaN where the variant has no norm on its keys."""
    if run.config.model.qk_norm == "none":
        return math.nan
    norms = divergence.key_norms(run)
    start = norms[norms["step"] == 0]["norm"]
    return float((start - math.sqrt(run.config.model.d_head)).abs().max())


def _first_half(run: Run) -> pd.DataFrame:
    norms = _layer_norms(run)
    return norms[norms.index <= run.config.moments()["mid"]]


def dip_step(run: Run) -> float:
    """C02, in steps."""
    return float(_first_half(run).idxmin().mean())


def dip_removed(base: Run, control: Run) -> float:
    """C02: 1 - `dip_kept`."""
    return 1 - dip_kept(base, control)


def dip_kept(base: Run, control: Run) -> float:
    """C17: the control's fall over the baseline's, both from the start to each layer's lowest step in the baseline.

    Below 0 where the control has risen by then. NaN where the baseline does not fall.
    """
    norms, others = _first_half(base), _first_half(control)
    lowest = norms.idxmin()
    fall = float((norms.iloc[0] - norms.min()).mean())
    other = float(np.mean([others[layer].iloc[0] - others.loc[step, layer] for layer, step in lowest.items()]))
    return other / fall if fall > 0 else math.nan


def spread_over_noise(run: Run) -> float:
    """C03, natural logarithm."""
    final = _at_end(divergence.spreads(run), run)
    return float(np.log(final["spread"] / final["noise"]).mean())


def spread_over_alignment(run: Run) -> float:
    """C03, natural logarithm; NaN where no layer has a gain that varies."""
    final = divergence.alignment(run, [run.last_step])
    return float(np.log(final["spread"] / final["null_median"]).mean()) if len(final) else math.nan


def same_loudest_head(sweep: Sweep) -> tuple[float, float, int]:
    """C03: (share of seed pairs, p against heads drawn anew, seeds)."""
    final = [_at_end(divergence.key_norms(run), run) for run in sweep.baseline]
    if len(final) < 2:
        return math.nan, math.nan, len(final)
    norms = np.stack([t.pivot(index="layer", columns="kv_head", values="norm").to_numpy() for t in final])
    loudest, n_heads = norms.argmax(-1), norms.shape[-1]
    observed = _share_of_equal_pairs(loudest)
    random = generator(31)
    null = np.array([_share_of_equal_pairs(random.integers(n_heads, size=loudest.shape)) for _ in range(DRAWS)])
    return observed, permutation_p(observed, null), len(final)


def _share_of_equal_pairs(choice: np.ndarray) -> float:
    """Of choices [seed, layer]: share of seed pairs that agree, mean over layers."""
    return float(np.mean([choice[a] == choice[b] for a, b in combinations(range(len(choice)), 2)]))


def order_persistence(run: Run, draws: int = 199) -> pd.DataFrame:
    """C04 by layer and checkpoint: layer, step, tau (to the order at the end), null_mean, null_low, null_high.

    The null keeps the state at the first checkpoint and the size of every head's increment, less the layer's common
    movement, and draws its sign.
    """
    norms = divergence.key_norms(run)
    steps = [*range(FIRST_CHECKPOINT, run.last_step, CHECKPOINT_EVERY), run.last_step]
    rows = []
    for layer, table in norms[norms["step"].isin(steps)].groupby("layer"):
        path = table.pivot(index="step", columns="kv_head", values="norm").to_numpy()
        if len(path) < 3:
            continue
        apart = path - path.mean(1, keepdims=True)
        increments = np.diff(apart, axis=0)
        signs = generator(32, int(layer)).choice([-1.0, 1.0], size=(draws, *increments.shape))
        walks = apart[0] + np.concatenate([np.zeros((draws, 1, path.shape[1])), (signs * increments).cumsum(1)], axis=1)
        observed, null = _tau_to_end(apart[None])[0], _tau_to_end(walks)
        low, high = np.quantile(null, [0.025, 0.975], axis=0)
        rows += [
            {"layer": layer, "step": s, "tau": t, "null_mean": m, "null_low": lo, "null_high": hi}
            for s, t, m, lo, hi in zip(steps[:-1], observed, null.mean(0), low, high, strict=True)
        ]
    return pd.DataFrame(rows, columns=["layer", "step", "tau", "null_mean", "null_low", "null_high"])


def order_by_step(orders: pd.DataFrame) -> pd.DataFrame:
    """Mean of `order_persistence` over layers, and over runs where there are several, indexed by step."""
    return orders.groupby("step")[["tau", "null_mean", "null_low", "null_high"]].mean()


def _tau_to_end(walks: np.ndarray) -> np.ndarray:
    """Kendall's tau of the heads' order at each checkpoint with that at the end: walks [draw, step, head] -> [draw, step]."""
    first, second = np.triu_indices(walks.shape[-1], 1)
    order = np.sign(walks[..., first] - walks[..., second])
    tau: np.ndarray = (order[:, :-1] * order[:, -1:]).mean(-1)
    return tau


def order_persistence_excess(run: Run) -> float:
    """C04, in units of tau."""
    table = order_persistence(run)
    return float((table["tau"] - table["null_mean"]).mean()) if len(table) else math.nan


# ---------------------------------------------------------------- C05 to C08: norm and entropy


def _focus(run: Run, moment: str, measure: str) -> float:
    points = focus.head_points(run)
    points = points[points["step"] == run.config.moments()[moment]]
    return focus.stratified_rho(points, focus.MEASURES[measure])


def _final_heads(run: Run) -> pd.DataFrame:
    return _at_end(focus.head_points(run), run)


def layer_centred(sweep: Sweep, column: str) -> pd.DataFrame:
    """C06's sample: seed, layer, kv_head, value; each KV head's final ``norm`` or entropy less its layer's mean over seeds.

    Not less the mean of its own seed's layer: that alone would smear two populations of four heads into one.
    """
    parts = [_at_end(focus.group_points(run), run).assign(seed=run.config.seed) for run in sweep.baseline]
    if not parts:
        return pd.DataFrame(columns=["seed", "layer", "kv_head", "value"])
    points = pd.concat(parts, ignore_index=True)
    value = points[column] - points.groupby("layer")[column].transform("mean")
    return points[["seed", "layer", "kv_head"]].assign(value=value)


def _dip(sweep: Sweep, column: str) -> tuple[float, float, int]:
    values = layer_centred(sweep, column)["value"].to_numpy(dtype=float)
    if len(values) < 8:
        return math.nan, math.nan, len(values)
    dip, p = diptest.diptest(values)
    return float(dip), float(p), len(values)


def two_population_power(sweep: Sweep) -> tuple[float, float, int]:
    """C06: share of simulated sweeps of this size with two populations that the dip test finds, without a p."""
    sample = layer_centred(sweep, "norm")
    if sample.empty:
        return math.nan, math.nan, 0
    shape = (sample["seed"].nunique(), sample["layer"].nunique(), sample["kv_head"].nunique())
    random = generator(33)
    draws = [two_populations(random, *shape) for _ in range(POWER_DRAWS)]
    found = sum(diptest.diptest(values)[1] < LEVEL for values in draws)
    return found / POWER_DRAWS, math.nan, len(sample)


def two_populations(random: np.random.Generator, seeds: int, layers: int, heads: int) -> np.ndarray:
    """A sample like C06's with two populations: each head belongs to either with equal chance. [seeds * layers * heads]."""
    x = random.normal(size=(seeds, layers, heads)) + SEPARATION * random.integers(2, size=(seeds, layers, heads))
    centred: np.ndarray = (x - x.mean((0, 2), keepdims=True)).ravel()
    return centred


def as_spread(simulated: np.ndarray, values: pd.Series) -> np.ndarray:
    """Simulated numbers, scaled to the standard deviation of ``values``."""
    scaled: np.ndarray = simulated / simulated.std() * float(values.std())
    return scaled


def heads_above_11(run: Run) -> float:
    """C07, a count of query heads."""
    return float((_final_heads(run)["norm"] > 11).sum())


def heads_near_5(run: Run) -> float:
    """C08, a count of query heads."""
    return float(_final_heads(run)["norm"].between(4, 6).sum())


def _entropy_of_extreme(run: Run, quietest: bool) -> float:
    heads = _final_heads(run)
    by_layer = heads.groupby("layer")["norm"]
    extreme = by_layer.transform("min" if quietest else "max")
    return float(heads[heads["norm"] == extreme].groupby("layer")["entropy_normalised"].mean().mean())


# ---------------------------------------------------------------- C09 to C11: dimensions

COORDINATE, COVARIANCE = "coordinate_participation_ratio", "participation_ratio"


def _ranks(run: Run, measure: str, step: int) -> pd.Series:
    table = rank.select_measure(rank.layer_means(run), measure)
    return table[table["step"] == step].set_index("layer")["value"]


def start_rank(run: Run, measure: str) -> float:
    """C09, dimensions."""
    return float(_ranks(run, measure, 0).mean())


def start_excess(run: Run) -> float:
    """C09, dimensions above isotropic directions."""
    model = run.config.model
    return start_rank(run, COORDINATE) - rank.isotropic_null(model.context, np.ones(model.d_head))[COORDINATE]


def _middle(run: Run) -> list[int]:
    half = run.config.model.n_layers // 2
    return [max(half - 1, 0), half]


def middle_rank(run: Run) -> float:
    """C10, dimensions."""
    return float(_ranks(run, COORDINATE, run.last_step)[_middle(run)].mean())


def middle_less_edges(run: Run, measure: str) -> float:
    """C10, dimensions."""
    final = _ranks(run, measure, run.last_step)
    return float(final[_middle(run)].mean() - final[[0, run.config.model.n_layers - 1]].mean())


def fall_explained_by_gain(run: Run) -> float:
    """C10: fall of the isotropic null under the layers' final gains over the measured fall; NaN without a gain."""
    middle, model = _middle(run), run.config.model
    final = run.array("gain")["k_gain"][-1].astype(float)
    if np.isnan(final).any():
        return math.nan
    flat = rank.isotropic_null(model.context, np.ones(model.d_head))[COORDINATE]
    under_gain = np.mean([rank.isotropic_null(model.context, final[layer])[COORDINATE] for layer in middle])
    measured = _ranks(run, COORDINATE, 0)[middle].mean() - _ranks(run, COORDINATE, run.last_step)[middle].mean()
    return float((flat - under_gain) / measured)


def _kept(run: Run, method: str) -> float:
    table = capacity.kept(run)
    found = table[(table["method"] == method) & (table["rank"] == CAPACITY_RANK)]["kept"]
    return float(found.mean()) if len(found) else math.nan


# ---------------------------------------------------------------- C12, C13, C18: gains


def golden_gain(run: Run) -> float:
    """C12."""
    final = gain.final_gain(run)
    return float(final[final["golden"]].groupby("layer")["gain"].mean().mean())


def frequency_trend(run: Run) -> float:
    """C12: Spearman's rho, mean over layers."""
    return float(gain.frequency_trend(run, draws=1)["rho"].mean())


def index_trend(run: Run) -> float:
    """C12: Spearman's rho of a pair's gain (`civilwar.analysis.gain.pair_gains`) and its place, mean over layers."""
    pairs = gain.pair_gains(run)
    return float(np.mean([spearman(of["gain"].to_numpy(), of["pair"].to_numpy()) for _, of in pairs.groupby("layer")]))


def settle_step(run: Run) -> float:
    """C13, in steps."""
    return float(gain.settle_steps(run)["settle_step"].mean())


def settle_before_walk(run: Run) -> float:
    """C13, a ratio."""
    settled = gain.settle_steps(run)
    return float((settled["settle_step"] / settled["random_walk_step"]).mean())


def _likeness(run: Run, measure: str) -> float:
    return float(gain.likeness(run)[measure].mean())


# ---------------------------------------------------------------- all of them


RECIPE = make_config("paper")


ESTIMATORS: dict[str, Estimator] = {
    "largest_start_deviation": Estimator(largest_start_deviation),
    "dip_depth": Estimator(controls.fall),
    "dip_step": Estimator(dip_step),
    "dip_removed_without_decay": Estimator(dip_removed, unit="pair", variant="no_gain_decay"),
    "spread_over_noise": Estimator(spread_over_noise),
    "spread_over_alignment": Estimator(spread_over_alignment),
    "onset_step": Estimator(controls.onset),
    "same_loudest_head": Estimator(same_loudest_head, unit="sweep"),
    "order_persistence_excess": Estimator(order_persistence_excess),
    "focus_early": Estimator(lambda run: _focus(run, "early", "causal")),
    "focus_late": Estimator(lambda run: _focus(run, "late", "causal")),
    "focus_late_without_norm": Estimator(lambda run: _focus(run, "late", "rescaled") - _focus(run, "late", "causal")),
    "focus_late_report": Estimator(lambda run: _focus(run, "late", "report")),
    "focus_shatters": Estimator(lambda run: _focus(run, "late", "causal") - _focus(run, "early", "causal")),
    "power": Estimator(two_population_power, unit="sweep"),
    "norm_dip": Estimator(lambda sweep: _dip(sweep, "norm"), unit="sweep"),
    "entropy_dip": Estimator(lambda sweep: _dip(sweep, "entropy_normalised"), unit="sweep"),
    "heads_above_11": Estimator(heads_above_11),
    "entropy_of_loudest": Estimator(lambda run: _entropy_of_extreme(run, quietest=False)),
    "heads_near_5": Estimator(heads_near_5),
    "entropy_of_quietest": Estimator(lambda run: _entropy_of_extreme(run, quietest=True)),
    "start_coordinate_pr": Estimator(lambda run: start_rank(run, COORDINATE)),
    "start_coordinate_pr_excess": Estimator(start_excess),
    "start_covariance_pr": Estimator(lambda run: start_rank(run, COVARIANCE)),
    "middle_coordinate_pr": Estimator(middle_rank),
    "middle_below_edges": Estimator(lambda run: middle_less_edges(run, COORDINATE)),
    "middle_below_edges_covariance": Estimator(lambda run: middle_less_edges(run, COVARIANCE)),
    "fall_explained_by_gain": Estimator(fall_explained_by_gain),
    "kept_by_directions": Estimator(lambda run: _kept(run, "directions")),
    "kept_over_random": Estimator(lambda run: _kept(run, "directions") - _kept(run, "random_directions")),
    "kept_by_gains": Estimator(lambda run: _kept(run, "gains")),
    "golden_gain": Estimator(golden_gain),
    "frequency_trend_shuffled": Estimator(frequency_trend, variant="shuffled_rope"),
    "index_trend_shuffled": Estimator(index_trend, variant="shuffled_rope"),
    "frequency_trend": Estimator(frequency_trend),
    "settle_step": Estimator(settle_step),
    "settle_before_walk": Estimator(settle_before_walk),
    "n_static_sinks": Estimator(roles.n_static_sinks),
    "golden_energy_of_sinks": Estimator(roles.golden_energy_of_sinks),
    "golden_energy_sinks_less_others": Estimator(roles.golden_energy_sinks_less_others),
    "golden_energy_of_broad": Estimator(roles.golden_energy_of_broad),
    "golden_energy_broad_less_sharp": Estimator(roles.golden_energy_broad_less_sharp),
    "n_retrievers": Estimator(roles.n_retrievers),
    "contrast_of_retrievers": Estimator(roles.contrast_of_retrievers),
    "contrast_of_all": Estimator(roles.contrast_of_all),
    "recipe_parameters": Estimator(lambda: RECIPE.model.n_parameters / 1e6, unit="arithmetic"),
    "recipe_tokens": Estimator(lambda: RECIPE.n_tokens / 1e6, unit="arithmetic"),
    "dip_in_pure_bfloat16": Estimator(dip_kept, unit="pair", variant="pure_bf16"),
    "likeness_raw": Estimator(lambda run: _likeness(run, "raw")),
    "likeness_detrended_high": Estimator(lambda run: _likeness(run, "detrended")),
    "likeness_detrended_low": Estimator(lambda run: _likeness(run, "detrended")),
    "likeness_centred": Estimator(lambda run: _likeness(run, "centred")),
}
