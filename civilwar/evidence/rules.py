"""The decision rules of all claims: one table, with a reason for every threshold.

Written for fresh seeds, with what seeds 0 to 8 gave and a hostile review of the first edition in view. They are registered
(`civilwar.evidence.registration`) before the first fresh run is trained; the table of amendments says what changed after that.
`civilwar.evidence.decision` says how a verdict follows from a rule.
"""

from civilwar.evidence.rule import Rule
from civilwar.evidence.rules_of_attention import RULES_OF_ATTENTION
from civilwar.evidence.rules_of_dimensions import RULES_OF_DIMENSIONS
from civilwar.evidence.rules_of_gains import RULES_OF_GAINS
from civilwar.evidence.rules_of_norms import RULES_OF_NORMS

RULES: tuple[Rule, ...] = tuple(
    sorted((*RULES_OF_NORMS, *RULES_OF_ATTENTION, *RULES_OF_DIMENSIONS, *RULES_OF_GAINS), key=lambda rule: rule.id)
)


def shown_on(page: str) -> list[str]:
    """Ids of the claims whose figure stands on a page, such as ``01_divergence``; empty where there are none."""
    return [rule.id for rule in RULES if rule.figure[0] == page]


def threshold(criterion: str) -> float:
    """The threshold of the criterion of that name, where it is one number. Raises KeyError where it is not."""
    thresholds = {c.name: c.threshold for rule in RULES for c in rule.criteria if not isinstance(c.threshold, tuple)}
    return thresholds[criterion]
