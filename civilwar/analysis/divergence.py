"""Phase 1: do the key norms of one layer's heads drift apart, and is that more than noise, bounds and chance alignment?

All heads of a layer share one gain g. Before it, RMSNorm fixes the key's energy, sum_j xhat_j^2 = d_head, so

    norm^2 = sum_j g_j^2 xhat_j^2,   sqrt(d_head) min|g| <= norm <= sqrt(d_head) max|g|,

and two heads can differ in norm only through how their energy lies on g^2. Hence the null here: permute g.
"""

import math

import numpy as np
import pandas as pd
from scipy.stats import chi2

from civilwar.analysis.statistics import DRAWS, first_lasting, generator, permutation_p
from civilwar.errors import RunLacks
from civilwar.recipe import rope
from civilwar.recipe.config import RunConfig
from civilwar.recipe.watched import AnyConfig
from civilwar.runs.reader import Run, rows_of

#: Batch noise is judged against this quantile of the spread that equal heads would show.
NOISE_QUANTILE = 0.99


def key_norms(run: Run) -> pd.DataFrame:
    """Mean key norm of every KV head on the training batch: step, layer, kv_head, norm."""
    table = run.table("step_kv_heads")[["step", "layer", "kv_head", "norm_mean"]]
    return table.rename(columns={"norm_mean": "norm"})


def middle_layer(config: AnyConfig) -> int:
    """The layer the report shows: number 11 of 22, half way up."""
    return config.model.n_layers // 2


def decay_only(config: AnyConfig, step: np.ndarray) -> np.ndarray:
    """Key norm if nothing but weight decay moved the gain: sqrt(d_head) (1 - lr * decay)^t.

    sqrt(d_head) throughout under a frozen gain, which nothing moves; null where there is no norm to hold keys at that
    length, and of a run that was watched, whose optimiser is not known.
    """
    step = np.asarray(step, dtype=float)
    if not isinstance(config, RunConfig) or config.model.qk_norm == "none":
        return np.full_like(step, math.nan)
    decay = config.train.gain_weight_decay if config.model.qk_norm == "learned" else 0.0
    return math.sqrt(config.model.d_head) * (1 - config.train.adamw_lr * decay) ** step


def decay_only_curve(run: Run) -> pd.Series:
    """`decay_only` at every step of the run, indexed by step."""
    step = np.arange(run.config.train.steps + 1)
    return pd.Series(decay_only(run.config, step), index=pd.Index(step, name="step"), name="decay_only")


def dips(run: Run) -> pd.DataFrame:
    """Lowest layer-mean norm: layer, dip_step, dip_norm, decay_only_norm at that step, start_norm and end_norm."""
    mean = key_norms(run).groupby(["layer", "step"])["norm"].mean().unstack("layer")
    step = mean.idxmin()
    return pd.DataFrame(
        {
            "layer": mean.columns,
            "dip_step": step.to_numpy(),
            "dip_norm": mean.min().to_numpy(),
            "decay_only_norm": decay_only(run.config, step.to_numpy()),
            "start_norm": mean.iloc[0].to_numpy(),
            "end_norm": mean.iloc[-1].to_numpy(),
        }
    )


def departures(run: Run, tolerance: float = 0.05) -> pd.DataFrame:
    """When a layer's mean norm leaves the decay-only curve for good: layer, departure_step.

    The first step from which the two differ by more than ``tolerance`` (in units of norm) to the end; null where never.
    """
    mean = key_norms(run).groupby(["layer", "step"], as_index=False)["norm"].mean()
    rows = []
    for layer, table in mean.groupby("layer"):
        step = table["step"].to_numpy()
        apart = np.abs(table["norm"].to_numpy() - decay_only(run.config, step)) > tolerance
        rows.append({"layer": layer, "departure_step": first_lasting(step, apart)})
    return pd.DataFrame(rows)


def spreads(run: Run) -> pd.DataFrame:
    """Between-head spread: step, layer, spread (standard deviation over KV heads), noise (its batch-noise threshold).

    A head's noise is the standard deviation of its norm's change from one batch to the next, less the layer's common
    change, over sqrt(2 (n - 1) / n): a change has the noise of two batches, and taking out the mean of n heads costs one
    n-th of it. Equal heads would then show a spread of noise * sqrt(chi2_{n-1} / (n - 1)); the threshold is that law's
    99% point.
    """
    norms = key_norms(run).pivot(index=["layer", "step"], columns="kv_head", values="norm")
    n_heads = norms.shape[1]
    if n_heads < 2:
        raise RunLacks(f"{run.name} has one KV head a layer, so there is no spread between heads.")
    spread = norms.std(axis=1, ddof=1)
    jumps = norms.groupby("layer").diff()
    noise = jumps.sub(jumps.mean(axis=1), axis=0).stack().groupby("layer").std() / math.sqrt(
        2 * (n_heads - 1) / n_heads
    )
    factor = math.sqrt(chi2.ppf(NOISE_QUANTILE, n_heads - 1) / (n_heads - 1))
    table = spread.rename("spread").reset_index()
    return table.assign(noise=table["layer"].map(noise) * factor)


def onsets(run: Run) -> pd.DataFrame:
    """When a layer's heads part: layer, onset_step, end_spread.

    Stated before any run was looked at: the onset is the first step from which the spread stays above the batch-noise
    threshold to the end. Null where there is none.
    """
    rows = []
    for layer, table in spreads(run).groupby("layer"):
        step, spread = table["step"].to_numpy(), table["spread"].to_numpy()
        onset = first_lasting(step, spread > table["noise"].to_numpy())
        rows.append({"layer": layer, "onset_step": onset, "end_spread": spread[-1]})
    return pd.DataFrame(rows)


def gain_bounds(run: Run) -> pd.DataFrame:
    """The shared-gain bound of every layer and step: step, layer, lower, upper. Null where there is no gain."""
    gain = run.array("gain")
    size = np.abs(gain["k_gain"]) * math.sqrt(run.config.model.d_head)
    index = pd.MultiIndex.from_product([gain["step"], range(size.shape[1])], names=["step", "layer"])
    return pd.DataFrame({"lower": size.min(-1).ravel(), "upper": size.max(-1).ravel()}, index=index).reset_index()


def permute_pairs(values: np.ndarray, random: np.random.Generator, draws: int) -> np.ndarray:
    """``values`` [d_head] with its RoPE pairs (2i, 2i+1) dealt anew, ``draws`` times: [draws, d_head]."""
    pairs = values.reshape(-1, 2)
    order = random.permuted(np.tile(np.arange(len(pairs)), (draws, 1)), axis=1)
    return pairs[order].reshape(draws, -1)


def alignment(run: Run, steps: list[int] | None = None, draws: int = DRAWS) -> pd.DataFrame:
    """Is the spread more than chance alignment? step, layer, spread, null_median, null_low, null_high, p.

    Heads' root-mean-square norms are sqrt(sum_j g_j^2 E_hj), E the mean pre-gain energy. The null deals g^2 to the
    dimensions anew, whole RoPE pairs at a time and alike for all heads of the layer. One-sided p of the spread. A layer
    without a gain, or with one that does not vary, has no row: nothing can be aligned with it; nor has a watched run of which
    nothing says which dimensions RoPE pairs.
    """
    columns = ["step", "layer", "spread", "null_low", "null_median", "null_high", "p"]
    try:
        energy, gain, order = run.array("energy"), run.array("gain"), rope.pair_order(run.config)
    except RunLacks:
        return pd.DataFrame(columns=columns, dtype=float)
    snapshots = np.intersect1d(run.config.snapshot_steps(), energy["step"])
    chosen = [int(step) for step in snapshots if step > 0] if steps is None else steps
    rows = []
    for step in chosen:
        at, at_gain = (int(rows_of(array["step"], [step])[0]) for array in (energy, gain))
        for layer in range(energy["energy"].shape[1]):
            squared = gain["k_gain"][at_gain, layer][order] ** 2
            if np.isnan(squared).any() or np.ptp(squared) < 1e-6:
                continue
            by_head = energy["energy"][at, layer][:, order]
            observed = float(np.sqrt(by_head @ squared).std(ddof=1))
            null_gain = permute_pairs(squared, generator(1, step, layer), draws)
            null = np.sqrt(null_gain @ by_head.T).std(axis=1, ddof=1)
            low, median, high = np.quantile(null, [0.025, 0.5, 0.975])
            rows.append(
                {
                    "step": step,
                    "layer": layer,
                    "spread": observed,
                    "null_low": low,
                    "null_median": median,
                    "null_high": high,
                    "p": permutation_p(observed, null),
                }
            )
    return pd.DataFrame(rows, columns=columns)


def last_p(aligned: pd.DataFrame) -> pd.DataFrame:
    """Permutation p of each layer at the last snapshot: layer, p."""
    return aligned[aligned["step"] == aligned["step"].max()][["layer", "p"]]


def n_aligned(aligned: pd.DataFrame, level: float = 0.05) -> int:
    """Layers whose final spread exceeds the permuted-gain null at ``level``, layers not corrected for."""
    return int((last_p(aligned)["p"] < level).sum())


def summary(run: Run, dips: pd.DataFrame, onsets: pd.DataFrame, aligned: pd.DataFrame) -> dict[str, float]:
    """The phase's numbers for the prose."""
    norms = key_norms(run)
    final = norms[norms["step"] == norms["step"].max()]["norm"]
    middle = dips.set_index("layer").loc[middle_layer(run.config)]
    return {
        "initial_norm": float(norms[norms["step"] == norms["step"].min()]["norm"].mean()),
        "middle_layer": middle_layer(run.config),
        "dip_norm": float(middle["dip_norm"]),
        "dip_step": int(middle["dip_step"]),
        "decay_only_norm": float(middle["decay_only_norm"]),
        "dip_norm_min": float(dips["dip_norm"].min()),
        "dip_norm_max": float(dips["dip_norm"].max()),
        "decay_departure_first": float(departures(run)["departure_step"].min()),
        "decay_departure_last": float(departures(run)["departure_step"].max()),
        "end_norm_min": float(final.min()),
        "end_norm_max": float(final.max()),
        "n_layers": run.config.model.n_layers,
        "n_layers_onset": int(onsets["onset_step"].notna().sum()),
        "n_layers_aligned": n_aligned(aligned),
        "onset_first": float(onsets["onset_step"].min()),
        "onset_last": float(onsets["onset_step"].max()),
        "onset_median": float(onsets["onset_step"].median()),
        "spread_end_median": float(onsets["end_spread"].median()),
    }
