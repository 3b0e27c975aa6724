"""A run for somebody else: whole, checked, and nothing but what its manifest lists."""

import csv
import zipfile
from pathlib import Path

import pytest
from synthetic import make_synthetic_config, write_run

from civilwar.errors import RunDamaged, RunError
from civilwar.files import sha256
from civilwar.pages.export import export
from civilwar.runs.manifest import read_manifest, write_manifest
from civilwar.runs.reader import Run
from civilwar.runs.schema import WEIGHTS
from civilwar.runs.writer import RunWriter


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """One with weights, and with a file that no manifest lists."""
    path = write_run(tmp_path / "runs" / "mine", make_synthetic_config(steps=20)).path
    (path / WEIGHTS).write_bytes(b"weights")
    (path / "diary.txt").write_text("private")
    manifest = read_manifest(path)
    manifest["files"][WEIGHTS] = sha256(path / WEIGHTS)
    write_manifest(path, manifest)
    return Run(path)


def same(one: Run, other: Run) -> bool:
    return all(one.table(name).equals(other.table(name)) for name in ("train", "step_kv_heads", "probe_query_heads"))


def test_a_folder_is_a_run_without_weights_unless_asked_for(run: Run, tmp_path: Path) -> None:
    copy = Run(export(run, tmp_path / "out" / "copy"))
    copy.verify(weights=True)
    assert same(copy, run)
    assert not (copy.path / WEIGHTS).exists()
    assert not (copy.path / "diary.txt").exists()
    heavy = Run(export(run, tmp_path / "heavy", weights=True))
    assert heavy.weights_file().read_bytes() == b"weights"
    with pytest.raises(RunError, match="is there already, and is not overwritten"):
        export(run, tmp_path / "heavy")
    with pytest.raises(RunError, match="has no weights"):
        export(copy, tmp_path / "more", weights=True)


def test_a_zip_unpacks_to_the_run_and_is_the_same_bytes_each_time(run: Run, tmp_path: Path) -> None:
    one, other = export(run, tmp_path / "a" / "mine.zip"), export(run, tmp_path / "b" / "mine.zip")
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as packed:
        packed.extractall(tmp_path / "unpacked")
    copy = Run(tmp_path / "unpacked" / "mine")
    copy.verify(weights=True)
    assert same(copy, run)


def test_tables_as_csv(run: Run, tmp_path: Path) -> None:
    folder = export(run, tmp_path / "tables", as_csv=True)
    assert {file.stem for file in folder.iterdir()} == {
        Path(name).stem for name in run.manifest["files"] if name.startswith("tables/")
    }
    with (folder / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(run.table("train")["step"])
    assert [float(row["loss"]) for row in rows] == pytest.approx(run.table("train")["loss"], rel=1e-4)


def test_a_damaged_or_unfinished_run_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    table = run.path / "tables" / "capacity.parquet"
    table.unlink()
    table.symlink_to("/etc/hostname")
    with pytest.raises(RunDamaged, match="is a link"):
        export(run, tmp_path / "out.zip")
    with RunWriter(tmp_path / "runs" / "half", make_synthetic_config(steps=20)) as writer:
        writer.write_manifest(status="running")
    with pytest.raises(RunError, match="is not complete: finish it with `civilwar resume half`"):
        export(Run(writer.path), tmp_path / "out.zip")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["runs"]
