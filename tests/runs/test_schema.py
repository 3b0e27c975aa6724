"""The schema against what runs hold: recorded ones that open, columns in their ranges, sources that exist."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from civilwar import paths
from civilwar.errors import RunError, RunLacks
from civilwar.runs import conform
from civilwar.runs.columns import BOUNDS, Column, bound
from civilwar.runs.entries import MANIFEST_ENTRIES, PROBE_ENTRIES
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import Run
from civilwar.runs.schema import ARRAYS, TABLES

EVERY_RUN = sorted(file.parent for file in paths.recorded().glob(f"*/{MANIFEST}"))
#: The first and the last seed of each variant at each size: what lies between was recorded by the same code.
RECORDED = sorted(
    {
        path
        for runs in (EVERY_RUN, EVERY_RUN[::-1])
        for path in {run.name.rpartition("-")[0]: run for run in runs}.values()
    }
)


def every_column() -> list[Column]:
    of_tables = [column for table in TABLES.values() for column in table.all_columns.values()]
    return [*of_tables, *(array.column for group in ARRAYS.values() for array in group.arrays)]


def outside(column: Column, values: np.ndarray, run: Run) -> np.ndarray:
    """Values that the column's range excludes, beyond rounding; undefined ones are in no range and outside none."""
    low, high = (bound(end, run.config) for end in (column.low, column.high))
    largest = max([1.0, *(abs(end) for end in (low, high) if math.isfinite(end))])
    slack = 1e-4 * largest if column.dtype.startswith("float") else 0
    return values[(values < low - slack) | (values > high + slack)]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_every_recorded_run_opens_and_is_what_the_schema_says(path: Path) -> None:
    run = Run(path)
    missing = {name for name, rule in run.manifest["left_out"].items() if rule == "all"}
    for name, table in TABLES.items():
        if table.watched:
            with pytest.raises(RunLacks, match="only runs that were watched"):
                run.table(name)
            continue
        found = run.table(name)
        conform.check_table(name, found)
        for column in table.all_columns.values():
            if column.dtype == "str":
                assert not column.values or set(found[column.name]) <= set(column.values), (name, column.name)
            else:
                assert outside(column, found[column.name].to_numpy(), run).size == 0, (name, column.name)
    for name, group in ARRAYS.items():
        if name in missing:
            with pytest.raises(RunError, match="recorded without"):
                run.array(name)
            continue
        found_arrays = run.array(name)
        conform.check_group(name, found_arrays)
        for array in group.arrays:
            assert outside(array.column, found_arrays[array.column.name], run).size == 0, (name, array.column.name)
    # what later versions write, earlier ones do not have
    assert set(run.manifest) <= set(MANIFEST_ENTRIES)
    assert set(MANIFEST_ENTRIES) - set(run.manifest) <= {"manifest_sha256", "sittings", "weights", "rules", "ways"}
    assert set(run.probe) == set(PROBE_ENTRIES)


def test_a_run_just_trained_is_what_the_schema_says(smoke_run: Run) -> None:
    for name in (name for name, table in TABLES.items() if not table.watched):
        conform.check_table(name, smoke_run.table(name))
        # measured in single precision, but for the experiments' scores
        types = {str(dtype) for dtype in smoke_run.table(name).dtypes}
        assert "float64" not in types or TABLES[name].when == "end"
    for name in ARRAYS:
        conform.check_group(name, smoke_run.array(name))
    assert set(smoke_run.manifest) - {"left_out"} <= set(MANIFEST_ENTRIES)
    assert set(smoke_run.probe) == set(PROBE_ENTRIES)


def test_a_value_outside_its_range_is_noticed(smoke_run: Run) -> None:
    share, norm = TABLES["probe_query_heads"].all_columns["max_weight"], TABLES["train"].all_columns["loss"]
    values = np.array([-0.1, 0.0, 0.5, 1.0, 1.1, np.nan])
    assert outside(share, values, smoke_run).tolist() == [-0.1, 1.1]
    assert outside(norm, values, smoke_run).tolist() == [-0.1]


def test_query_heads_and_kv_heads_never_share_a_table() -> None:
    for name, table in TABLES.items():
        axes = {axis.name for axis in table.axes}
        assert not {"query_head", "kv_head"} <= axes, name
        assert ("query_head" in axes) == (table.of == "query head"), name
        assert ("kv_head" in axes) == (table.of == "KV head"), name
        assert ("step" in axes) == (table.when != "end"), name
    for name, group in ARRAYS.items():
        axes = {axis for array in group.arrays for axis in array.axes}
        assert ("query_head" in axes) == (group.of == "query head"), name
        assert ("kv_head" in axes) == (group.of == "KV head"), name


def test_every_column_is_explained() -> None:
    sources = (paths.repository() / "book" / "references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{(\w+),", sources, re.MULTILINE))
    assert "gu2025sink" in keys
    for column in every_column():
        assert re.fullmatch(r"[A-Zk].*[^.]\.", column.says), column
        assert column.unit, column
        assert not column.source or column.source in keys, column
        # a table's cell in Markdown ends there
        assert "|" not in column.says + column.formula, column
        assert {end for end in (column.low, column.high) if isinstance(end, str)} <= set(BOUNDS), column
    used = {end for column in every_column() for end in (column.low, column.high)}
    assert set(BOUNDS) <= used, "a bound that no column has"


def test_names_of_columns_are_not_used_twice() -> None:
    for name, table in TABLES.items():
        names = [column.name for column in (*table.axes, *table.labels, *table.columns)]
        assert len(names) == len(set(names)), name
