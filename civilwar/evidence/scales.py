"""One run beside the sweep's seeds: every criterion's number at both scales, and where they fall on different sides.

The sweep decides, since it has seeds and controls. The run shown, at the report's own scale where such a run is recorded, has
one seed: its number gets no interval and no verdict, only a side.
"""

import math
from collections.abc import Collection, Iterable

import pandas as pd

from civilwar.evidence.claims import Finding, Verdict
from civilwar.evidence.estimators import ESTIMATORS
from civilwar.evidence.rule import on_the_side, wanted
from civilwar.recipe.plan import BASELINE
from civilwar.runs.reader import Run

COLUMNS = ["id", "criterion", "says", "wanted", "sweep", "low", "high", "n", "shown", "same_side"]


def number_in_run(finding: Finding, run: Run) -> float:
    """The criterion's number in one baseline run. NaN where it needs a control, several seeds or no run at all."""
    estimator = ESTIMATORS[finding.criterion.name]
    if estimator.unit != "run" or estimator.variant != BASELINE:
        return math.nan
    value = estimator.compute(run)
    assert isinstance(value, float | int)
    return float(value)


def beside(verdicts: Iterable[Verdict], run: Run, claims: Collection[str] | None = None) -> pd.DataFrame:
    """One row a criterion that one run has a number for: see `COLUMNS`.

    ``sweep``, ``low``, ``high`` and ``n``: mean over seeds with its 95% interval; ``shown``: the number of ``run``;
    ``same_side``: whether both lie on the same side of the threshold, None where either is undefined. ``claims``: ids to
    keep, by default all.
    """
    rows = []
    for finding in (f for v in verdicts for f in v.findings if claims is None or v.rule.id in claims):
        shown = number_in_run(finding, run)
        if math.isnan(shown):
            continue
        criterion = finding.criterion
        sides = [on_the_side(x, criterion.side, criterion.threshold) for x in (finding.value, shown)]
        rows.append(
            {
                "id": finding.rule.id,
                "criterion": criterion.name,
                "says": criterion.says,
                "wanted": wanted(criterion),
                "sweep": finding.value,
                "low": finding.low,
                "high": finding.high,
                "n": finding.n,
                "shown": shown,
                "same_side": None if math.isnan(finding.value) else sides[0] == sides[1],
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"same_side": object})


def differing(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `beside` whose two numbers lie on different sides of the threshold."""
    return table[[side is False for side in table["same_side"]]]


def summary(table: pd.DataFrame) -> dict[str, float | str]:
    """What prose says of the two scales."""
    different = differing(table)
    return {
        "scales_compared": int(sum(side is not None for side in table["same_side"])),
        "scales_differ": len(different),
        "scales_differ_claims": ", ".join(sorted(different["id"].unique())) or "none",
    }
