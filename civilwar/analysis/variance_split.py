"""How large are differences between heads? The variance of key norms, split by where it lies.

Every split is nested and exact. Values x[layer, seed, head, ...], every axis inside the one before it, have the variance

    V = sum_k V_k,   V_k = mean over all of (mean over axes after k  -  mean over axes from k on)^2,

so that V_k is what differs along axis k within one place of the axes before it, and V_k / V its share. The head of an index is
another head in another layer or seed, hence the order. Of numbers that differ at random, axis k gets its share of the degrees
of freedom, (n_1 ... n_{k-1})(n_k - 1) / (n_1 ... n_K - 1): the share that chance alone gives, which stands beside each.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from civilwar.runs.reader import Run

#: A standard deviation below this is rounding, and lies nowhere.
ROUNDING = 1e-3
COLUMNS = ["source", "variance", "share", "by_chance"]
#: Sides of a dot product, and where the mean length of a head's vectors stands.
SIDES = {
    "key": ("step_kv_heads", "kv_head", "norm_mean"),
    "query": ("step_query_heads", "query_head", "query_norm_mean"),
}


def nested(values: np.ndarray, names: Sequence[str], inside: tuple[str, float, int] | None = None) -> pd.DataFrame:
    """The split of ``values``, an axis for each of ``names``: source, variance, share, by_chance.

    ``inside``: name, mean variance (dividing by n) and number n of what every value is itself the mean of; it becomes the last
    source. ``variance`` in squared units of ``values``; ``share`` and ``by_chance`` in [0, 1], each adding up to 1. An axis of
    length 1 can tell nothing and has no row. Shares are NaN where nothing varies but by rounding.
    """
    if values.ndim != len(names):
        raise ValueError(f"{len(names)} names for {values.ndim} axes; name every axis of the values once.")
    x = values.astype(float)
    means = [x.mean(tuple(range(k, x.ndim)), keepdims=True) for k in range(x.ndim + 1)]
    variances = [float(np.square(fine - coarse).mean()) for coarse, fine in pairwise(means)]
    lengths, sources = [*x.shape], [*names]
    if inside is not None:
        name, within, n = inside
        variances, lengths, sources = [*variances, within], [*lengths, n], [*sources, name]
    total = sum(variances)
    size = math.prod(lengths)
    rows = [
        {
            "source": source,
            "variance": variance,
            "share": variance / total if total > ROUNDING**2 else math.nan,
            "by_chance": math.prod(lengths[:k]) * (lengths[k] - 1) / (size - 1),
        }
        for k, (source, variance) in enumerate(zip(sources, variances, strict=True))
        if lengths[k] > 1
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def final_norms(run: Run, side: str = "key", step: int | None = None) -> np.ndarray:
    """Mean norm of every head on the training batch, [layer, head]; KV heads of keys, query heads of queries.

    At ``step``, by default the last.
    """
    table, head, column = SIDES[side]
    norms = run.table(table)
    norms = norms[norms["step"] == (run.last_step if step is None else step)]
    matrix: np.ndarray = norms.pivot(index="layer", columns=head, values=column).to_numpy(dtype=float)
    return matrix


def of_heads(runs: Sequence[Run], side: str = "key") -> pd.DataFrame:
    """Of heads' mean norms at the end: how much lies between layers, between seeds of a layer, and between its heads."""
    return nested(np.stack([final_norms(run, side) for run in runs], axis=1), ("layer", "seed", "head"))


def of_texts(runs: Sequence[Run]) -> pd.DataFrame:
    """Of KV heads' mean key norms on each held-out text at the end: layers, seeds, heads, and texts within a head."""
    stacked = []
    for run in runs:
        table = run.table("probe_kv_heads")
        table = table[table["step"] == run.last_step]
        stacked.append(
            table.pivot(index=["layer", "kv_head"], columns="text", values="norm_mean")
            .to_numpy(dtype=float)
            .reshape(run.config.model.n_layers, run.config.model.n_kv_heads, -1)
        )
    return nested(np.stack(stacked, axis=1), ("layer", "seed", "head", "text"))


def of_keys(runs: Sequence[Run]) -> pd.DataFrame:
    """Of single keys' norms on the training batch at the end: layers, seeds, heads, and tokens within a head.

    Of tokens only their standard deviation within a head is recorded, over all texts of the batch: what differs between texts
    is in it. ``by_chance`` takes tokens for independent, which those of one text are not.
    """
    n = runs[0].config.tokens_per_step
    within = []
    for run in runs:
        table = run.table("step_kv_heads")
        # the recorded deviation divides by n - 1
        within.append(float((table[table["step"] == run.last_step]["norm_std"] ** 2).mean()) * (n - 1) / n)
    norms = np.stack([final_norms(run) for run in runs], axis=1)
    return nested(norms, ("layer", "seed", "head"), inside=("token", float(np.mean(within)), n))


def between_layers(run: Run, side: str = "key", step: int | None = None) -> float:
    """Share of the variance of heads' mean norms that lies between layers, in [0, 1]; NaN where heads do not differ."""
    table = nested(final_norms(run, side, step), ("layer", "head")).set_index("source")
    return float(table["share"].get("layer", math.nan))


def ranges(run: Run, side: str = "key") -> pd.DataFrame:
    """How far apart the heads of each layer end: layer, lowest, mean, highest (lengths), range (highest - lowest, over mean).

    ``range`` is a share of the layer's mean, at least 0.
    """
    norms = final_norms(run, side)
    lowest, mean, highest = norms.min(1), norms.mean(1), norms.max(1)
    layer = np.arange(len(norms))
    return pd.DataFrame(
        {"layer": layer, "lowest": lowest, "mean": mean, "highest": highest, "range": (highest - lowest) / mean}
    )
