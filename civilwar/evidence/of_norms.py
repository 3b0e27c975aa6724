"""The numbers behind C01 to C04: key norms over training, their first fall, and how heads part.

As everywhere in the estimators: a run, a pair of runs or the sweep in, a number out. What a run does not have is NaN, never 0,
and nothing here knows a threshold.
"""

import math
from itertools import combinations

import numpy as np
import pandas as pd

from civilwar.analysis import divergence, strata, variance_split
from civilwar.analysis.statistics import DRAWS, first_lasting, generator, permutation_p
from civilwar.evidence.decision import Pooled
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run, rows_of

#: Checkpoints for the order of heads: every 32 steps from here on, the first after the report's step 100.
FIRST_CHECKPOINT, CHECKPOINT_EVERY = 128, 32
#: Draws of the null that deals the gain anew, of which only the median is used.
MEDIAN_DRAWS = 499


def layer_norms(run: Run) -> pd.DataFrame:
    """Mean key norm [step, layer]."""
    return divergence.key_norms(run).groupby(["step", "layer"])["norm"].mean().unstack("layer")


def at_end(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The rows of the last step."""
    return table[table["step"] == run.last_step]


def largest_start_deviation(run: Run) -> float:
    """C01. NaN where the variant has no norm on its keys."""
    if run.config.model.qk_norm == "none":
        return math.nan
    norms = divergence.key_norms(run)
    start = norms[norms["step"] == 0]["norm"]
    return float((start - math.sqrt(run.config.model.d_head)).abs().max())


# ---------------------------------------------------------------- C02: the first fall


def first_half(run: Run) -> pd.DataFrame:
    """`layer_norms` up to the middle of the run."""
    norms = layer_norms(run)
    return norms[norms.index <= run.config.moments()["mid"]]


def dip_depth(run: Run) -> float:
    """C02: start less minimum of a layer's mean norm in the first half, mean over layers; at least 0."""
    norms = first_half(run)
    return float((norms.iloc[0] - norms.min()).mean())


def dip_step(run: Run) -> float:
    """C02: the step of that minimum, mean over layers."""
    return float(first_half(run).idxmin().mean())


def dip_norm(run: Run) -> float:
    """C02: the minimum itself, mean over layers."""
    return float(first_half(run).min().mean())


def dip_kept(base: Run, control: Run) -> float:
    """C02 and C17: the control's fall over the baseline's, both from the start to each layer's lowest step in the baseline.

    Both falls are means over layers before one is divided by the other. Below 0 where the control has risen by then. NaN where
    the baseline does not fall.
    """
    norms, others = first_half(base), first_half(control)
    lowest = norms.idxmin()
    fall = float((norms.iloc[0] - norms.min()).mean())
    other = float(np.mean([others[layer].iloc[0] - others.loc[step, layer] for layer, step in lowest.items()]))
    return other / fall if fall > 0 else math.nan


def rank_kept_at_dip(run: Run) -> float:
    """C02: effective rank of a layer's keys at its lowest norm over that before training, mean over layers.

    At the snapshot nearest to the step; of each KV head on each probe text, means over both before the division.
    """
    table = run.table("probe_kv_heads")
    means = table.groupby(["step", "layer"])["effective_rank"].mean().unstack("layer")
    return float(np.mean([at / start for start, at in _at_dips(means, run)]))


def cosine_rise_at_dip(run: Run) -> float:
    """C02: mean cosine between two keys of a head at its layer's lowest norm, less that before training, mean over layers.

    At the recorded step nearest to it.
    """
    table = run.table("step_kv_heads").dropna(subset=["key_cosine"])
    means = table.groupby(["step", "layer"])["key_cosine"].mean().unstack("layer")
    return float(np.mean([at - start for start, at in _at_dips(means, run)]))


def _at_dips(means: pd.DataFrame, run: Run) -> list[tuple[float, float]]:
    """Of each layer: (value at the first step, value at the row nearest to the layer's lowest norm) of [step, layer]."""
    steps = means.index.to_numpy()
    return [
        (float(means[layer].iloc[0]), float(means[layer].iloc[int(np.abs(steps - step).argmin())]))
        for layer, step in first_half(run).idxmin().items()
    ]


# ---------------------------------------------------------------- C03: heads part


def spread_over_noise(run: Run) -> float:
    """C03, natural logarithm."""
    final = at_end(divergence.spreads(run), run)
    return float(np.log(final["spread"] / final["noise"]).mean())


def spread_over_dealt(run: Run, width: int | None) -> float:
    """C03, natural logarithm of the final spread over its median where the gain is dealt anew, mean over layers.

    A head's norm is sqrt(sum_j g_j^2 E_hj), E its mean pre-gain energy; g^2 changes places in whole RoPE pairs, alike for all
    heads, among blocks of ``width`` neighbouring frequencies, or among all where it is None. NaN where no layer has a gain that
    varies.
    """
    energy, gain = run.array("energy"), run.array("gain")
    at, at_gain = (int(rows_of(array["step"], [run.last_step])[0]) for array in (energy, gain))
    ranks = strata.ranks_of(run.recipe)
    ratios = []
    for layer, by_head in enumerate(energy["energy"][at].astype(float)):
        squared = gain["k_gain"][at_gain, layer].astype(float) ** 2
        if np.isnan(squared).any() or np.ptp(squared) < 1e-6:
            continue
        observed = np.sqrt(by_head @ squared).std(ddof=1)
        dealt = squared[strata.dealt(ranks[layer], width, generator(35, layer), MEDIAN_DRAWS)]
        ratios.append(np.log(observed / np.median(np.sqrt(dealt @ by_head.T).std(axis=1, ddof=1))))
    return float(np.mean(ratios)) if ratios else math.nan


def relative_range(run: Run) -> float:
    """C03: largest less smallest final norm of a layer's KV heads over the layer's mean, median over layers."""
    return float(variance_split.ranges(run)["range"].median())


def share_between_layers(run: Run) -> float:
    """C03: share of the variance of final norms over KV heads that lies between layers."""
    return variance_split.between_layers(run)


def onset(run: Run, noise: float = 1.0) -> float:
    """C03: step from which the spread stays above so many times the batch noise, median over layers; the end where never."""
    steps = []
    for _, table in divergence.spreads(run).groupby("layer"):
        parted = table["spread"].to_numpy() > noise * table["noise"].to_numpy()
        steps.append(first_lasting(table["step"].to_numpy(), parted))
    return float(pd.Series(steps).fillna(run.last_step).median())


def same_loudest_head(sweep: Sweep) -> Pooled:
    """C03: share of seed pairs whose loudest head is the same, mean over layers; p against heads drawn anew; seeds."""
    final = [at_end(divergence.key_norms(run), run) for run in sweep.baseline]
    if len(final) < 2:
        return Pooled(math.nan, math.nan, math.nan, len(final))
    norms = np.stack([t.pivot(index="layer", columns="kv_head", values="norm").to_numpy() for t in final])
    loudest, n_heads = norms.argmax(-1), norms.shape[-1]
    observed = _share_of_equal_pairs(loudest)
    random = generator(31)
    null = np.array([_share_of_equal_pairs(random.integers(n_heads, size=loudest.shape)) for _ in range(DRAWS)])
    return Pooled(observed, permutation_p(observed, null), math.nan, len(final))


def _share_of_equal_pairs(choice: np.ndarray) -> float:
    """Of choices [seed, layer]: share of seed pairs that agree, mean over layers."""
    return float(np.mean([choice[a] == choice[b] for a, b in combinations(range(len(choice)), 2)]))


# ---------------------------------------------------------------- C04: order


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


def order_of_drift(run: Run) -> float:
    """C04: the same agreement that drift gives, mean over layers and checkpoints; near 1 there is no room above it."""
    table = order_persistence(run)
    return float(table["null_mean"].mean()) if len(table) else math.nan


def order_by_step(orders: pd.DataFrame) -> pd.DataFrame:
    """Mean of `order_persistence` over layers, and over runs where there are several, indexed by step."""
    return orders.groupby("step")[["tau", "null_mean", "null_low", "null_high"]].mean()
