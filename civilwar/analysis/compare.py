"""How far two runs differ: every column of every table, and every array, where both have it.

The same configuration gives the same numbers on the same machine, whatever the number of threads. On another processor sums
are added up in another order, and the last digits differ from the first step on.
"""

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pandas as pd

from civilwar.errors import RunDamaged, RunError
from civilwar.runs.reader import Run
from civilwar.runs.schema import ARRAYS, TABLES

Found = TypeVar("Found")
COLUMNS = ("measure", "values", "in_one_only", "equal", "largest_difference", "largest_relative", "digits")


def compare(one: Run, other: Run) -> pd.DataFrame:
    """A row for each measure: a table's column, or an array.

    Rows of tables belong together where all that is no measured number (step, layer, head, name) is the same; arrays belong
    together step by step. Columns:

    - measure: ``table.column`` or ``array.name``;
    - values: numbers compared, and ``in_one_only`` those that only one of the runs has, the other being slim or shorter;
    - equal: share of the numbers compared that are equal in every bit, undefined beside undefined among them, 0 to 1;
    - largest_difference: largest |a - b|, in the measure's own unit;
    - largest_relative: largest |a - b| / max(|a|, |b|), 0 to 2;
    - digits: decimal digits that agree everywhere, -log10 of that and at least 0; infinite where all numbers are equal.

    Raises RunError where the runs have no measure in common, or RunDamaged.
    """
    rows = [_row(*found) for found in (*_columns(one, other), *_arrays(one, other))]
    if not rows:
        raise RunError(f"runs {one.name} and {other.name} have no table or array in common: expected at least one.")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def as_text(differences: pd.DataFrame) -> str:
    """The table for a terminal."""
    shown = differences.assign(
        equal=[f"{share:.1%}" for share in differences["equal"]],
        largest_difference=[f"{value:.3g}" for value in differences["largest_difference"]],
        largest_relative=[f"{value:.2g}" for value in differences["largest_relative"]],
        digits=["all" if math.isinf(digits) else f"{digits:.1f}" for digits in differences["digits"]],
    )
    return str(shown.to_string(index=False))


def _columns(one: Run, other: Run) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    for name in TABLES:
        a, b = _or_none(one.table, name), _or_none(other.table, name)
        if a is None or b is None:
            continue
        measured = [column for column in a if pd.api.types.is_float_dtype(a[column]) and column in b]
        keys = [column for column in a if not pd.api.types.is_float_dtype(a[column]) and column in b]
        both = a.merge(b, on=keys, suffixes=("", " other"), validate="one_to_one")
        alone = len(a) + len(b) - 2 * len(both)
        for column in measured:
            yield f"{name}.{column}", both[column].to_numpy(), both[f"{column} other"].to_numpy(), alone


def _arrays(one: Run, other: Run) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    for name in ARRAYS:
        a, b = _or_none(one.array, name), _or_none(other.array, name)
        if a is None or b is None:
            continue
        _, at, there = np.intersect1d(a["step"], b["step"], return_indices=True)
        for key in a:
            if key == "step" or key not in b or a[key].shape[1:] != b[key].shape[1:]:
                continue
            alone = a[key].size + b[key].size - a[key][at].size - b[key][there].size
            yield f"{name}.{key}", a[key][at].ravel(), b[key][there].ravel(), alone


def _or_none(read: Callable[[str], Found], name: str) -> Found | None:
    """What a run has of that name; None where it was recorded without it, or stopped before."""
    try:
        return read(name)
    except RunDamaged:
        raise
    except RunError:
        return None


def _row(measure: str, a: np.ndarray, b: np.ndarray, alone: int) -> tuple[object, ...]:
    # a slim recording leaves numbers out as undefined ones
    half = np.isnan(a) != np.isnan(b)
    a, b, alone = a[~half].astype(float), b[~half].astype(float), alone + int(half.sum())
    if not len(a):
        return measure, 0, alone, math.nan, math.nan, math.nan, math.nan
    same = (np.isnan(a) & np.isnan(b)) | (a == b)
    difference = np.where(same, 0.0, np.abs(a - b))
    # beside infinity every number is as far away as can be
    relative = np.where(np.isinf(difference), 1.0, 0.0)
    np.divide(difference, np.maximum(np.abs(a), np.abs(b)), out=relative, where=~same & np.isfinite(difference))
    most = float(relative.max())
    digits = math.inf if most == 0 else max(0.0, -math.log10(most))
    return measure, len(a), alone, float(same.mean()), float(difference.max()), most, digits
