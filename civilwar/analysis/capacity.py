"""Phase 7: how many key dimensions are enough, for a trained model that is not trained again?

The share kept by a cut to rank r is (L_0 - L_r) / (L_0 - L), with L the full model's loss and L_0 the loss at rank 0: what
keys are worth in all. Directions are cut about the mean key, coordinates to 0, so each has an L_0 of its own.
"""

import math

import pandas as pd

from civilwar.runs import Run

#: The method whose rank 0 each method is measured from.
ORIGIN = {
    "directions": "directions",
    "random_directions": "directions",
    "gains": "gains",
    "random_dimensions": "gains",
}


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
