"""Run folders: nothing half-written, damage found, mistakes named."""

import dataclasses
import math
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from civilwar import files, paths
from civilwar.errors import RunBusy, RunDamaged, RunError, RunMismatch, RunNotFound
from civilwar.files import atomic_path, read_json, sha256, write_json
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs.manifest import MANIFEST, read_manifest, write_manifest
from civilwar.runs.reader import Run, list_runs, open_run, rows_of
from civilwar.runs.records import Records, read_table, write_table
from civilwar.runs.schema import ARRAYS, PROBE, TABLES, WEIGHTS
from civilwar.runs.writer import RunWriter

SMOKE = make_config("smoke")
#: Two updates, so that the three steps below are all of it.
CONFIG = dataclasses.replace(SMOKE, train=dataclasses.replace(SMOKE.train, steps=2))


def records(*steps: int) -> Records:
    """Rows of a tiny run: every table and array, with an undefined value. A table without steps has its rows in the first."""
    step = np.array(steps, dtype=np.int32)
    tables = {
        name: pd.DataFrame(
            {key: np.arange(len(step)).astype(column.dtype) for key, column in table.all_columns.items()}
            | ({"step": step} if table.when != "end" else {})
        )
        for name, table in TABLES.items()
        if table.when != "end" or 0 in steps
    }
    tables["train"]["loss"] = np.where(step == 1, np.nan, step).astype(np.float32)
    arrays = {
        name: {"step": step}
        | {
            array.column.name: np.ones((len(step), *range(2, 2 + len(array.axes))), array.column.dtype)
            * step.astype(array.column.dtype).reshape(-1, *(1 for _ in array.axes))
            for array in group.arrays
        }
        for name, group in ARRAYS.items()
    }
    return Records(tables, arrays)


def write_run(path: Path, config: RunConfig = CONFIG) -> Run:
    with RunWriter(path, config) as writer:
        writer.write_manifest(status="running")
        write_json(path / PROBE, {"texts": []})
        writer.write_part(1, records(0, 1))
        writer.write_part(2, records(2))
        return writer.finish(timings={"wall_seconds": 1.5})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of this test alone: ``runs`` for this machine's runs, ``data`` for recorded ones."""
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    return tmp_path / "runs"


# ---------------------------------------------------------------- atomic writes


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        _ = 1 / 0
    assert target.read_text() == "one"
    assert [file.name for file in target.parent.iterdir()] == ["file.txt"]


def test_a_folder_is_replaced_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "part"
    for content in ("one", "two"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:  # noqa: PT012
        temporary.mkdir()
        (temporary / "three").write_text("half")
        raise KeyboardInterrupt
    assert [file.name for file in target.iterdir()] == ["two"]
    assert [file.name for file in tmp_path.iterdir()] == ["part"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_no_json_and_keeps_the_old_file(tmp_path: Path, value: float) -> None:
    file = tmp_path / "numbers.json"
    write_json(file, {"a": None, "ö": [1, 0.5]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"a": value})
    assert read_json(file) == {"a": None, "ö": [1, 0.5]}


# ---------------------------------------------------------------- writing and reading


def test_a_run_reads_back_what_was_written(folder: Path) -> None:
    run = write_run(folder / "tiny")
    assert run.complete
    assert run.config == CONFIG
    assert run.last_step == 2
    assert run.manifest["config_hash"] == CONFIG.hash
    assert run.manifest["seed"] == 0
    assert run.manifest["timings"] == {"wall_seconds": 1.5}
    expected = Records.concatenate([records(0, 1), records(2)])
    for name in TABLES:
        pd.testing.assert_frame_equal(run.table(name), expected.tables[name])
    for name in ARRAYS:
        assert set(run.array(name)) == {"step", *(array.column.name for array in ARRAYS[name].arrays)}
        for key, value in expected.arrays[name].items():
            np.testing.assert_array_equal(run.array(name)[key], value)
            assert run.array(name)[key].dtype == value.dtype
    assert run.probe == {"texts": []}
    # undefined values are null, and the parts are gone
    assert run.table("train").loss.isna().tolist() == [False, True, False]
    assert sorted(p.name for p in (folder / "tiny").iterdir()) == [".lock", "arrays", MANIFEST, PROBE, "tables"]


def test_every_recorded_file_has_its_checksum(folder: Path) -> None:
    run = write_run(folder / "tiny")
    files = {f"tables/{name}.parquet" for name in TABLES} | {f"arrays/{name}.safetensors" for name in ARRAYS} | {PROBE}
    assert set(run.manifest["files"]) == files
    assert run.manifest["files"][PROBE] == sha256(folder / "tiny" / PROBE)


def test_a_table_may_be_changed_by_who_asked_for_it(folder: Path) -> None:
    run = write_run(folder / "tiny")
    table = run.table("train")
    table["loss"] = 0.0
    assert run.table("train").loss.iloc[2] == 2


def test_a_run_in_progress_gives_the_rows_so_far(folder: Path) -> None:
    with RunWriter(folder / "tiny", CONFIG) as writer:
        writer.write_manifest(status="running")
        with pytest.raises(RunError, match=r"tiny has no tables/train\.parquet yet.*Resume it"):
            open_run("tiny").table("train")
        writer.write_part(1, records(0, 1))
        run = open_run("tiny")
        assert not run.complete
        assert run.table("train").step.tolist() == [0, 1]
        assert run.last_step == 1
        writer.write_part(2, records(2))
        writer.discard_parts_after(1)
        assert open_run("tiny").table("train").step.tolist() == [0, 1]


def test_joining_stretches_keeps_order_and_fills_nothing_in() -> None:
    joined = Records.concatenate([records(0, 1), Records(), Records({"train": records(2).tables["train"]})])
    assert joined.tables["train"].step.tolist() == [0, 1, 2]
    assert joined.tables["probe_loss"].step.tolist() == [0, 1]
    assert joined.arrays["gain"]["step"].tolist() == [0, 1]
    assert Records.concatenate([]).tables == {}


def test_an_unknown_table_or_array_gets_the_valid_names(folder: Path) -> None:
    run = write_run(folder / "tiny")
    with pytest.raises(RunError, match="no table 'loss': expected one of train, step_layers"):
        run.table("loss")
    with pytest.raises(RunError, match="no array 'gains': expected one of gain, energy, patterns"):
        run.array("gains")


def test_a_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "step": np.arange(7, dtype=np.int32),
            "method": ["full", "gains", "gains", "", "ö", "full", "gains"],
            "undefined": [None] * 7,
            "single": random.normal(size=7).astype(np.float32),
            "double": random.normal(size=7),
            "whole": np.array([1, 2**40, -3, 0, 5, 6, 7]),
            "flag": np.arange(7) % 3 == 0,
        }
    )
    table.loc[2, ["single", "double"]] = np.nan
    table.loc[3, "double"] = np.inf
    write_table(table, tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.parquet"), table)
    without_rows = table.iloc[:0]
    write_table(without_rows, tmp_path / "empty.parquet")
    assert read_table(tmp_path / "empty.parquet").dtypes.equals(without_rows.dtypes)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(np.zeros(10**7)),
        pa.array(["a" * 10_000] * 20_000),
        pa.array(["a" * 10_000] * 20_000).dictionary_encode(),
    ],
    ids=["numbers", "texts", "texts that stand there once"],
)
def test_a_table_that_unpacks_to_far_more_than_its_size_is_refused_before_it_is(
    column: pa.Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"value": column}), file, compression="zstd")
    with monkeypatch.context() as patch:
        patch.setattr(pd, "read_parquet", lambda file: pytest.fail("it was unpacked"))
        with pytest.raises(
            RunDamaged, match=r"has [\d,]+ bytes and would unpack to more than 67,108,864, which no table"
        ):
            read_table(file)
    monkeypatch.setattr(files, "LARGEST_SMALL", 2**30)
    assert len(read_table(file)) == len(column)


def test_the_index_of_a_table_is_not_recorded(tmp_path: Path) -> None:
    table = pd.DataFrame({"value": [1.0, 2.0]}, index=[7, 3])
    write_table(table, tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.parquet"), table.reset_index(drop=True))


def test_floats_are_recorded_in_clearly_fewer_bytes_than_plain_parquet_takes(tmp_path: Path) -> None:
    walk = np.random.default_rng(0).normal(size=(20_000, 2)).cumsum(0)
    table = pd.DataFrame(walk.astype(np.float32), columns=["a", "b"])
    write_table(table, tmp_path / "ours.parquet")
    table.to_parquet(tmp_path / "plain.parquet", index=False, compression="zstd")
    assert (tmp_path / "ours.parquet").stat().st_size < 0.8 * (tmp_path / "plain.parquet").stat().st_size


# ---------------------------------------------------------------- what was not recorded


@pytest.mark.parametrize("steps", [[0], [32, 4], [4, 4, 0], [], [0, 1, 2, 4, 32]])
def test_rows_of_steps_are_where_the_steps_stand(steps: list[int]) -> None:
    recorded = np.array([0, 1, 2, 4, 32], dtype=np.int32)
    rows = rows_of(recorded, np.array(steps, dtype=int))
    assert recorded[rows].tolist() == steps


@pytest.mark.parametrize(
    ("steps", "missing"), [([3], [3]), ([0, 33], [33]), ([-1, 4, 31], [-1, 31]), ([100, 2, 5], [100, 5])]
)
def test_steps_that_were_not_recorded_are_named(steps: list[int], missing: list[int]) -> None:
    recorded = np.array([0, 1, 2, 4, 32], dtype=np.int32)
    with pytest.raises(RunError) as caught:
        rows_of(recorded, steps)
    assert str(caught.value).startswith(f"steps {missing} are not recorded there")


def without(path: Path, relative: str, **manifest: Any) -> None:
    """Take a file off a complete run, as if it had never been written."""
    (path / relative).unlink()
    stored = read_manifest(path)
    del stored["files"][relative]
    write_manifest(path, stored | manifest)


def test_a_complete_run_says_why_it_lacks_a_table(folder: Path) -> None:
    write_run(folder / "old")
    without(folder / "old", "tables/capacity.parquet")
    with pytest.raises(
        RunError, match=r"run old has no tables/capacity\.parquet: it was trained by an earlier version"
    ):
        open_run("old").table("capacity")

    write_run(folder / "slim")
    without(folder / "slim", "arrays/patterns.safetensors", left_out={"patterns": "all", "gain": "some steps"})
    run = open_run("slim")
    with pytest.raises(RunError, match=r"has no arrays/patterns\.safetensors: it was recorded without \(all\)\. Train"):
        run.array("patterns")
    # what was only thinned is there
    assert run.array("gain")["step"].tolist() == [0, 1, 2]
    without(folder / "slim", "tables/probe_loss.parquet")
    with pytest.raises(RunError, match="earlier version"):
        open_run("slim").table("probe_loss")


# ---------------------------------------------------------------- finding


def test_runs_are_listed_and_opened_by_name(folder: Path) -> None:
    assert list_runs() == []
    with pytest.raises(RunNotFound, match=r"no run 'a'\. There are: none yet"):
        open_run("a")
    write_run(folder / "b")
    write_run(folder / "a")
    write_run(folder.parent / "data" / "recorded")
    (folder / "no-run").mkdir()
    assert list_runs() == ["a", "b", "recorded"]
    assert open_run("recorded").path == folder.parent / "data" / "recorded"
    with pytest.raises(RunNotFound, match=r"no run 'c'\. There are: a, b, recorded"):
        open_run("c")
    with pytest.raises(RunNotFound, match=f"no-run is no run: it has no {MANIFEST}"):
        Run(folder / "no-run")


def test_a_run_of_this_machine_hides_a_recorded_one_of_the_same_name(folder: Path) -> None:
    write_run(folder.parent / "data" / "a")
    assert open_run("a").path.parent.name == "data"
    write_run(folder / "a")
    assert open_run("a").path.parent.name == "runs"


NO_NAMES = [
    "",
    ".",
    "..",
    "a/b",
    "../a",
    "a\\b",
    ".hidden",
    "-option",
    "a\0",
    "a\n",
    "\n",
    "a\x1b[31m",
    "<b>",
    "A&B",
    "lr#2",
]
NO_NAMES += ["a?b", "50%41", "a b", "a'b", 'a"b', "a:b", "läuft", "а", "a\u202e", "a" * 201, "caf\udce9"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_no_run_can_have_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(
        RunError, match=r"cannot name a run: use at most 200 letters \(a to z, A to Z\), digits, dots"
    ) as error:
        open_run(name)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "_", "0", "laptop-baseline-seed0", "a" * 200, "a..b"])
def test_a_name_as_promised_is_taken(folder: Path, name: str) -> None:
    write_run(folder / name)
    assert open_run(name).name == name


# ---------------------------------------------------------------- two writers


def test_another_configuration_under_the_same_name_is_refused_field_by_field(folder: Path) -> None:
    run = write_run(folder / "tiny")
    before = {file: file.read_bytes() for file in (folder / "tiny").rglob("*") if file.is_file()}
    other = dataclasses.replace(CONFIG, seed=3, train=dataclasses.replace(CONFIG.train, adamw_lr=0.5))
    with pytest.raises(RunMismatch) as caught, RunWriter(folder / "tiny", other):
        pytest.fail("the block must not run")
    message = str(caught.value)
    assert "seed: 0 there, 3 asked for" in message
    assert "train.adamw_lr: 0.006 there, 0.5 asked for" in message
    assert "muon" not in message
    assert {file: file.read_bytes() for file in (folder / "tiny").rglob("*") if file.is_file()} == before
    # and the lock is free again
    with RunWriter(folder / "tiny", CONFIG):
        assert open_run("tiny").config == run.config


def hold(path: Path, ready: Any, done: Any) -> None:
    with RunWriter(path, CONFIG) as writer:
        writer.write_manifest(status="running")
        ready.set()
        done.wait(60)


def test_a_second_process_is_told_that_the_run_is_busy(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(folder / "tiny", ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with (
            pytest.raises(RunBusy, match="tiny is being written by another process"),
            RunWriter(folder / "tiny", CONFIG),
        ):
            pytest.fail("the block must not run")
        # reading goes on
        assert open_run("tiny").manifest["status"] == "running"
    finally:
        done.set()
        process.join(60)
    assert process.exitcode == 0
    with RunWriter(folder / "tiny", CONFIG) as writer:
        writer.write_manifest(status="again")


def test_the_lock_is_free_after_a_failure(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunWriter(folder / "tiny", CONFIG):
        _ = 1 / 0
    with RunWriter(folder / "tiny", CONFIG) as writer:
        writer.write_manifest(status="running")


# ---------------------------------------------------------------- damage


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, alter, Path.unlink], ids=["cut", "altered", "missing"])
@pytest.mark.parametrize("file", ["tables/step_kv_heads.parquet", "arrays/gain.safetensors", PROBE])
def test_a_damaged_file_of_a_complete_run_is_found(folder: Path, file: str, damage: Any) -> None:
    write_run(folder / "tiny")
    damage(folder / "tiny" / file)
    run = open_run("tiny")
    with pytest.raises(RunDamaged, match=rf"{Path(file).name}.*(train it again|train the run again)"):
        {"tables": lambda: run.table("step_kv_heads"), "arrays": lambda: run.array("gain")}.get(
            file.partition("/")[0], lambda: run.probe
        )()
    # the rest can still be read
    assert run.table("train").step.tolist() == [0, 1, 2]


@pytest.mark.parametrize("damage", [cut, alter, Path.unlink], ids=["cut", "altered", "missing"])
@pytest.mark.parametrize("file", ["tables/step_kv_heads.parquet", "arrays/gain.safetensors"])
def test_a_damaged_part_of_an_unfinished_run_is_found(folder: Path, file: str, damage: Any) -> None:
    with RunWriter(folder / "half", CONFIG) as writer:
        writer.write_manifest(status="running")
        writer.write_part(1, records(0, 1))
    assert len(Run(folder / "half").table("train")) == 2
    damage(folder / "half" / "parts" / "000001" / file)
    with pytest.raises(RunDamaged, match=r"is missing, was cut short or altered: see checksums\.json there"):
        Run(folder / "half").table("train")


@pytest.mark.parametrize("kept", [0, 3, 0.3, 0.9])
@pytest.mark.parametrize("file", ["tables/train.parquet", "arrays/gain.safetensors"])
def test_a_part_that_was_cut_short_is_found(folder: Path, file: str, kept: float) -> None:
    with RunWriter(folder / "tiny", CONFIG) as writer:
        writer.write_manifest(status="running")
        writer.write_part(1, records(0, 1))
        damaged = folder / "tiny" / "parts" / "000001" / file
        size = damaged.stat().st_size
        os.truncate(damaged, kept if isinstance(kept, int) else int(size * kept))
        with pytest.raises(RunDamaged, match=damaged.name):
            open_run("tiny").table("train")
        with pytest.raises(RunDamaged, match=damaged.name):
            writer.finish()
        assert not open_run("tiny").complete


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ("[1]", "holds no JSON object"),
        (b"\xff", "JSON"),
    ],
)
def test_a_damaged_manifest_is_found_and_not_written_over(folder: Path, content: str | bytes, message: str) -> None:
    write_run(folder / "tiny")
    manifest = folder / "tiny" / MANIFEST
    manifest.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = manifest.read_bytes()
    with pytest.raises(RunDamaged, match=message):
        open_run("tiny")
    with pytest.raises(RunDamaged, match=message), RunWriter(folder / "tiny", CONFIG):
        pytest.fail("the block must not run")
    assert manifest.read_bytes() == before


def test_a_manifest_altered_in_any_one_bit_is_found(tmp_path: Path) -> None:
    entries = {
        "commit": "ab12",
        "config": {"train": {"lr": 0.1}},
        "dirty": False,
        "files": {"ö": "00"},
        "steps": (1, 2),
    }
    write_manifest(tmp_path, entries)
    assert read_manifest(tmp_path) == entries | {"steps": [1, 2]}
    file = tmp_path / MANIFEST
    content = file.read_bytes()
    for bit in range(8 * len(content)):
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        file.write_bytes(altered)
        with pytest.raises(RunDamaged, match=r"manifest\.json .* (R|r)e(store|ad) it"):
            read_manifest(tmp_path)


def test_a_manifest_of_another_version_is_named_with_its_commit(folder: Path) -> None:
    write_run(folder / "tiny")
    entries = read_manifest(folder / "tiny")
    write_json(folder / "tiny" / MANIFEST, entries | {"commit": "abc123"})
    with pytest.raises(RunDamaged, match=r"no checksum of its own.*another version of civilwar.*commit abc123"):
        open_run("tiny")
    entries["config"]["model"]["dropout"] = 0.1
    write_manifest(folder / "tiny", entries | {"commit": "abc123"})
    with pytest.raises(RunDamaged, match=r"another version of civilwar.*dropout.*commit abc123"):
        open_run("tiny")


@pytest.mark.parametrize("name", ["status", "files", "config"])
def test_a_manifest_that_was_signed_again_without_an_entry_is_damaged(folder: Path, name: str) -> None:
    write_run(folder / "tiny")
    entries = read_manifest(folder / "tiny")
    del entries[name]
    write_manifest(folder / "tiny", entries)
    with pytest.raises(RunDamaged, match=rf"manifest\.json has no entry '{name}'"):
        open_run("tiny")


def test_an_entry_that_is_not_there_is_named_when_asked_for(folder: Path) -> None:
    manifest = write_run(folder / "tiny").manifest
    assert manifest.get("corpus") is None
    with pytest.raises(RunDamaged, match=r"tiny/manifest\.json has no entry 'corpus'"):
        _ = manifest["corpus"]


def test_deep_json_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text('{"a":' + "[" * 100_000)
    with pytest.raises(RunDamaged, match="cannot be read as JSON"):
        read_json(tmp_path / "deep.json")


@pytest.mark.parametrize("damage", [cut, alter, Path.unlink], ids=["cut", "altered", "missing"])
def test_the_weights_checksum_is_read_with_them(folder: Path, damage: Any) -> None:
    write_run(folder / "tiny")
    with pytest.raises(RunError, match="run tiny has no weights: only its tables were kept"):
        open_run("tiny").weights_file()
    file = folder / "tiny" / WEIGHTS
    file.write_bytes(b"some weights or other")
    entries = read_manifest(folder / "tiny")
    write_manifest(folder / "tiny", entries | {"files": entries["files"] | {WEIGHTS: sha256(file)}})
    run = open_run("tiny")
    assert run.weights_file() == file
    run.verify(weights=True)
    damage(file)
    run.verify()
    for ask in (run.weights_file, lambda: run.verify(weights=True)):
        with pytest.raises(RunDamaged, match=WEIGHTS):
            ask()


def test_an_unfinished_run_has_no_weights(folder: Path) -> None:
    with RunWriter(folder / "tiny", CONFIG) as writer:
        writer.write_manifest(status="running")
    with pytest.raises(RunError, match="it is not complete"):
        open_run("tiny").weights_file()


def test_sittings_of_older_manifests_are_read_from_what_they_kept(folder: Path) -> None:
    run = write_run(folder / "tiny")
    run.manifest |= {"commit": "abc", "device": {"name": "A"}, "resumed_at": [7, 9]}
    assert run.sittings == [
        {"from_step": 0},
        {"from_step": 7},
        {"from_step": 9, "commit": "abc", "device": {"name": "A"}},
    ]
    run.manifest["sittings"] = [{"from_step": 0, "commit": "b"}]
    assert run.sittings == [{"from_step": 0, "commit": "b"}]


def test_a_copied_run_can_be_read_anywhere(folder: Path) -> None:
    write_run(folder / "tiny")
    shutil.copytree(folder / "tiny", folder / "copy")
    pd.testing.assert_frame_equal(open_run("copy").table("train"), open_run("tiny").table("train"))
    assert repr(open_run("copy")) == f"Run('copy', complete, config {CONFIG.hash})"


# ---------------------------------------------------------------- where things lie


def test_folders_follow_their_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "r"))
    monkeypatch.setenv("CIVILWAR_CACHE", str(tmp_path / "c"))
    assert (paths.runs(), paths.cache()) == (tmp_path / "r", tmp_path / "c")
    monkeypatch.delenv("CIVILWAR_RUNS")
    monkeypatch.delenv("CIVILWAR_CACHE")
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root)
    assert paths.runs() == root / "runs"
    assert paths.cache() == root / "runs" / ".cache"
    assert paths.recorded() == root / "data"
