"""The tables and arrays of a real run are tidy and whole."""

import pandas as pd
import pytest

from civilwar.recipe.config import RunConfig
from civilwar.runs.reader import Run
from civilwar.runs.schema import TABLES


def axis_columns(table: pd.DataFrame) -> list[str]:
    axes = ("step", "layer", "query_head", "kv_head", "text", "horizon", "position")
    return [name for name in axes if name in table]


@pytest.mark.parametrize(
    ("name", "rows_per_step", "columns"),
    [
        ("train", 1, {"step", "loss"}),
        ("step_layers", 2, {"step", "layer", "k_gain_rms", "q_gain_rms"}),
        ("step_kv_heads", 2 * 2, {"step", "layer", "kv_head", *TABLES["step_kv_heads"].measured}),
        ("step_query_heads", 2 * 4, {"step", "layer", "query_head", "kv_head", *TABLES["step_query_heads"].measured}),
        ("probe_kv_heads", 3 * 2 * 2, {"step", "layer", "kv_head", "text", *TABLES["probe_kv_heads"].measured}),
        (
            "probe_query_heads",
            3 * 2 * 4,
            {"step", "layer", "query_head", "kv_head", "text", *TABLES["probe_query_heads"].measured},
        ),
        (
            "probe_sinks",
            3 * 2 * 4 * 3 * 4,
            {"step", "layer", "query_head", "kv_head", "text", "horizon", "position", "alpha"},
        ),
        (
            "probe_induction",
            2 * 2 * 4,
            {"step", "layer", "query_head", "kv_head", "text", *TABLES["probe_induction"].measured},
        ),
        ("probe_loss", 3, {"step", "text", "loss"}),
    ],
)
def test_tables_of_a_run_are_tidy_and_whole(
    smoke_run: Run, smoke_config: RunConfig, name: str, rows_per_step: int, columns: set[str]
) -> None:
    table = smoke_run.table(name)
    assert set(table) == columns
    steps = smoke_config.snapshot_steps() if name.startswith("probe") else list(range(25))
    assert table.step.unique().tolist() == steps
    assert (table.groupby("step").size() == rows_per_step).all()
    axes = axis_columns(table)
    assert not table.duplicated(axes).any()
    assert {str(table[axis].dtype) for axis in axes} == {"int32"}
    assert {str(table[column].dtype) for column in columns - set(axes)} == {"float32"}
    assert table.notna().all(axis=None)
    for axis in set(axes) - {"step", "horizon", "position"}:
        assert sorted(table[axis].unique()) == list(range(table[axis].max() + 1))
    if "query_head" in table:
        assert (table.kv_head == table.query_head // 2).all()


def test_arrays_of_a_run_have_their_steps_first(smoke_run: Run, smoke_config: RunConfig) -> None:
    gain, energy, patterns = (smoke_run.array(name) for name in ("gain", "energy", "patterns"))
    assert gain["step"].tolist() == energy["step"].tolist() == list(range(25))
    assert gain["k_gain"].shape == gain["q_gain"].shape == (25, 2, 16)
    assert energy["energy"].shape == (25, 2, 2, 16)
    assert patterns["step"].tolist() == smoke_config.snapshot_steps()
    assert patterns["pattern"].shape == (len(smoke_config.snapshot_steps()), 2, 2, 4, 16 * 17 // 2)
