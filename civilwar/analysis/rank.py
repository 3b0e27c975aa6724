"""Phase 3: do keys collapse into few dimensions? Two questions that the report's one number mixes.

The coordinate participation ratio asks how evenly a single key spreads over the coordinate axes; the covariance measures
ask in how many directions the cloud of keys extends. Both are shown beside what isotropic directions would score, with
gain 1 and with the gain that the layer has at that step.
"""

import numpy as np
import pandas as pd

from civilwar.analysis.statistics import generator
from civilwar.runs.reader import Run, rows_of

#: Measures in ``probe_kv_heads``: the report's, then three of the covariance.
MEASURES = ("coordinate_participation_ratio", "participation_ratio", "effective_rank", "stable_rank")
#: Repeats of the isotropic null; its standard error over them is below 0.5%.
NULL_CLOUDS = 8


def shown_layers(n_layers: int) -> dict[str, int]:
    """The layers the report shows (1, 11 and 20 of 22) and their like in a model of another depth."""
    return {"early": min(1, n_layers - 1), "middle": n_layers // 2, "late": max(n_layers - 2, 0)}


def middle_layers(n_layers: int) -> list[int]:
    """The two layers on either side of half way up, which C10 calls the middle: 10 and 11 of 22."""
    return [max(n_layers // 2 - 1, 0), n_layers // 2]


def ranks_over_time(run: Run) -> pd.DataFrame:
    """Every measure before RoPE, averaged over probe texts: step, layer, kv_head, measure, value."""
    table = run.table("probe_kv_heads").melt(
        id_vars=["step", "layer", "kv_head", "text"], value_vars=list(MEASURES), var_name="measure"
    )
    return table.groupby(["step", "layer", "kv_head", "measure"], as_index=False)["value"].mean()


def layer_means(run: Run) -> pd.DataFrame:
    """`ranks_over_time` averaged over the layer's KV heads: step, layer, measure, value."""
    return ranks_over_time(run).groupby(["step", "layer", "measure"], as_index=False)["value"].mean()


def isotropic_null(n_tokens: int, gain: np.ndarray, key: int = 0) -> dict[str, float]:
    """Every measure of ``n_tokens`` random directions scaled to norm sqrt(d_head), times ``gain`` [d_head].

    With gain 1 and d_head = 64 the coordinate measure is about 22.7; the covariance measures lie a little below 64,
    since few tokens never look quite round.
    """
    random = generator(3, key)
    scores = [_score(_directions(random, n_tokens, len(gain)) * gain) for _ in range(NULL_CLOUDS)]
    return {measure: float(np.mean([score[measure] for score in scores])) for measure in MEASURES}


def _directions(random: np.random.Generator, n_tokens: int, d_head: int) -> np.ndarray:
    x = random.standard_normal((n_tokens, d_head))
    scaled: np.ndarray = x * np.sqrt(d_head / np.square(x).sum(1, keepdims=True))
    return scaled


def _score(keys: np.ndarray) -> dict[str, float]:
    """The measures of `civilwar.measure.metrics`, in numpy, for one cloud [tokens, d_head]."""
    squared = np.square(keys)
    spectrum = np.linalg.eigvalsh(np.cov(keys, rowvar=False)).clip(0)
    singular = np.sqrt(spectrum) / np.sqrt(spectrum).sum()
    entropy = -(singular * np.log(np.where(singular > 0, singular, 1))).sum()
    return {
        "coordinate_participation_ratio": float((squared.sum(1) ** 2 / np.square(squared).sum(1)).mean()),
        "participation_ratio": float(spectrum.sum() ** 2 / np.square(spectrum).sum()),
        "effective_rank": float(np.exp(entropy)),
        "stable_rank": float(spectrum.sum() / spectrum.max()),
    }


def null_over_time(run: Run) -> pd.DataFrame:
    """The isotropic null with each layer's own gain at each snapshot: step, layer, measure, value.

    Null where the model has no gain.
    """
    gain = run.array("gain")
    n_tokens = run.config.model.context
    rows = []
    for step in sorted(run.table("probe_loss")["step"].unique()):
        for layer, vector in enumerate(gain["k_gain"][rows_of(gain["step"], [step])[0]]):
            if np.isnan(vector).any():
                continue
            # the same random directions at every step and layer, so that the null moves only with the gain
            scores = isotropic_null(n_tokens, vector.astype(float))
            rows += [{"step": step, "layer": layer, "measure": m, "value": v} for m, v in scores.items()]
    return pd.DataFrame(rows, columns=["step", "layer", "measure", "value"])


def ends(run: Run) -> pd.DataFrame:
    """Start and end of every measure and layer beside both nulls: layer, measure, start, end, null_gain, null_isotropic."""
    means, null = layer_means(run), null_over_time(run)
    first, last = means["step"].min(), means["step"].max()
    flat = isotropic_null(run.config.model.context, np.ones(run.config.model.d_head))

    def at(table: pd.DataFrame, step: int) -> pd.Series:
        return table[table["step"] == step].set_index(["layer", "measure"])["value"]

    table = pd.DataFrame({"start": at(means, first), "end": at(means, last)})
    table["null_gain"] = at(null, last)
    table = table.reset_index()
    table["null_isotropic"] = table["measure"].map(flat)
    return table


def select_measure(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The rows of one measure."""
    return table[table["measure"] == measure]


def lowest_layer(ends: pd.DataFrame) -> dict[str, int]:
    """For every measure, the layer that ends lowest."""
    lowest = ends.loc[ends.groupby("measure")["end"].idxmin()]
    return {str(measure): int(layer) for measure, layer in zip(lowest["measure"], lowest["layer"], strict=True)}


def wide(ends: pd.DataFrame) -> pd.DataFrame:
    """One row per layer: start, end and gain null of the report's measure and of the covariance ones."""
    short = {"coordinate_participation_ratio": "coordinate", "participation_ratio": "covariance"}
    short |= {"effective_rank": "effective rank", "stable_rank": "stable rank"}
    columns = {
        f"{name} {column.replace('_gain', '')}": select_measure(ends, measure).set_index("layer")[column]
        for measure, name in short.items()
        for column in ("start", "end", "null_gain")
    }
    return pd.DataFrame(columns).reset_index()


def half_way_step(run: Run, measure: str) -> int:
    """The first snapshot at which the mean over layers has gone half of its way from start to end."""
    mean = select_measure(layer_means(run), measure).groupby("step")["value"].mean()
    passed = (mean - mean.iloc[0]) / (mean.iloc[-1] - mean.iloc[0]) >= 0.5
    return int(passed.index[passed][0])


def summary(run: Run, ends: pd.DataFrame) -> dict[str, float]:
    """The phase's numbers for the prose."""
    coordinate = select_measure(ends, "coordinate_participation_ratio")
    covariance, effective = select_measure(ends, "participation_ratio"), select_measure(ends, "effective_rank")
    lowest = coordinate.loc[coordinate["end"].idxmin()]
    return {
        "d_head": run.config.model.d_head,
        "coordinate_pr_start": float(coordinate["start"].mean()),
        "coordinate_pr_null": float(coordinate["null_isotropic"].iloc[0]),
        "coordinate_pr_end_min": float(lowest["end"]),
        "coordinate_pr_end_null": float(lowest["null_gain"]),
        "covariance_pr_start": float(covariance["start"].mean()),
        "covariance_pr_null": float(covariance["null_isotropic"].iloc[0]),
        "covariance_pr_end_min": float(covariance["end"].min()),
        "covariance_pr_end_max": float(covariance["end"].max()),
        "coordinate_pr_end_max": float(coordinate["end"].max()),
        "coordinate_pr_null_end": float(coordinate["null_gain"].mean()),
        "coordinate_half_step": half_way_step(run, "coordinate_participation_ratio"),
        "covariance_half_step": half_way_step(run, "participation_ratio"),
        "effective_rank_start": float(effective["start"].mean()),
        "effective_rank_end_min": float(effective["end"].min()),
        "effective_rank_end_max": float(effective["end"].max()),
    }
