"""C03, C10, C15 and C18 beside two nulls each: dimensions dealt anew freely, and only among neighbouring RoPE frequencies.

The first asks whether a pattern is more than chance, the second whether it is more than chance and the frequency trend
(`civilwar.analysis.strata`). Both are shown: a claim that the free null supports and the other does not is one about RoPE.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from civilwar.analysis import gain, rank, roles, strata
from civilwar.analysis.statistics import DRAWS, generator, permutation_p
from civilwar.runs.reader import Run, rows_of

#: Widths of blocks that are shown, in pairs: None is the free null.
WIDTHS: tuple[int | None, ...] = (None, 16, 8, 4)
COLUMNS = ["layer", "observed", "null_low", "null_median", "null_high", "p"]


def _row(layer: int, observed: float, null: np.ndarray) -> dict[str, float]:
    low, median, high = (float(x) for x in np.quantile(null, [0.025, 0.5, 0.975]))
    p = permutation_p(observed, null)
    return dict(zip(COLUMNS, (layer, observed, low, median, high, p), strict=True))


def _learns(run: Run) -> bool:
    return run.config.model.qk_norm == "learned"


def spread(run: Run, width: int | None = None, draws: int = DRAWS) -> pd.DataFrame:
    """C03 at the end: standard deviation between a layer's heads, of the norms sqrt(sum_j g_j^2 E_hj), with g^2 dealt anew.

    layer, observed (length), null_low to null_high (95%), p (one-sided). `civilwar.analysis.divergence.alignment` at the last
    step, but for the blocks. No rows without a gain that varies.
    """
    energy, gains = run.array("energy"), run.array("gain")
    at = int(rows_of(energy["step"], [run.last_step])[0])
    rows = []
    for layer, ranks in enumerate(strata.ranks_of(run.recipe)):
        squared = gains["k_gain"][-1, layer].astype(float) ** 2
        if np.isnan(squared).any() or np.ptp(squared) < 1e-6:
            continue
        by_head = energy["energy"][at, layer].astype(float)
        dealt = strata.dealt(ranks, width, generator(1, run.last_step, layer), draws)
        null = np.sqrt(squared[dealt] @ by_head.T).std(axis=1, ddof=1)
        rows.append(_row(layer, float(np.sqrt(by_head @ squared).std(ddof=1)), null))
    return pd.DataFrame(rows, columns=COLUMNS)


def golden_energy(run: Run, width: int | None = None, draws: int = DRAWS) -> pd.DataFrame:
    """C15 at the end: pre-gain energy of a layer's broadest heads' keys on golden dimensions, which ones being dealt anew.

    layer, observed (of an even share, 1), null_low to null_high, p (one-sided, for more than that). Heads and energy as in
    `civilwar.analysis.roles.golden_energy_by_breadth`. No rows without a gain; layers without a golden dimension are left out.
    """
    if not _learns(run):
        return pd.DataFrame(columns=COLUMNS)
    heads = roles.breadth(run)
    read = heads[heads["broad"]][["layer", "kv_head"]].drop_duplicates()
    energy = run.table("key_energy")
    energy = energy[energy["tokens"] == "all"].merge(read)
    profile = energy.groupby(["layer", "dimension"])["energy"].mean().unstack("dimension")
    golden = gain.final_gain(run).pivot(index="layer", columns="dimension", values="golden")
    rows = []
    for layer, ranks in enumerate(strata.ranks_of(run.recipe)):
        chosen = golden.loc[layer].to_numpy(dtype=bool)
        if not chosen.any():
            continue
        values = profile.loc[layer].to_numpy(dtype=float)
        dealt = strata.dealt(ranks, width, generator(12, layer), draws)
        null = (chosen[dealt] * values).sum(1) / chosen.sum()
        rows.append(_row(layer, float(values[chosen].mean()), null))
    return pd.DataFrame(rows, columns=COLUMNS)


def likeness(run: Run, width: int | None = None, draws: int = DRAWS) -> dict[str, float]:
    """C18 at the end: mean correlation between layers of their gains over dimensions, each layer's dealt anew by itself.

    observed, null_low, null_median, null_high, p (one-sided). Correlations in [-1, 1]. NaN where fewer than two layers have a
    gain that varies.
    """
    gains = run.array("gain")["k_gain"][-1].astype(float)
    all_ranks = strata.ranks_of(run.recipe)
    varying = [layer for layer in range(len(gains)) if np.ptp(gains[layer]) > 1e-6]
    if len(varying) < 2:
        return dict.fromkeys(COLUMNS[1:], math.nan)
    dealt = np.stack(
        [gains[at][strata.dealt(all_ranks[at], width, generator(13, at), draws)] for at in varying], axis=1
    )
    row = _row(0, float(_mean_correlation(gains[None, varying])[0]), _mean_correlation(dealt))
    return {name: row[name] for name in COLUMNS[1:]}


def _mean_correlation(gains: np.ndarray) -> np.ndarray:
    """Mean over pairs of layers of Pearson's correlation over dimensions: [draw, layer, dimension] -> [draw]."""
    centred = gains - gains.mean(-1, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    n = unit.shape[1]
    # the squared length of the sum holds every pair twice, and every layer with itself once
    pairs: np.ndarray = (np.square(unit.sum(1)).sum(-1) - n) / (n * (n - 1))
    return pairs


def fall_explained(run: Run, width: int | None) -> float:
    """C10: how much of the middle layers' fall in coordinate participation the frequency trend of their gains explains.

    Random directions under gains that are the root mean square of their block of ``width`` pairs, over the measured fall; a
    width of 1 keeps each pair's own gain, None says what an even gain explains, nothing. A share, of which 1 is all; NaN
    without a gain.
    """
    if not _learns(run):
        return math.nan
    gains, all_ranks = run.array("gain")["k_gain"][-1].astype(float), strata.ranks_of(run.recipe)
    middle = rank.middle_layers(run.config.model.n_layers)
    measure = rank.MEASURES[0]

    def under(vector: np.ndarray) -> float:
        return rank.isotropic_null(run.config.model.context, vector)[measure]

    flat = under(np.ones(gains.shape[1]))
    left = np.mean([under(np.sqrt(strata.trend(gains[at] ** 2, all_ranks[at], width))) for at in middle])
    means = rank.select_measure(rank.layer_means(run), measure).set_index(["step", "layer"])["value"]
    measured = means[0][middle].mean() - means[run.last_step][middle].mean()
    return float((flat - left) / measured)


def over_runs(runs: Sequence[Run], widths: Sequence[int | None] = WIDTHS, draws: int = 499) -> pd.DataFrame:
    """Every claim's number under every null, run by run: claim, run, seed, width (pairs; NaN the free null), value.

    C03: geometric mean over layers of spread over the null's median. C10: `fall_explained`. C15: mean over layers of golden
    energy over the null's median. C18: mean correlation less the null's median.
    """
    rows = []
    for run in runs:
        for width in widths:
            of_spread, of_energy = spread(run, width, draws), golden_energy(run, width, draws)
            alike = likeness(run, width, draws)
            values = {
                "C03": math.exp(np.log(of_spread["observed"] / of_spread["null_median"]).mean())
                if len(of_spread)
                else math.nan,
                "C10": fall_explained(run, 1 if width is None else width),
                "C15": float((of_energy["observed"] / of_energy["null_median"]).mean()),
                "C18": alike["observed"] - alike["null_median"],
            }
            label = math.nan if width is None else float(width)
            rows += [
                {"claim": claim, "run": run.name, "seed": run.config.seed, "width": label, "value": value}
                for claim, value in values.items()
            ]
    return pd.DataFrame(rows, columns=["claim", "run", "seed", "width", "value"])
