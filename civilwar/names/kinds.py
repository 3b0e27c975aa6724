"""Kinds of query head, named by what their attention does. `civilwar.analysis.taxonomy` decides which head is which."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of query head."""

    key: str
    """In tables, where it is also the name of the score that the kind needs; of a gatherer that score is ``broad``."""
    label: str
    code: str
    """Two letters for a cell of a map, so that colour is not all there is."""
    color: str
    """#rrggbb, always beside the label or the code. A test asks for a contrast of at least 3 on the white and on the dark
    page, and for a difference of at least 20 in Lab from every other kind with every kind of colour vision."""
    score: str
    """The score under a figure's axis. Empty for the kind that has none."""
    says: str
    """What it attends to, as a noun phrase."""
    threshold: str
    """What its score has to pass."""


_NULL = "null and margin"

_RECORDS = (
    Kind(
        key="sink",
        label="sink",
        code="Si",
        color="#ff074c",
        score="sink:\nfirst token",
        says="the first token",
        threshold="that of Gu et al. (2025), and no less than untrained heads",
    ),
    Kind(
        key="separator",
        label="separator",
        code="Se",
        color="#e57504",
        score="separator:\nabove uniform",
        says="separators, beyond what uniform attention would",
        threshold=_NULL,
    ),
    Kind(
        key="previous_token",
        label="previous token",
        code="Pr",
        color="#466e2d",
        score="previous\ntoken",
        says="the token before",
        threshold=_NULL,
    ),
    Kind(
        key="nearby",
        label="nearby",
        code="Ne",
        color="#009ddd",
        score="nearby:\n0, 2 to 7 back",
        says="itself and two to seven tokens back",
        threshold=_NULL,
    ),
    Kind(
        key="induction",
        label="induction",
        code="In",
        color="#8314ff",
        score="induction:\nafter a match",
        says="the token after the same token's last occurrence",
        threshold=_NULL,
    ),
    Kind(
        key="retriever",
        label="retriever",
        code="Re",
        color="#ad2d95",
        score="retriever:\non a match",
        says="the earlier occurrence of the same token",
        threshold=_NULL,
    ),
    Kind(
        key="gatherer",
        label="gatherer",
        code="Ga",
        color="#5d57d7",
        score="gatherer:\nentropy",
        says="none of these, and as broadly as an untrained head",
        threshold="the lowest untrained entropy",
    ),
    Kind(
        key="mixed",
        label="mixed",
        code="Mi",
        color="#a28e99",
        score="",
        says="none of these",
        threshold="",
    ),
)

#: Key -> record, in the order of legends and tables.
KINDS: Mapping[str, Kind] = {kind.key: kind for kind in _RECORDS}


def kind_of_score(score: str) -> Kind:
    """The kind that a score names. Raises KeyError for what is no score."""
    return KINDS["gatherer" if score == "broad" else score]
