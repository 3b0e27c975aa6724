"""Phase 4: the learned gain. Which dimensions grow, does RoPE frequency decide, when is it settled, do layers agree?

RoPE turns dimensions (2i, 2i+1) with a wavelength that grows with i; where it exceeds the context, a dimension can say
what but hardly where. The frequency trend is therefore the first thing to look at, and to take out, before calling an
entry of the gain a choice of the model.
"""

import math

import numpy as np
import pandas as pd
from scipy import stats

from civilwar.analysis.statistics import DRAWS, first_lasting, generator, permutation_p, spearman
from civilwar.errors import RunError, RunLacks
from civilwar.recipe import rope
from civilwar.runs.reader import Run, rows_of

#: Golden: above the layer's mean by this many standard deviations at the end of the run.
GOLDEN_DEVIATIONS = 1.5
#: Settled: the centred cosine to the final gain passes this for good.
SETTLED = 0.95


def require_gain(run: Run) -> None:
    """Raise RunError unless the run's model learns a gain on its keys: without one there is nothing to look at.

    Of a watched run whatever asks for the gain says so itself.
    """
    if not run.watched and run.config.model.qk_norm != "learned":
        raise RunError(
            f"run {run.name} (variant {run.config.variant}) learns no gain on its keys, so phase 4 has nothing to show. "
            "Choose a variant with a learned gain, for instance baseline, no_gain_decay or shuffled_rope."
        )


def _check_known(run: Run) -> None:
    """Raise RunLacks for a watched run of a model without norms on its keys."""
    if run.watched and run.config.model.qk_norm != "learned":
        raise RunLacks(f"{run.name} has no norm on its keys, so there is no gain to show.")


def gain_table(run: Run, steps: list[int] | None = None) -> pd.DataFrame:
    """The key gain as rows: step, layer, dimension, gain, rank (of RoPE frequency, 0 fastest), wavelength in tokens."""
    _check_known(run)
    array = run.array("gain")
    chosen = list(array["step"]) if steps is None else steps
    at = rows_of(array["step"], chosen)
    model = run.config.model
    ranks = rope.ranks_of(run.config)
    index = pd.MultiIndex.from_product(
        [chosen, range(model.n_layers), range(model.d_head)], names=["step", "layer", "dimension"]
    )
    table = pd.DataFrame({"gain": array["k_gain"][at].ravel()}, index=index).reset_index()
    table["rank"] = ranks[table["layer"], table["dimension"]]
    table["wavelength"] = rope.wavelengths_of(run.config)[table["rank"]]
    return table


def final_gain(run: Run) -> pd.DataFrame:
    """`gain_table` at the last step, with a column ``golden``."""
    table = gain_table(run, [run.last_step])
    by_layer = table.groupby("layer")["gain"]
    threshold = by_layer.transform("mean") + GOLDEN_DEVIATIONS * by_layer.transform("std")
    return table.assign(golden=table["gain"] > threshold)


def pair_gains(run: Run) -> pd.DataFrame:
    """Final gain of every RoPE pair: layer, pair (place among the dimensions), rank (0 fastest), wavelength, gain.

    sqrt((g_{2i}^2 + g_{2i+1}^2) / 2), the root mean square of the pair's two entries. RoPE turns the two into each other, so
    that only their energy survives, and a key whose energy lies evenly on both grows by this factor there. In the gain's own
    unit, at least 0; NaN where the model has no gain.
    """
    table = final_gain(run)
    places = np.argsort(rope.pair_order(run.config))
    table = table.assign(pair=places[table["dimension"]] // 2, gain=table["gain"] ** 2)
    pairs = table.groupby(["layer", "pair", "rank", "wavelength"], as_index=False)["gain"].mean()
    return pairs.assign(gain=np.sqrt(pairs["gain"]))


def heat(run: Run, layer: int, by_frequency: bool) -> pd.DataFrame:
    """The layer's gain as a matrix: dimensions (by index, or by RoPE frequency from fast to slow) x steps."""
    table = gain_table(run)
    table = table[table["layer"] == layer]
    matrix = table.pivot(index=["rank", "dimension"], columns="step", values="gain")
    if not by_frequency:
        matrix = matrix.sort_index(level="dimension")
    return matrix.droplevel("rank")


def frequency_trend(run: Run, draws: int = DRAWS) -> pd.DataFrame:
    """Spearman correlation of the final gain with RoPE frequency rank, over pairs: layer, rho, p, null_low, null_high.

    Gains of pairs as in `pair_gains`. Negative: slow pairs end lower. The null deals the gains to the pairs anew (two-sided p).
    """
    rows = []
    for layer, layer_table in pair_gains(run).sort_values("rank").groupby("layer"):
        pairs = layer_table["gain"].to_numpy()
        rank = np.arange(len(pairs))
        rho = spearman(pairs, rank)
        random = generator(4, int(layer))
        dealt = random.permuted(np.tile(pairs.argsort().argsort(), (draws, 1)), axis=1)
        null = 1 - 6 * np.square(dealt - rank).sum(1) / (len(rank) * (len(rank) ** 2 - 1))
        low, high = np.quantile(null, [0.025, 0.975])
        rows.append(
            {"layer": layer, "rho": rho, "p": permutation_p(abs(rho), abs(null)), "null_low": low, "null_high": high}
        )
    return pd.DataFrame(rows)


def settling(run: Run) -> pd.DataFrame:
    """Cosine of the gain to its final value, each centred at its mean over dimensions: step, layer, cosine, random_walk.

    A random walk of as many steps scores sqrt(t / T) on average without ever deciding anything. Null where a gain does
    not vary over dimensions.
    """
    _check_known(run)
    array = run.array("gain")
    centred = array["k_gain"].astype(float) - array["k_gain"].mean(-1, keepdims=True, dtype=float)
    size = np.linalg.norm(centred, axis=-1)
    # at step 0 the gain is flat: no direction, no cosine
    size = np.where(size > 1e-6, size, math.nan)
    cosine = (centred * centred[-1]).sum(-1) / (size * size[-1])
    index = pd.MultiIndex.from_product([array["step"], range(cosine.shape[1])], names=["step", "layer"])
    table = pd.DataFrame({"cosine": cosine.ravel()}, index=index).reset_index()
    return table.assign(random_walk=np.sqrt(table["step"] / table["step"].max()))


def settle_steps(run: Run) -> pd.DataFrame:
    """When the gain's direction is settled: layer, settle_step, random_walk_step (0.95^2 T, for comparison)."""
    table = settling(run)
    rows = [
        {
            "layer": layer,
            "settle_step": first_lasting(t["step"].to_numpy(), (t["cosine"] > SETTLED).to_numpy()),
            "random_walk_step": SETTLED**2 * t["step"].max(),
        }
        for layer, t in table.groupby("layer")
    ]
    return pd.DataFrame(rows)


def likeness(run: Run) -> pd.DataFrame:
    """How alike the final gains of two layers are: layer, other, raw, centred, detrended; every pair once.

    ``raw``: cosine, high for any two positive vectors. ``centred``: Pearson correlation over dimensions. ``detrended``:
    the same after a cubic in RoPE frequency rank is taken out of each layer, the obvious common cause.
    """
    table = final_gain(run)
    gains = table.pivot(index="layer", columns="dimension", values="gain").to_numpy()
    ranks = table.pivot(index="layer", columns="dimension", values="rank").to_numpy()
    rest = np.stack([g - np.polynomial.Polynomial.fit(r, g, 3)(r) for g, r in zip(gains, ranks, strict=True)])
    rows = []
    for layer, other in zip(*np.triu_indices(len(gains), 1), strict=True):
        a, b = gains[layer], gains[other]
        rows.append(
            {
                "layer": int(layer),
                "other": int(other),
                "raw": float(a @ b / np.sqrt((a @ a) * (b @ b))),
                "centred": _pearson(a, b),
                "detrended": _pearson(rest[layer], rest[other]),
            }
        )
    return pd.DataFrame(rows, columns=["layer", "other", "raw", "centred", "detrended"])


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) < 1e-6 or np.ptp(b) < 1e-6:
        return math.nan
    return float(stats.pearsonr(a, b).statistic)


def likeness_null(run: Run, draws: int = DRAWS) -> dict[str, float]:
    """97.5% point of the mean centred correlation between layers whose dimensions are dealt anew in each layer, by pairs.

    What chance likeness alone would give; the same law holds for the detrended correlation to a good approximation.
    """
    table = final_gain(run)
    gains = table.pivot(index="layer", columns="dimension", values="gain").to_numpy()
    pairs = gains[:, rope.pair_order(run.config)].reshape(len(gains), -1, 2)
    upper = np.triu_indices(len(gains), 1)
    random = generator(5)
    means = []
    for _ in range(draws):
        dealt = np.stack([layer[random.permutation(len(layer))].ravel() for layer in pairs])
        means.append(np.corrcoef(dealt)[upper].mean())
    return {"centred_high": float(np.quantile(means, 0.975))}


def golden_dimensions(run: Run, layer: int) -> set[int]:
    """Indices of one layer's golden dimensions."""
    table = final_gain(run)
    return set(table[(table["layer"] == layer) & table["golden"]]["dimension"].tolist())


def largest_deviation(run: Run) -> float:
    """How far any gain of the run ever is from 1, for a colour scale that all layers share."""
    return max(0.05, float(np.abs(run.array("gain")["k_gain"] - 1).max()))


def summary(run: Run, trend: pd.DataFrame, settled: pd.DataFrame, likeness: pd.DataFrame) -> dict[str, float]:
    """The phase's numbers for the prose."""
    final = final_gain(run)
    return {
        "d_head": run.config.model.d_head,
        "gain_min": float(final["gain"].min()),
        "gain_max": float(final["gain"].max()),
        "n_golden": int(final["golden"].sum()),
        "n_dimensions": len(final),
        "gain_rope_rho_min": float(trend["rho"].min()),
        "gain_rope_rho_max": float(trend["rho"].max()),
        "settle_step_min": float(settled["settle_step"].min()),
        "settle_step_max": float(settled["settle_step"].max()),
        "random_walk_step": float(settled["random_walk_step"].iloc[0]),
        "gain_likeness_raw": float(likeness["raw"].mean()),
        "gain_likeness_centred": float(likeness["centred"].mean()),
        "gain_likeness_detrended": float(likeness["detrended"].mean()),
    }
