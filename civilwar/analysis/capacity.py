"""Phase 7: how many key dimensions are enough, for a trained model that is not trained again?

The share kept by a cut to rank r is (L_0 - L_r) / (L_0 - L), with L the full model's loss and L_0 the loss at rank 0: what
keys are worth in all. Directions are cut about the mean key, coordinates to 0, so each has an L_0 of its own.
"""

import math
from collections.abc import Sequence

import pandas as pd

from civilwar.analysis import statistics
from civilwar.recipe.config import RunConfig
from civilwar.runs.reader import Run

#: The method whose rank 0 each method is measured from.
ORIGIN = {
    "directions": "directions",
    "random_directions": "directions",
    "gains": "gains",
    "random_dimensions": "gains",
}
#: The report's share of the dimensions.
REPORT_SHARE = 0.15


def kept(run: Run) -> pd.DataFrame:
    """Share of what keys are worth that each cut keeps: method, rank, draw, loss, excess (over the full loss), kept.

    1 where nothing is lost, 0 at rank 0. Null where a method has no rank 0, as coordinates have none without a gain.
    """
    table = run.table("capacity")
    full = float(table[table["method"] == "full"]["loss"].iloc[0])
    zero = table[table["rank"] == 0].set_index("method")["loss"].to_dict()
    cut = table[table["method"] != "full"][["method", "rank", "draw", "loss"]].reset_index(drop=True)
    origin = cut["method"].map(ORIGIN).map(lambda method: zero.get(method, math.nan))
    return cut.assign(excess=cut["loss"] - full, kept=(origin - cut["loss"]) / (origin - full))


def curves(runs: Sequence[Run]) -> pd.DataFrame:
    """`kept` of several runs, random cuts averaged over their draws: run, seed, method, rank, excess, kept."""
    tables = []
    for run in runs:
        table = kept(run).groupby(["method", "rank"], as_index=False)[["excess", "kept"]].mean()
        tables.append(table.assign(run=run.name, seed=run.config.seed))
    columns = ["run", "seed", "method", "rank", "excess", "kept"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def over_seeds(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean of ``kept`` or ``excess`` over runs: method, rank, mean, low, high, n; undefined values do not count.

    ``low`` and ``high``: 95% t interval over seeds, null with fewer than two.
    """
    by_cut = curves.dropna(subset=[column]).groupby(["method", "rank"])[column]
    return statistics.over_seeds(by_cut).reset_index()


def report_rank(config: RunConfig) -> int:
    """The recorded cut nearest to the report's 15% of the dimensions: 10 of 64."""
    d_head = config.model.d_head
    ranks = [rank for rank in config.probe.capacity_ranks if rank < d_head]
    return min(ranks, key=lambda rank: abs(rank - REPORT_SHARE * d_head))


def at_rank(curves: pd.DataFrame, rank: int, enough: float) -> pd.DataFrame:
    """What each method keeps and costs at one rank: method, kept, kept_low, kept_high, excess, excess_low, excess_high, needed.

    ``needed``: the smallest recorded rank at which the mean share kept is at least ``enough``; null where none is.
    """
    shares, costs = (over_seeds(curves, column) for column in ("kept", "excess"))
    rows = []
    for method in (method for method in ORIGIN if method in set(curves["method"])):
        of_method = shares[shares["method"] == method]
        passing = of_method[of_method["mean"] >= enough]["rank"]
        row: dict[str, object] = {"method": method}
        for name, table in (("kept", of_method), ("excess", costs[costs["method"] == method])):
            found = table[table["rank"] == rank]
            values = found[["mean", "low", "high"]].iloc[0] if len(found) else pd.Series([math.nan] * 3)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(float, values), strict=True))
        rows.append(row | {"needed": float(passing.min()) if len(passing) else math.nan})
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame, curves: pd.DataFrame, rank: int, d_head: int) -> dict[str, float]:
    """The phase's numbers for the prose, from `at_rank`: what every method keeps and costs at the report's rank."""
    by_method = table.set_index("method")
    worth = over_seeds(curves, "excess")
    worth = worth[worth["rank"] == 0].set_index("method")["mean"]
    numbers: dict[str, float] = {
        "capacity_rank": rank,
        "capacity_d_head": d_head,
        "capacity_percent": 100 * rank / d_head,
        "capacity_n_runs": int(curves["run"].nunique()),
        "capacity_worth_directions": float(worth.get("directions", math.nan)),
        "capacity_worth_gains": float(worth.get("gains", math.nan)),
        "capacity_needed_directions": _of(by_method, "directions", "needed"),
        "capacity_needed_gains": _of(by_method, "gains", "needed"),
    }
    for method in ORIGIN:
        numbers[f"capacity_kept_{method}"] = _of(by_method, method, "kept")
        numbers[f"capacity_excess_{method}"] = _of(by_method, method, "excess")
    return numbers | {
        "capacity_kept_directions_low": _of(by_method, "directions", "kept_low"),
        "capacity_kept_directions_high": _of(by_method, "directions", "kept_high"),
    }


def _of(by_method: pd.DataFrame, method: str, column: str) -> float:
    return float(by_method[column].get(method, math.nan))
