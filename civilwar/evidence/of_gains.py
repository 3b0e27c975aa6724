"""The numbers behind C12 to C15 and C18: the learned gain, its golden dimensions, and the energy that lies there."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from civilwar.analysis import gain, roles, strata
from civilwar.analysis.statistics import spearman
from civilwar.runs.reader import Run

#: Mean of normal numbers above `gain.GOLDEN_DEVIATIONS`, in standard deviations: phi(d) / (1 - Phi(d)), 1.94.
BEYOND = float(stats.norm.pdf(gain.GOLDEN_DEVIATIONS) / stats.norm.sf(gain.GOLDEN_DEVIATIONS))


def golden_gain_over_scatter(run: Run) -> float:
    """C12: mean final gain of a layer's golden dimensions over what selecting them gives where gains scatter normally.

    That is m + 1.94 s, m and s the mean and standard deviation of the layer's gains. Mean over layers that have any golden one.
    """
    final = gain.final_gain(run)
    by_layer = final.groupby("layer")["gain"]
    golden = final[final["golden"]].groupby("layer")["gain"].mean()
    return float((golden / (by_layer.mean() + BEYOND * by_layer.std())).mean())


def golden_gain(run: Run) -> float:
    """C12: mean final gain of a layer's golden dimensions, mean over layers that have any."""
    final = gain.final_gain(run)
    return float(final[final["golden"]].groupby("layer")["gain"].mean().mean())


def slow_gain(run: Run) -> float:
    """C12: mean final gain of the slowest quarter of RoPE pairs, mean over layers."""
    pairs = gain.pair_gains(run)
    n_pairs = run.config.model.d_head // 2
    return float(pairs[pairs["rank"] >= n_pairs - n_pairs // 4]["gain"].mean())


def trend(run: Run, by: str = "rank", fast_half: bool = False) -> float:
    """C12: Spearman's rho of a pair's gain and its frequency ``rank`` or its place (``pair``), mean over layers.

    Gains of pairs are root mean squares of their two entries (`civilwar.analysis.gain.pair_gains`). ``fast_half``: over the
    half of the pairs that turns fastest. NaN without a gain.
    """
    pairs = gain.pair_gains(run)
    if fast_half:
        pairs = pairs[pairs["rank"] < run.config.model.d_head // 4]
    return float(np.mean([spearman(of["gain"].to_numpy(), of[by].to_numpy()) for _, of in pairs.groupby("layer")]))


def settle_step(run: Run) -> float:
    """C13, in steps."""
    return float(gain.settle_steps(run)["settle_step"].mean())


def settle_before_walk(run: Run) -> float:
    """C13, a ratio."""
    settled = gain.settle_steps(run)
    return float((settled["settle_step"] / settled["random_walk_step"]).mean())


# ---------------------------------------------------------------- C15, among neighbouring frequencies


def golden_energy_of_broad_in_strata(run: Run, width: int = strata.NEIGHBOURS) -> float:
    """C15: energy of golden dimensions over that of all dimensions of the same ``width`` RoPE frequencies.

    Of all tokens' keys, before the gain; of the KV heads that the broadest quarter of a layer's query heads read, mean over
    them, then over layers. NaN without a gain.
    """
    if run.config.model.qk_norm != "learned":
        return math.nan
    energy = run.table("key_energy")
    final = gain.final_gain(run)[["layer", "dimension", "rank", "golden"]]
    energy = energy[energy["tokens"] == "all"].merge(final, on=["layer", "dimension"])
    energy["block"] = energy["rank"] // width
    around = energy.groupby(["layer", "kv_head", "block"])["energy"].transform("mean")
    energy["over"] = energy["energy"] / around
    golden = energy[energy["golden"]].groupby(["layer", "kv_head"], as_index=False)["over"].mean()
    heads = roles.breadth(run)
    read = heads[heads["broad"]][["layer", "kv_head"]].drop_duplicates()
    return float(read.merge(golden).groupby("layer")["over"].mean().mean())


# ---------------------------------------------------------------- C18


def likeness(run: Run, measure: str) -> float:
    """C18: mean over pairs of layers of a column of `civilwar.analysis.gain.likeness`."""
    return float(gain.likeness(run)[measure].mean())


def likeness_in_strata(run: Run, width: int = strata.NEIGHBOURS) -> float:
    """C18: correlation of two layers' final gains, each less its mean over blocks of ``width`` neighbouring frequencies.

    Mean over pairs of layers; NaN where a gain does not vary within blocks.
    """
    table = gain.final_gain(run)
    block = table["rank"] // width
    rest = table["gain"] - table.groupby(["layer", block])["gain"].transform("mean")
    gains = table.assign(rest=rest).pivot(index="layer", columns="dimension", values="rest").to_numpy()
    if len(gains) < 2 or np.isnan(gains).any() or (np.ptp(gains, axis=1) < 1e-6).any():
        return math.nan
    return float(pd.DataFrame(gains.T).corr().to_numpy()[np.triu_indices(len(gains), 1)].mean())
