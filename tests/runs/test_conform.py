"""What does not fit the schema is refused on writing, by name; what a run lacks is undefined on reading."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from civilwar.errors import RunError, SchemaMismatch
from civilwar.files import sha256
from civilwar.runs import conform
from civilwar.runs.columns import Column
from civilwar.runs.manifest import read_manifest, write_manifest
from civilwar.runs.quantities import STEP
from civilwar.runs.reader import Run
from civilwar.runs.records import Records, read_table, write_table
from civilwar.runs.schema import ARRAYS, TABLES
from civilwar.runs.writer import RunWriter


def query_heads(n: int = 3) -> pd.DataFrame:
    columns = TABLES["step_query_heads"].all_columns
    return pd.DataFrame({name: np.arange(n).astype(column.dtype) for name, column in columns.items()})


WRONG: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    (lambda t: t.assign(extra=1.0), "table step_query_heads has a column extra that .* does not declare"),
    (lambda t: t.drop(columns="query_norm_mean"), "table step_query_heads lacks the column query_norm_mean that"),
    (lambda t: t.drop(columns="kv_head"), "table step_query_heads lacks the column kv_head that"),
    (
        lambda t: t.astype({"layer": "int64"}),
        "table step_query_heads has a column layer of int64, where .* says int32",
    ),
    (lambda t: t.astype({"query_norm_mean": "str"}), "has a column query_norm_mean of str, where .* says float32"),
    (lambda t: pd.concat([t, t]), "table step_query_heads has two rows with the same step, layer, query_head"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_table_is_refused_before_anything_is_written(
    tmp_path: Path, smoke_run: Run, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    good = query_heads()
    conform.check_table("step_query_heads", good)
    with pytest.raises(SchemaMismatch, match=message):
        conform.check_table("step_query_heads", change(good))
    with RunWriter(tmp_path / "run", smoke_run.config) as writer:
        with pytest.raises(SchemaMismatch, match=message):
            writer.write_part(1, Records({"step_query_heads": change(good)}))
        assert not (tmp_path / "run" / "parts" / "000001").exists()
        writer.write_part(1, Records({"step_query_heads": good}))


def test_order_of_columns_and_wider_numbers_are_free_and_an_empty_table_has_no_types() -> None:
    good = query_heads()
    conform.check_table("step_query_heads", good[sorted(good)])
    conform.check_table("step_query_heads", good.astype({"query_norm_mean": "float64"}))
    conform.check_table("step_query_heads", pd.DataFrame(columns=list(good)))


@pytest.mark.parametrize("name", ["step_querry_heads", "gain"])
def test_a_table_that_is_not_declared_is_refused(name: str) -> None:
    with pytest.raises(SchemaMismatch, match=f"table {name} is not in civilwar/runs/schema.py"):
        conform.check_table(name, query_heads())


def gains(**changes: Any) -> dict[str, np.ndarray]:
    step = np.arange(4, dtype=np.int32)
    return {"step": step, "k_gain": np.ones((4, 2, 6), np.float32), "q_gain": np.ones((4, 2, 6), np.float32)} | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": np.ones(4)}, "group gain has an array extra that .* does not declare"),
        ({"k_gain": np.ones((4, 2, 6))}, r"has an array k_gain of float64 \[4, 2, 6\], where .* says float32"),
        (
            {"k_gain": np.ones((4, 6), np.float32)},
            r"k_gain of float32 \[4, 6\].* says float32 \[step, layer, dimension",
        ),
        ({"k_gain": np.ones((3, 2, 6), np.float32)}, r"k_gain of float32 \[3, 2, 6\].* with 4 steps"),
        ({"step": np.arange(4)}, r"group gain has an array step of int64"),
    ],
)
def test_a_wrong_group_of_arrays_is_refused(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    conform.check_group("gain", gains())
    with pytest.raises(SchemaMismatch, match=message):
        Records(arrays={"gain": gains(**change)}).write(tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_a_group_that_lacks_an_array_or_is_not_declared_is_refused() -> None:
    lacking = gains()
    del lacking["q_gain"]
    with pytest.raises(SchemaMismatch, match="group gain lacks the array q_gain"):
        conform.check_group("gain", lacking)
    with pytest.raises(SchemaMismatch, match="array group gains is not in"):
        conform.check_group("gains", gains())


# ---------------------------------------------------------------- reading what an earlier version recorded


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema as it might be one day: three more columns in one table."""
    table = TABLES["probe_query_heads"]
    new = (
        Column("surprise", says="New.", unit="nats"),
        Column("rounds", says="New.", unit="number", dtype="int64"),
        Column("mood", says="New.", unit="name", dtype="str"),
    )
    monkeypatch.setitem(TABLES, "probe_query_heads", replace(table, columns=(*table.columns, *new)))


def test_a_column_that_the_schema_has_gained_is_undefined_in_an_older_run(smoke_run: Run, grown: None) -> None:
    before = read_table(smoke_run.path / "tables" / "probe_query_heads.parquet")
    table = Run(smoke_run.path).table("probe_query_heads")
    new = ["surprise", "rounds", "mood"]
    assert list(table) == [*before, *new]
    assert table[new].isna().all(axis=None)
    assert [str(table[name].dtype) for name in new] == ["float32", "float64", "str"]
    pd.testing.assert_frame_equal(table.drop(columns=new), before)


def test_a_run_begun_by_an_earlier_version_goes_on(tmp_path: Path, smoke_run: Run, monkeypatch: Any) -> None:
    with RunWriter(tmp_path / "run", smoke_run.config) as writer:
        writer.write_manifest(status="running")
        old = query_heads(2)
        # a run ends only where every step of training stands there
        train = smoke_run.table("train")
        writer.write_part(1, Records({"step_query_heads": old, "train": train[train["step"] <= 1]}))
        schema = TABLES["step_query_heads"]
        new = Column("surprise", says="New.", unit="nats")
        monkeypatch.setitem(TABLES, "step_query_heads", replace(schema, columns=(*schema.columns, new)))
        later = old.assign(step=old["step"] + 2, surprise=np.float32(1))
        writer.write_part(24, Records({"step_query_heads": later, "train": train[train["step"] > 1]}))
        assert Run(tmp_path / "run").table("step_query_heads")["surprise"].isna().tolist() == [True, True, False, False]
        run = writer.finish()
    assert run.table("step_query_heads")["surprise"].isna().tolist() == [True, True, False, False]


def test_without_an_axis_a_table_cannot_be_read(tmp_path: Path, smoke_run: Run) -> None:
    with RunWriter(tmp_path / "run", smoke_run.config) as writer:
        writer.write_manifest(status="running")
        writer.write_part(24, Records({"step_query_heads": query_heads(), "train": smoke_run.table("train")}))
        writer.finish()
    file = tmp_path / "run" / "tables" / "step_query_heads.parquet"
    write_table(query_heads().drop(columns="layer"), file)
    manifest = read_manifest(tmp_path / "run")
    manifest["files"]["tables/step_query_heads.parquet"] = sha256(file)
    write_manifest(tmp_path / "run", manifest)
    with pytest.raises(RunError, match="table step_query_heads lacks layer: an earlier version recorded it"):
        Run(tmp_path / "run").table("step_query_heads")


def test_a_whole_table_that_the_schema_has_gained_is_said_to_be_newer(smoke_run: Run, monkeypatch: Any) -> None:
    monkeypatch.setitem(TABLES, "probe_moods", replace(TABLES["probe_loss"], says="New."))
    with pytest.raises(RunError, match=r"has no tables/probe_moods\.parquet: it was trained by an earlier version"):
        Run(smoke_run.path).table("probe_moods")


def test_a_name_that_does_not_exist_gets_every_table_with_its_sentence(smoke_run: Run) -> None:
    with pytest.raises(RunError) as caught:
        smoke_run.table("nonsense")
    assert all(f"\n  {name}: {table.says}" in str(caught.value) for name, table in TABLES.items())
    with pytest.raises(RunError) as caught:
        smoke_run.array("nonsense")
    assert all(f"\n  {name}: {group.says}" in str(caught.value) for name, group in ARRAYS.items())


def test_the_axis_that_arrays_share_is_the_one_of_tables() -> None:
    assert TABLES["train"].axes == (STEP,)
