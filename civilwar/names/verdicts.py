"""What a claim can be found to be. `civilwar.evidence.decision` says when."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class VerdictName:
    """One verdict."""

    label: str
    color: str
    """#rrggbb, always beside the label, since colour alone says nothing to some readers. Contrast of at least 3 on the white
    and on the dark page."""
    says: str
    """One sentence."""


_RECORDS = (
    VerdictName(
        label="true by construction",
        color="#3c7dd0",
        says="Arithmetic makes it so in every run.",
    ),
    VerdictName(
        label="there",
        color="#1a8a5f",
        says="What the claim speaks of is there, and the report's reason for it stands.",
    ),
    VerdictName(
        label="there, for another reason",
        color="#c96a04",
        says="What the claim speaks of is there, and a reason that the report gives for it does not stand.",
    ),
    VerdictName(
        label="in part",
        color="#7a8f1e",
        says="The core of the claim is there, and a detail of it is not; its reason may be open.",
    ),
    VerdictName(
        label="not there",
        color="#c0395a",
        says="The core of the claim is shown to be false.",
    ),
    VerdictName(
        label="open",
        color="#8a8f98",
        says="These runs do not tell.",
    ),
)

#: Label -> record.
VERDICTS: Mapping[str, VerdictName] = {verdict.label: verdict for verdict in _RECORDS}
#: Not a verdict: planned runs, or any at all, are lacking that a deciding criterion is to be computed from.
PENDING = VerdictName(
    label="awaiting runs",
    color="#8a8f98",
    says="Runs that the rule needs are not recorded yet.",
)


def color_of(label: str) -> str:
    """The colour of a verdict, or of none yet. Raises KeyError for what is neither."""
    return PENDING.color if label == PENDING.label else VERDICTS[label].color
