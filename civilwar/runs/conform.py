"""Tables and arrays against the schema: checked when they are written, completed when they are read."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from civilwar.errors import RunError, SchemaMismatch
from civilwar.runs.columns import Column
from civilwar.runs.quantities import STEP
from civilwar.runs.schema import ARRAYS, TABLES

#: A measurement may have more digits than declared.
WIDER = {("float64", "float32")}


def check_table(name: str, table: pd.DataFrame) -> None:
    """Raise SchemaMismatch, naming table and column, unless a table is what the schema says of it.

    It must have the schema's columns, in whatever order, of the schema's types or `WIDER` ones, and no two rows with the
    same axes.
    """
    schema = TABLES.get(name)
    if schema is None:
        raise SchemaMismatch(f"table {name} is not in civilwar/runs/schema.py: declare it there.")
    there, wanted = [str(column) for column in table.columns], schema.all_columns
    for column in dict.fromkeys([*there, *wanted]):
        if column not in wanted:
            raise SchemaMismatch(f"table {name} has a column {column} that civilwar/runs/schema.py does not declare.")
        if column not in there:
            raise SchemaMismatch(f"table {name} lacks the column {column} that civilwar/runs/schema.py declares.")
        found, dtype = str(table[column].dtype), wanted[column].dtype
        # without rows there is no type to get wrong
        if len(table) and found != dtype and (found, dtype) not in WIDER:
            raise SchemaMismatch(
                f"table {name} has a column {column} of {found}, where civilwar/runs/schema.py says {dtype}."
            )
    axes = [axis.name for axis in schema.axes]
    if table.duplicated(axes).any():
        raise SchemaMismatch(f"table {name} has two rows with the same {', '.join(axes)}.")


def check_group(name: str, group: Mapping[str, np.ndarray]) -> None:
    """Raise SchemaMismatch, naming group and array, unless a group of arrays is what the schema says of it."""
    schema = ARRAYS.get(name)
    if schema is None:
        raise SchemaMismatch(f"array group {name} is not in civilwar/runs/schema.py: declare it there.")
    wanted = {array.column.name: (array.column.dtype, ("step", *array.axes)) for array in schema.arrays}
    wanted["step"] = (STEP.dtype, ("step",))
    for array in dict.fromkeys([*group, *wanted]):
        if array not in wanted:
            raise SchemaMismatch(f"group {name} has an array {array} that civilwar/runs/schema.py does not declare.")
        if array not in group:
            raise SchemaMismatch(f"group {name} lacks the array {array} that civilwar/runs/schema.py declares.")
        dtype, axes = wanted[array]
        found = group[array]
        if str(found.dtype) != dtype or found.ndim != len(axes) or len(found) != len(group["step"]):
            raise SchemaMismatch(
                f"group {name} has an array {array} of {found.dtype} {list(found.shape)}, where civilwar/runs/schema.py "
                f"says {dtype} [{', '.join(axes)}] with {len(group['step'])} steps."
            )


def completed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A recorded table with the columns that the schema has gained since, all undefined.

    Raises RunError where an axis is missing: without it the rows cannot be told apart. A table that the schema does not
    know is left as it is.
    """
    schema = TABLES.get(name)
    if schema is None:
        return table
    missing = [column for column in schema.all_columns.values() if column.name not in table]
    for column in missing:
        if column in schema.axes:
            raise RunError(f"table {name} lacks {column.name}: an earlier version recorded it. Train the run again.")
    return table.assign(**{column.name: _undefined(column, table.index) for column in missing})


def _undefined(column: Column, index: pd.Index) -> pd.Series:
    # whole numbers know no NaN
    dtype = column.dtype if column.dtype in ("str", "float32") else "float64"
    return pd.Series(np.nan, index=index, dtype=dtype)


def known(kind: str, name: str) -> str:
    """The sentence that lists the tables, or the groups of arrays, for one that asked for another."""
    schema = TABLES if kind == "table" else ARRAYS
    listed = "\n".join(f"  {key}: {entry.says}" for key, entry in schema.items())
    return f"no {kind} {name!r}: expected one of {', '.join(schema)}.\n{listed}"
