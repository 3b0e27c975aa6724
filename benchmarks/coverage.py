"""Which families' attention is heard: `python benchmarks/coverage.py` tries each on a tiny random model.

Writes ``data/benchmarks/coverage.csv``: a row for each family and attention implementation, with the door that heard it, how
many calls a forward pass makes, what they were held against, and the largest deviation: of attention weights from the
model's own where it returns them (eager), and of attention times values in float64 from the model's own output.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from families import FAMILIES, INLINE, Family, heard_of, off, own_attentions

from civilwar import paths
from civilwar.files import atomic_path
from civilwar.hear.check import deviation

RESULT = "benchmarks/coverage.csv"
COLUMNS = (
    "family",
    "traits",
    "implementation",
    "padded",
    "heard",
    "door",
    "calls",
    "held_against",
    "weights_deviation",
    "output_deviation",
)


def row(family: Family, implementation: str, padded: bool) -> dict[str, Any]:
    """One family, one implementation."""
    calls, output = heard_of(family, implementation, padded=padded)
    found: dict[str, Any] = dict(zip(COLUMNS, (family.key, family.traits, implementation, padded), strict=False))
    found |= {"heard": bool(calls), "calls": len(calls), "door": "", "held_against": ""}
    if not calls:
        return found
    found["door"] = "scaled_dot_product_attention" if family.key == "falcon" else "attention interface"
    found["held_against"] = "own output"
    found["output_deviation"] = f"{max(deviation(call) for call in calls):.1e}"
    own = own_attentions(output) if implementation == "eager" else []
    if len(own) == len(calls):
        found["held_against"] = "own weights and output"
        found["weights_deviation"] = f"{max(off(call, weights) for call, weights in zip(calls, own, strict=True)):.1e}"
    return found


def rows() -> Iterator[dict[str, Any]]:
    """Every family, unpadded and padded, and those that are not heard."""
    for family in (*FAMILIES, *INLINE):
        for implementation in family.implementations:
            for padded in (False, True):
                yield row(family, implementation, padded)


def main() -> None:
    """Print and write the table; exit with 1 where a family deviates."""
    found = list(rows())
    for one in found:
        print(*(one.get(column, "") for column in COLUMNS), sep="\t")
    with (
        atomic_path(paths.recorded() / RESULT) as temporary,
        Path(temporary).open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    worst = [float(one[c]) for one in found for c in COLUMNS[-2:] if one.get(c)]
    sys.exit(not all(deviated <= 1e-4 for deviated in worst))


if __name__ == "__main__":
    main()
