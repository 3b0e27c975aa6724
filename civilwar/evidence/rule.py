"""What a decision rule is: a claim, its criteria, and where a reader sees them.

A claim is split into criteria, each a number per run (or, where it says so, per sweep) held against a threshold. A criterion
*holds* when a one-sided test of its mean over seeds against the threshold has p < `LEVEL` after Holm's correction over all
deciding criteria of all claims. The verdict then follows from the roles:

- a ``construction`` criterion that holds (exactly, in every run): *true by construction*;
- a ``premise`` that does not hold, or an undefined criterion that the verdict depends on: *not testable here*;
- every ``artefact`` criterion holds, and at least one ``claim`` criterion too: *artefact*, true for another reason than
  the report gives;
- all ``claim`` criteria hold: *supported*; some: *supported in part*; none: *not supported*;
- ``context`` is shown and decides nothing.

"Not supported" covers both "shown to be false" and "not shown to be true"; the interval beside it tells which.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["construction", "premise", "claim", "artefact", "context"]
Side = Literal["above", "below", "within"]

#: One-sided, so that it agrees with the 95% intervals shown.
LEVEL = 0.025


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One number to hold against one threshold."""

    name: str
    """Unique among all criteria; `civilwar.evidence.estimators.ESTIMATORS` has the estimator under the same name."""
    says: str
    """What is estimated, and its unit."""
    side: Side
    threshold: float | tuple[float, float]
    """``above`` or ``below`` a number, ``within`` a pair."""
    reason: str
    """Why this threshold."""
    role: Role = "claim"


@dataclass(frozen=True, kw_only=True)
class Pick:
    """How the one head that shows a claim best is picked in a run."""

    by: str
    """Name of the pick in `civilwar.evidence.exhibits.PICKS`."""
    says: str
    """The same in words, as a noun phrase."""
    metric: str
    """What the inspector colours and plots: the name of a measure of `civilwar.names.measures`."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One claim of the report and what decides it."""

    id: str
    statement: str
    reported: str
    """What the published code behind the report measured."""
    null: str
    """What the same number would be without the thing claimed."""
    criteria: tuple[Criterion, ...]
    figure: tuple[str, str]
    """Notebook and name of the figure that shows it. The notebook's page lists the claim's criteria beside the sweep's."""
    head: Pick | None = None
    """Which head shows it; None where no single head can."""
