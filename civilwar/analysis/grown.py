"""Is it only too early? The report's claims that can be looked at in a grown model, as ``benchmarks/grown.py`` measured it.

A query head's key norm is that of the KV head it reads. That model has no norm on its keys, so no gain and no common length:
what is compared is what heads of one layer do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from civilwar.analysis.focus import stratified_rho
from civilwar.analysis.statistics import DRAWS, generator, permutation_p
from civilwar.analysis.taxonomy import MARGIN, SINK_EPSILON


def heads(result: Mapping[str, Any]) -> pd.DataFrame:
    """A row for every query head: what was measured, ``norm`` (of the keys it reads), ``sink_head`` and ``induction_head``.

    A sink gives the first token more than `SINK_EPSILON`; an induction head scores `MARGIN` above uniform attention.
    """
    queries, keys = pd.DataFrame(result["query_heads"]), pd.DataFrame(result["kv_heads"])
    table = queries.merge(keys[["layer", "kv_head", "key_norm"]], on=["layer", "kv_head"])
    return table.rename(columns={"key_norm": "norm"}).assign(
        sink_head=table["sink"] > SINK_EPSILON,
        induction_head=table["induction_score"] > result["induction_uniform"] + MARGIN,
    )


def kv_heads(result: Mapping[str, Any]) -> pd.DataFrame:
    """A row for every KV head: key norm, participation ratio, and that ratio over the dimensions there are."""
    table = pd.DataFrame(result["kv_heads"])
    return table.assign(share=table["participation_ratio"] / table["d_head"])


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Share of query heads that are sinks, and that are induction heads: layer, sinks, induction."""
    means = table.groupby("layer", as_index=False)[["sink_head", "induction_head"]].mean()
    return means.rename(columns={"sink_head": "sinks", "induction_head": "induction"})


def against_null(table: pd.DataFrame, column: str, draws: int = DRAWS) -> dict[str, float]:
    """Rank correlation of key norm with ``column`` within layers, and its null: rho, low, high, p (two-sided).

    The null deals the norms of a layer's KV heads to its KV heads anew, their query heads following: with three KV heads a
    layer that is what can be told apart, however many query heads there are.
    """
    rho = stratified_rho(table, column)
    table = table.sort_values(["layer", "query_head"], ignore_index=True)
    norms = table.pivot_table(index="layer", columns="kv_head", values="norm").to_numpy()
    random = generator(19)
    null = np.empty(draws)
    layer = table["layer"].rank(method="dense").to_numpy(dtype=int) - 1
    for draw in range(draws):
        dealt = random.permuted(norms, axis=1)
        null[draw] = stratified_rho(table.assign(norm=dealt[layer, table["kv_head"]]), column)
    low, high = np.quantile(null, [0.025, 0.975])
    return {"rho": rho, "low": float(low), "high": float(high), "p": permutation_p(abs(rho), np.abs(null))}


def summary(result: Mapping[str, Any], draws: int = 499) -> dict[str, float | str]:
    """The page's numbers."""
    table, keys = heads(result), kv_heads(result)
    focus, sinks = (against_null(table, column, draws) for column in ("entropy_normalised", "sink"))
    return {
        "grown_model": result["model"],
        "grown_parameters": result["parameters"],
        "grown_layers": int(table["layer"].nunique()),
        "grown_heads": len(table),
        "grown_sinks": int(table["sink_head"].sum()),
        "grown_induction": int(table["induction_head"].sum()),
        "grown_texts": result["texts"],
        "grown_tokens": result["tokens"],
        "grown_horizon": result["sink_horizon"],
        "grown_largest_logit": table["max_logit"].max(),
        "grown_share_median": keys["share"].median(),
        "grown_share_low": keys["share"].quantile(0.05),
        "grown_share_high": keys["share"].quantile(0.95),
        **{f"grown_focus_{name}": value for name, value in focus.items()},
        **{f"grown_sink_{name}": value for name, value in sinks.items()},
    }
