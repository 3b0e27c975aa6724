"""How a criterion is decided and how a verdict follows: all of it, and nowhere else.

**A criterion** of a claim with m deciding criteria gets a two-sided t interval of the mean over seeds at level 1 - `LEVEL` / m
(Bonferroni), so that all intervals of the claim hold together at 95%. Where several rungs of size speak for one claim, its
answer may take any of them: there each interval is made anew at 1 - `LEVEL` / (m k), k the number of those rungs. A criterion
*holds* where the whole interval lies where the
criterion wants it, *fails* where the whole interval lies where it does not, and is *open* otherwise: where the interval has
the threshold in it, where there is one seed, where the number is undefined, in all runs or in one of them; but for the numbers
that an estimator takes only of runs that have something to look at. So a criterion fails by evidence only, never by a
lack of it. Seeds that all give the same number have no spread; then the sign test's 2 * 2^-n has to stay below `LEVEL` / m.
What pools all seeds (the dip tests) holds by its p under the null, and fails by its p under what the claim says, at one rung
alone. What is arithmetic, a simulated power or the worst run's number has no sampling error and is decided by its value.
Two pairs of runs, as planned at the report's scale, decide next to nothing by such intervals: there the smaller rungs do.

**A verdict**, from the outcomes of one claim:

1. every ``construction`` criterion holds: *true by construction*; one fails: *not there*.
2. A ``premise`` does not hold: *open*, these data cannot tell.
3. The core fails: *not there*. The core is open: *open*.
4. The core holds and a ``reading`` fails: *there, for another reason*, whatever becomes of the details.
5. The core holds, no reading fails, and a detail fails: *in part*.
6. Nothing fails, and something is open: *open*.
7. All hold: *there*.

Intervals are simultaneous within a claim, not over all claims: 5 in 100 claims may hold a criterion that is decided wrongly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from civilwar.analysis.statistics import NO_SPREAD, t_interval
from civilwar.evidence.rule import Role, Side, on_the_side

Outcome = Literal["holds", "fails", "open"]
Threshold = float | tuple[float, float]

#: The chance with which the smallest effect that a criterion could have seen would have been seen.
POWER = 0.8


@dataclass(frozen=True)
class Pooled:
    """A number of a whole sweep, with what it would be by chance, either way."""

    value: float
    p_null: float
    """Chance of a number at least as far on the claim's side without the thing claimed. NaN: not tested."""
    p_claim: float
    """Chance of a number at most as far there with the thing claimed. NaN: not tested."""
    n: int
    """What it counts."""


def by_interval(values: Sequence[float], side: Side, threshold: Threshold, level: float) -> Outcome:
    """The outcome of seeds' numbers at a two-sided error of ``level``; undefined ones do not count."""
    x = np.array([value for value in values if not math.isnan(value)])
    if len(x) < 2:
        return "open"
    if x.std(ddof=1) < NO_SPREAD:
        if 2 * 0.5 ** len(x) >= level:
            return "open"
        return by_value(float(x.mean()), side, threshold)
    return by_ends(*t_interval(x, 1 - level), side, threshold)


def by_ends(low: float, high: float, side: Side, threshold: Threshold) -> Outcome:
    """The outcome of an interval."""
    if isinstance(threshold, tuple):
        if threshold[0] < low and high < threshold[1]:
            return "holds"
        return "fails" if high < threshold[0] or low > threshold[1] else "open"
    above, below = low > threshold, high < threshold
    holds, fails = (above, below) if side == "above" else (below, above)
    return "holds" if holds else "fails" if fails else "open"


def by_value(value: float, side: Side, threshold: Threshold) -> Outcome:
    """The outcome of a number without sampling error; open where it is undefined, or on a threshold itself."""
    if math.isnan(value) or value in (threshold if isinstance(threshold, tuple) else (threshold,)):
        return "open"
    return "holds" if on_the_side(value, side, threshold) else "fails"


def by_chance(pooled: Pooled, level: float) -> Outcome:
    """The outcome of a sweep's number: by its two p, each at half of ``level``."""
    if pooled.p_null < level / 2:
        return "holds"
    return "fails" if pooled.p_claim < level / 2 else "open"


def smallest_effect(values: Sequence[float], level: float, n: int | None = None) -> float:
    """The distance from the threshold that would be decided with a chance of `POWER`, in the unit of ``values``.

    (t_{n-1}(1 - level / 2) + t_{n-1}(POWER)) s / sqrt(n), s the standard deviation between seeds and n how many there are, or
    how many there shall be. NaN with fewer than two.
    """
    x = np.array([value for value in values if not math.isnan(value)])
    n = len(x) if n is None else n
    if len(x) < 2 or n < 2:
        return math.nan
    quantiles = stats.t.ppf(1 - level / 2, n - 1) + stats.t.ppf(POWER, n - 1)
    return float(quantiles * x.std(ddof=1) / math.sqrt(n))


def tells(outcomes: Sequence[tuple[Role, Outcome]]) -> bool:
    """Whether every premise holds."""
    return all(outcome == "holds" for role, outcome in outcomes if role == "premise")


def verdict_of(outcomes: Sequence[tuple[Role, Outcome]]) -> str:
    """One of `civilwar.names.verdicts.VERDICTS`, from roles and outcomes of one claim's criteria in their order."""
    by_role: Mapping[Role, list[Outcome]] = {
        role: [outcome for its, outcome in outcomes if its == role]
        for role in ("construction", "thing", "reading", "premise")
    }
    construction, things, readings = by_role["construction"], by_role["thing"], by_role["reading"]
    if construction:
        if "fails" in construction:
            return "not there"
        return "open" if "open" in construction else "true by construction"
    if not tells(outcomes) or not things:
        return "open"
    core, details = things[0], things[1:]
    if core != "holds":
        return "not there" if core == "fails" else "open"
    if "fails" in readings:
        return "there, for another reason"
    if "fails" in details:
        return "in part"
    return "open" if "open" in [*details, *readings] else "there"
