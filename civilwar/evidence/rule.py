"""What a decision rule is: a claim taken apart into criteria, each a number held against a threshold.

Roles of criteria:

- ``construction``: arithmetic that no run may break; the worst run decides.
- ``thing``: is it there, and how large? The first is the claim's *core*, the others are its details.
- ``reading``: the reason that the report gives for it.
- ``premise``: can these data tell at all?
- ``context``: shown, decides nothing.

How a criterion is decided, and a verdict follows, stands in `civilwar.evidence.decision`, and only there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["construction", "thing", "reading", "premise", "context"]
Side = Literal["above", "below", "within"]

#: Roles whose criteria decide.
DECIDING: tuple[Role, ...] = ("thing", "reading", "premise")
#: Chance, at most, that any criterion of one claim is decided wrongly, either way: at one scale, and in the claim's answer.
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One number to hold against one threshold."""

    name: str
    """Unique among all criteria; `civilwar.evidence.estimators.ESTIMATORS` has the estimator under the same name."""
    label: str
    """What is measured, as a short noun phrase without numbers."""
    says: str
    """The same in full, so that a reader could compute it, and its unit."""
    side: Side
    threshold: float | tuple[float, float]
    """``above`` or ``below`` a number, ``within`` a pair."""
    reason: str
    """Why this threshold."""
    role: Role = "thing"
    worst: bool = False
    """Whether every run has to obey, so that the worst one decides by its value; so it is of every ``construction``."""
    failed: str = ""
    """Of a ``reading`` what its failure says, in a sentence that claims no more than that."""


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
    answers: Mapping[str, str]
    """The answer in one sentence, by verdict. It says no more than the verdict does: of *there, for another reason* only that
    the core holds. `civilwar.evidence.answers` adds what the failed readings say, and which criteria fail or are open."""
    figure: tuple[str, str]
    """Notebook and name of the figure that shows it. The notebook's page lists the claim's criteria beside the sweep's."""
    head: Pick | None = None
    """Which head shows it; None where no single head can."""


def wanted(criterion: Criterion) -> str:
    """The side and threshold that a criterion asks for, in words."""
    if isinstance(criterion.threshold, tuple):
        return f"{criterion.threshold[0]:g} to {criterion.threshold[1]:g}"
    return f"{criterion.side} {criterion.threshold:g}"


def on_the_side(value: float, side: Side, threshold: float | tuple[float, float]) -> bool:
    """Whether a number lies where a criterion wants it; strictly, but for the ends of a range. False for an undefined one."""
    if isinstance(threshold, tuple):
        return threshold[0] <= value <= threshold[1]
    return value > threshold if side == "above" else value < threshold
