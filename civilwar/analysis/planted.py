"""What the instruments found of what was planted in phantoms (`civilwar.measure.phantoms`): detection against strength."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from civilwar.names.kinds import KINDS

NOTHING = "none"


def heads(result: Mapping[str, Any]) -> pd.DataFrame:
    """A row for every query head, strength and seed: ``planted`` kind, ``kind`` that was found, and the scores."""
    return pd.DataFrame(result["heads"])


def keys(result: Mapping[str, Any]) -> pd.DataFrame:
    """A row for every KV head, factor and seed: whether it was made ``loud``, and its norm over its layer's others."""
    return pd.DataFrame(result["keys"])


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """Detection against strength, in the order of kinds: planted, strength, score, others, found.

    ``score``: mean over seeds of the planted head. ``others``: the highest score of that kind of any head in which nothing was
    planted. ``found``: share of seeds in which the planted head's label is right.
    """
    rows = []
    for kind in (kind for kind in KINDS if kind in set(table["planted"])):
        for strength, at in table.groupby("strength"):
            own = at[at["planted"] == kind]
            rows.append(
                {
                    "planted": kind,
                    "strength": strength,
                    "score": own[kind].mean(),
                    "others": at.loc[at["planted"] == NOTHING, kind].max(),
                    "found": (own["kind"] == kind).mean(),
                }
            )
    return pd.DataFrame(rows)


def least_found(table: pd.DataFrame) -> pd.Series:
    """By kind, the weakest strength from which on the label is right for every seed; undefined where it never is."""

    def least(of_kind: pd.DataFrame) -> float:
        missed = of_kind.loc[of_kind["found"] < 1, "strength"].max()
        above = of_kind.loc[~(of_kind["strength"] <= missed), "strength"]
        return float(above.min()) if len(above) else float("nan")

    return pd.Series({kind: least(rows) for kind, rows in table.groupby("planted", sort=False)}, name="strength")


def false_alarms(table: pd.DataFrame) -> int:
    """Heads in which nothing was planted that were called anything but a gatherer, which is what attending evenly is."""
    return int(((table["planted"] == NOTHING) & (table["kind"] != "gatherer")).sum())


def summary(result: Mapping[str, Any]) -> dict[str, float]:
    """The page's numbers."""
    table, of_keys = heads(result), keys(result)
    found = least_found(curves(table))
    loud = of_keys[of_keys["loud"]]
    return {
        "planted_kinds": len(found),
        "planted_found": int(found.notna().sum()),
        "planted_weakest": found.min(),
        "planted_strongest": found.max(),
        "planted_nothing": int((table["planted"] == NOTHING).sum()),
        "planted_false_alarms": false_alarms(table),
        "planted_factor_error": (loud["ratio"] - loud["factor"]).abs().max(),
        "planted_other_error": (of_keys.loc[~of_keys["loud"], "ratio"] - 1).abs().max(),
    }
