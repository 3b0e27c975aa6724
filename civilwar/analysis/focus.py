"""Phase 2: do heads with larger keys attend more sharply, and does it depend on whose entropy is measured?

A point is a query head with the key norm of the KV head it reads, both averaged over the probe texts of one snapshot.
Query heads of one KV head share its norm, so a null must shuffle KV heads, not query heads.
"""

import math

import numpy as np
import pandas as pd

from civilwar.analysis.statistics import DRAWS, bootstrap_interval, generator, permutation_p, spearman
from civilwar.runs.reader import Run

#: Column of ``probe_query_heads`` behind each measure of entropy.
MEASURES = {
    "causal": "entropy_normalised",
    "rescaled": "entropy_rescaled",
    "report": "entropy_report",
}


def head_points(run: Run, by_text: bool = False) -> pd.DataFrame:
    """One row per query head and snapshot: step, layer, query_head, kv_head, norm, and every entropy of MEASURES."""
    queries = run.table("probe_query_heads")
    norms = run.table("probe_kv_heads")[["step", "layer", "kv_head", "text", "norm_mean"]]
    points = queries.merge(norms, on=["step", "layer", "kv_head", "text"]).rename(columns={"norm_mean": "norm"})
    keys = ["step", "layer", "query_head", "kv_head", *(["text"] if by_text else [])]
    return points.groupby(keys, as_index=False)[["norm", "entropy", *MEASURES.values()]].mean()


def group_points(run: Run) -> pd.DataFrame:
    """The report's points: one per KV head, entropy averaged over its query heads: step, layer, kv_head, norm, entropies."""
    points = head_points(run)
    return points.groupby(["step", "layer", "kv_head"], as_index=False)[["norm", "entropy", *MEASURES.values()]].mean()


def at_moments(run: Run, points: pd.DataFrame) -> pd.DataFrame:
    """Rows at the report's four moments, with a column ``moment`` in their order."""
    moments = run.config.moments()
    names = {step: name for name, step in moments.items()}
    chosen = points[points["step"].isin(names)].copy()
    chosen["moment"] = pd.Categorical(chosen["step"].map(names), list(moments), ordered=True)
    return chosen


def stratified_rho(points: pd.DataFrame, column: str) -> float:
    """Correlation of norm and entropy ranks, ranked within each layer and then pooled: layers are strata.

    Range [-1, 1]. Layers whose norms do not differ (as at step 0, where all are sqrt(d_head)) have no ranks and are left
    out; NaN where no layer is left.
    """
    ranked = [
        (_centred_ranks(layer["norm"]), _centred_ranks(layer[column]))
        for _, layer in points.groupby("layer")
        if np.ptp(layer["norm"]) > 1e-3 and len(layer) > 2
    ]
    if not ranked:
        return math.nan
    x, y = (np.concatenate(side) for side in zip(*ranked, strict=True))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale else math.nan


def _centred_ranks(values: pd.Series) -> np.ndarray:
    ranks = values.rank().to_numpy()
    return (ranks - ranks.mean()) / len(ranks)


def correlations_over_time(run: Run, draws: int = DRAWS) -> pd.DataFrame:
    """Pooled correlation at every snapshot: step, measure, rho, null_low, null_high, p (two-sided).

    The null deals the norms of a layer's KV heads to its KV heads anew, their query heads following.
    """
    rows = []
    for step, points in head_points(run).groupby("step"):
        norms, layers = _norm_matrix(points)
        shuffled = _shuffled_norm_ranks(points, draws, step) if norms is not None else None
        for measure, column in MEASURES.items():
            rho = stratified_rho(points, column)
            low = high = p = math.nan
            if shuffled is not None and not math.isnan(rho):
                null = _null_rhos(points[points["layer"].isin(layers)], column, shuffled)
                low, high = np.quantile(null, [0.025, 0.975])
                p = permutation_p(abs(rho), np.abs(null))
            rows.append({"step": step, "measure": measure, "rho": rho, "null_low": low, "null_high": high, "p": p})
    return pd.DataFrame(rows)


def _norm_matrix(points: pd.DataFrame) -> tuple[np.ndarray | None, list[int]]:
    """Norms [layer, kv_head] of the layers whose heads differ in norm, and those layers."""
    norms = points.groupby(["layer", "kv_head"])["norm"].first().unstack("kv_head")
    differing = norms[np.ptp(norms.to_numpy(), axis=1) > 1e-3]
    return (differing.to_numpy() if len(differing) else None), list(differing.index)


def _shuffled_norm_ranks(points: pd.DataFrame, draws: int, step: int) -> np.ndarray:
    """Centred ranks of dealt norms for every query head: [draw, layer * query_head]."""
    norms, _ = _norm_matrix(points)
    assert norms is not None
    group = points["query_head"].nunique() // norms.shape[1]
    dealt = generator(2, step).permuted(np.broadcast_to(norms, (draws, *norms.shape)), axis=2)
    ranks = dealt.argsort(-1).argsort(-1).astype(float)
    # tied query heads of a KV head share its rank, centred and scaled as in `_centred_ranks`
    ranks = np.repeat((ranks - ranks.mean(-1, keepdims=True)) / norms.shape[1], group, axis=2)
    return ranks.reshape(draws, -1)


def _null_rhos(points: pd.DataFrame, column: str, shuffled: np.ndarray) -> np.ndarray:
    ordered = points.sort_values(["layer", "query_head"])
    y = np.concatenate([_centred_ranks(layer[column]) for _, layer in ordered.groupby("layer")])
    scale = np.sqrt(np.square(shuffled).sum(1) * (y @ y))
    null: np.ndarray = shuffled @ y / scale
    return null


def correlations_per_layer(run: Run, step: int) -> pd.DataFrame:
    """Spearman correlation over the query heads of each layer at one snapshot: layer, measure, rho."""
    points = head_points(run)
    points = points[points["step"] == step]
    return pd.DataFrame(
        [
            {"layer": layer, "measure": measure, "rho": spearman(table["norm"].to_numpy(), table[column].to_numpy())}
            for layer, table in points.groupby("layer")
            for measure, column in MEASURES.items()
        ]
    )


def within_run_interval(run: Run, step: int, measure: str) -> tuple[float, float]:
    """95% interval of the pooled correlation at one snapshot, from resampling probe texts. Says nothing of other seeds."""
    points = head_points(run, by_text=True)
    points = points[points["step"] == step]
    column = MEASURES[measure]

    def estimate(resampled: pd.DataFrame) -> float:
        means = resampled.groupby(["layer", "query_head", "kv_head"], as_index=False)[["norm", column]].mean()
        return stratified_rho(means, column)

    return bootstrap_interval(points, "text", estimate)


def rho_at(correlations: pd.DataFrame, step: int) -> dict[str, float]:
    """Pooled correlation of every measure at one snapshot."""
    return correlations[correlations["step"] == step].set_index("measure")["rho"].to_dict()


def n_negative(per_layer: pd.DataFrame) -> int:
    """Layers in which the causal correlation is below 0."""
    causal = per_layer[per_layer["measure"] == "causal"]
    return int((causal["rho"] < 0).sum())


def summary(run: Run, correlations: pd.DataFrame) -> dict[str, float]:
    """The phase's numbers for the prose."""
    moments = run.config.moments()
    numbers: dict[str, float] = {"report_tokens": run.config.probe.report_tokens}
    for name in ("early", "mid", "late"):
        for measure, rho in rho_at(correlations, moments[name]).items():
            numbers[f"rho_{measure}_{name}"] = rho
    low, high = within_run_interval(run, moments["late"], "causal")
    late = correlations[(correlations["step"] == moments["late"]) & (correlations["measure"] == "causal")]
    return numbers | {"rho_causal_low": low, "rho_causal_high": high, "rho_causal_p": float(late["p"].iloc[0])}
