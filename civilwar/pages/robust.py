"""What the page of the robustness map says, as far as it depends on what comes out."""

from collections.abc import Sequence

import pandas as pd

from civilwar.evidence.alternatives import CHOICES
from civilwar.evidence.robustness import STATED, Column
from civilwar.names.verdicts import PENDING


def title(numbers: dict[str, float | str]) -> str:
    """The map's take-away: how many decided claims no choice decides otherwise."""
    n, firm = numbers["robust_n_decided"], numbers["robust_n_firm"]
    return f"Of {n} claims that are decided, {firm} are decided otherwise by no other choice"


def in_words(numbers: dict[str, float | str]) -> str:
    """Which verdicts stand, and which part; two sentences without a number."""
    parted = numbers["robust_parted"]
    first = f"No choice decides these otherwise: {numbers['robust_firm']}."
    if parted == "none":
        return f"{first} No decided verdict turns into another decided one."
    return f"{first} Some choice turns the verdict of these into another: {parted}."


def awaited(found: Sequence[Column]) -> str:
    """Which columns wait for runs; a sentence."""
    waiting = [column.label for column in found if all(v == PENDING.label for v in column.verdicts.values())]
    return f"Awaiting runs altogether: {', '.join(waiting)}." if waiting else "Every column has runs."


def choices() -> pd.DataFrame:
    """One row a choice: what it changes, choice, what it does."""
    return pd.DataFrame(
        [{"changes": choice.group, "choice": choice.label, "what it does": choice.says} for choice in CHOICES]
    )


def standing_in_words(standings: pd.DataFrame) -> pd.DataFrame:
    """`civilwar.evidence.robustness.standing` for a reader: id, by the rules, left as it is, and what becomes of the rest."""
    return pd.DataFrame(
        {
            "id": standings["id"],
            "by the rules": standings["verdict"],
            "left as it is": [
                f"{same} of {n}" for same, n in zip(standings["same"], standings["choices"], strict=True)
            ],
            "decided otherwise": standings["other"],
            "left open": standings["unsettled"],
            "decided where the rules leave it open": standings["settled"],
            "what then": standings["others"],
        }
    )


def parting(long: pd.DataFrame) -> pd.DataFrame:
    """Every cell that decides otherwise than the rules, or what they leave open: id, by the rules, choice, then."""
    stated = long[long["choice"] == STATED].set_index("id")["verdict"]
    rows = long[long["against"].isin(["other", "settled"])]
    return pd.DataFrame(
        {
            "id": rows["id"],
            "by the rules": rows["id"].map(stated),
            "choice": rows["choice"],
            "then": rows["verdict"],
        }
    ).reset_index(drop=True)
