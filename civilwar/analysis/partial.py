"""Keys, queries or their product: which goes with sharp attention, once the others are held?

A logit is q . k / sqrt(d_head), at most ||q|| ||k|| / sqrt(d_head): a head can attend more sharply by longer queries just as by
longer keys. A point is a query head. Everything is ranked within its layer, layers being strata, and the ranks are then pooled.
With x, y and z such ranks, the partial correlation of x and y given z is the correlation of what is left of each after
regression on z,

    (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)).

Query heads of one KV head read the same keys, so the null deals whole KV groups.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from civilwar.analysis import focus
from civilwar.analysis.kinds import dealt_heads
from civilwar.analysis.statistics import DRAWS, generator, permutation_p
from civilwar.runs.reader import Run

#: What is held against entropy, and what is held constant. ``key_norm`` is the KV head's.
QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("key_norm", ()),
    ("query_norm", ()),
    ("logit_scale", ()),
    ("key_norm", ("query_norm",)),
    ("query_norm", ("key_norm",)),
)
#: Differences below this are rounding, and have no ranks.
ROUNDING = 1e-3


def head_scales(run: Run, step: int) -> pd.DataFrame:
    """One row a query head: layer, query_head, kv_head, key_norm, query_norm, logit_scale, entropies, max_logit.

    ``key_norm`` and entropies (those of `civilwar.analysis.focus`) are means over the probe texts, ``query_norm`` is that of
    the training batch, where alone it is recorded. ``logit_scale``: query_norm * key_norm / sqrt(d_head), the largest logit
    that vectors of these lengths can make; in logits, at least 0. ``max_logit``: the largest that a query makes, as far as
    recorded; else undefined.
    """
    points = focus.head_points(run)
    points = points[points["step"] == step].rename(columns={"norm": "key_norm"})
    queries = run.table("step_query_heads")
    queries = queries[queries["step"] == step][["layer", "query_head", "query_norm_mean"]]
    table = points.merge(queries.rename(columns={"query_norm_mean": "query_norm"}), on=["layer", "query_head"])
    scale = table["query_norm"] * table["key_norm"] / math.sqrt(run.config.model.d_head)
    largest = _max_logit(run, step)
    return table.drop(columns="step").assign(
        logit_scale=scale,
        max_logit=pd.MultiIndex.from_frame(table[["layer", "query_head"]]).map(largest) if len(largest) else math.nan,
    )


def _max_logit(run: Run, step: int) -> pd.Series:
    """Mean over texts, by layer and query head; empty where it was not recorded."""
    table = run.table("probe_query_heads")
    if "max_logit" not in table:
        return pd.Series(dtype=float)
    return table[table["step"] == step].groupby(["layer", "query_head"])["max_logit"].mean()


def by_kv_head(points: pd.DataFrame) -> pd.DataFrame:
    """`head_scales` with the KV head as unit: means over the query heads that read it."""
    numbers = points.columns.difference(["layer", "query_head", "kv_head"])
    return points.groupby(["layer", "kv_head"], as_index=False)[list(numbers)].mean()


def residual_ranks(points: pd.DataFrame, column: str, given: Sequence[str] = ()) -> np.ndarray:
    """Ranks of ``column`` within layers, centred and over the layer's heads, less their regression on those of ``given``.

    Rows of ``points`` keep their order; [rows].
    """
    ranks = _ranks(points, column)
    if not given:
        return ranks
    others = np.stack([_ranks(points, name) for name in given], axis=1)
    slopes = np.linalg.lstsq(others, ranks, rcond=None)[0]
    rest: np.ndarray = ranks - others @ slopes
    return rest


def _ranks(points: pd.DataFrame, column: str) -> np.ndarray:
    grouped = points.groupby("layer")[column]
    ranks = grouped.rank()
    centred: np.ndarray = ((ranks - (grouped.transform("size") + 1) / 2) / grouped.transform("size")).to_numpy()
    return centred


def partial_rho(points: pd.DataFrame, x: str, y: str, given: Sequence[str] = ()) -> float:
    """Partial rank correlation of columns ``x`` and ``y`` within layers, given other columns. Range [-1, 1].

    Without ``given`` it is `civilwar.analysis.focus.stratified_rho`. Layers in which any of them varies by rounding only
    are left out; NaN where none is left, or where ``given`` says all of ``x`` or of ``y``.
    """
    points = _differing(points, (x, y, *given))
    if points.empty:
        return math.nan
    return _correlation(residual_ranks(points, x, given), residual_ranks(points, y, given))


def _differing(points: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    by_layer = points.groupby("layer")[list(columns)]
    differs = ((by_layer.max() - by_layer.min()) > ROUNDING).all(axis=1) & (by_layer.size() > 2)
    # an undefined value has no rank
    defined = points[list(columns)].notna().all(axis=1).groupby(points["layer"]).all()
    kept = points[points["layer"].map(differs & defined)]
    return kept.sort_values(["layer", "query_head" if "query_head" in points else "kv_head"])


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 1e-9 * len(x) else math.nan


def partial_test(
    points: pd.DataFrame, x: str, y: str, given: Sequence[str] = (), draws: int = DRAWS
) -> dict[str, float]:
    """`partial_rho` beside its null: rho, null_low, null_high (95%), p (two-sided). NaN where rho is.

    The null deals what is left of ``x`` to the layer's heads anew (Freedman and Lane 1983): KV groups among each other, and
    query heads within each group.
    """
    rho = partial_rho(points, x, y, given)
    if math.isnan(rho):
        return {"rho": math.nan, "null_low": math.nan, "null_high": math.nan, "p": math.nan}
    points = _differing(points, (x, y, *given))
    left, right = residual_ranks(points, x, given), residual_ranks(points, y, given)
    n_layers = points["layer"].nunique()
    group = len(points) // points.groupby(["layer", "kv_head"]).ngroups
    shape = (draws, n_layers, len(points) // n_layers)
    order = dealt_heads(generator(11, len(given)), shape, group)
    moved = np.take_along_axis(left.reshape(1, n_layers, -1), order, axis=-1).reshape(draws, -1)
    null = moved @ right / math.sqrt(float(left @ left) * float(right @ right))
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "rho": rho,
        "null_low": float(low),
        "null_high": float(high),
        "p": permutation_p(abs(rho), np.abs(null)),
    }


def questions(run: Run, step: int | None = None, entropy: str = "causal", draws: int = DRAWS) -> pd.DataFrame:
    """Every question of `QUESTIONS`, by unit: unit (query_head or kv_head), x, given, rho, null_low, null_high, p.

    ``entropy``: a measure of `civilwar.analysis.focus.MEASURES`. ``given`` is a name, or empty. At ``step``, by default the
    last.
    """
    points = head_scales(run, run.last_step if step is None else step)
    column = focus.MEASURES[entropy]
    rows = [
        {"unit": unit, "x": x, "given": ", ".join(given), **partial_test(table, x, column, given, draws)}
        for unit, table in (("query_head", points), ("kv_head", by_kv_head(points)))
        for x, given in QUESTIONS
    ]
    return pd.DataFrame(rows)


def over_runs(runs: Sequence[Run], entropy: str = "causal") -> pd.DataFrame:
    """`questions` of every run at its end, without null: run, seed, unit, x, given, rho."""
    tables = [
        questions(run, entropy=entropy, draws=1).assign(run=run.name, seed=run.config.seed)[
            ["run", "seed", "unit", "x", "given", "rho"]
        ]
        for run in runs
    ]
    columns = ["run", "seed", "unit", "x", "given", "rho"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
