"""What a claim can be found to be. `civilwar.evidence.rules` says when."""

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
        label="supported",
        color="#1a8a5f",
        says="All of what the claim says holds.",
    ),
    VerdictName(
        label="supported in part",
        color="#7a8f1e",
        says="Some of what the claim says holds.",
    ),
    VerdictName(
        label="not supported",
        color="#c0395a",
        says="None of what the claim says holds: it is shown to be false, or not shown to be true.",
    ),
    VerdictName(
        label="artefact",
        color="#c96a04",
        says="Something of it holds, and so does every criterion that gives it another cause than the report does.",
    ),
    VerdictName(
        label="not testable here",
        color="#8a8f98",
        says="What the claim speaks of does not occur, or the test could not have found it.",
    ),
)

#: Label -> record.
VERDICTS: Mapping[str, VerdictName] = {verdict.label: verdict for verdict in _RECORDS}
#: Not a verdict: the sweep still lacks runs that a deciding criterion is to be computed from.
PENDING = VerdictName(
    label="awaiting runs",
    color="#8a8f98",
    says="Runs that the rule needs are not recorded yet.",
)


def color_of(label: str) -> str:
    """The colour of a verdict, or of none yet. Raises KeyError for what is neither."""
    return PENDING.color if label == PENDING.label else VERDICTS[label].color
