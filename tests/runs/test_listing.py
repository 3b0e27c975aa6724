"""A line for every folder, whatever is wrong with one of them; and names that others gave."""

import shutil
from pathlib import Path

import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import paths
from civilwar.errors import RunDamaged, RunError, RunNotFound
from civilwar.files import _own_paths
from civilwar.runs.glance import glance, standing
from civilwar.runs.listing import folders_of, list_folders, one_folder
from civilwar.runs.reader import Run, list_runs
from civilwar.runs.records import Records
from civilwar.runs.writer import RunWriter


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One good run, one recorded, one whose manifest was cut short, one half written, one of a name that is none."""
    runs = tmp_path / "runs"
    monkeypatch.setenv("CIVILWAR_RUNS", str(runs))
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    monkeypatch.setattr(paths, "reproduced", lambda: tmp_path / "build" / "runs")
    config = make_synthetic_config(steps=20)
    write_run(runs / "good", config)
    write_run(tmp_path / "data" / "recorded", config)
    for name in ("aaa", "b\x1b]0;title\x07\n<b>", _own_paths(runs / "writing")[0].name):
        (runs / name).mkdir()
        (runs / name / "manifest.json").write_text('{"config": {')
    (runs / "no-run").mkdir()
    return runs


def test_a_missing_status_and_a_manifest_that_leads_nowhere_are_lines_too(folders: Path) -> None:
    (folders / "aaa" / "manifest.json").unlink()
    (folders / "aaa" / "manifest.json").symlink_to(folders / "aaa" / "manifest.json")
    assert {found.path.name: found.status for found in list_folders()}["aaa"] == "unreadable"


def test_only_names_that_can_be_asked_for_are_offered(folders: Path) -> None:
    assert list_runs() == ["aaa", "good", "recorded"]


def test_a_run_that_says_it_is_running_is_interrupted_unless_a_process_writes_it(tmp_path: Path) -> None:
    config = make_synthetic_config(steps=20)
    with RunWriter(tmp_path / "run", config) as writer:
        writer.write_manifest(status="running")
        assert standing(Run(tmp_path / "run")) == "running"
    assert standing(Run(tmp_path / "run")) == "interrupted"
    # to have asked keeps nobody from going on
    with RunWriter(tmp_path / "run", config) as writer:
        writer.write_manifest(status="diverged")
        assert standing(Run(tmp_path / "run")) == "diverged"


def test_how_far_an_interrupted_run_is_and_what_it_lacks(tmp_path: Path) -> None:
    config = make_synthetic_config(steps=20)
    whole = write_run(tmp_path / "whole", config)
    seen = glance(whole)
    losses = whole.table("train")
    assert (seen.status, seen.step, seen.loss) == ("complete", 20, losses["loss"].iloc[-1])
    assert seen.lacks == ("weights",)
    assert seen.size == sum(file.stat().st_size for file in (tmp_path / "whole").rglob("*") if file.is_file())
    (whole.path / "tables" / "capacity.parquet").unlink()
    assert glance(Run(whole.path)).lacks == ("weights", "tables/capacity.parquet (lost)")

    with RunWriter(tmp_path / "half", config) as writer:
        writer.write_manifest(status="running", started="2026-11-30T09:05:59+00:00")
        assert (glance(Run(writer.path)).step, glance(Run(writer.path)).loss) == (None, None)
        for first, last in ((0, 4), (5, 9)):
            rows = losses[losses["step"].between(first, last)].reset_index(drop=True)
            writer.write_part(last, Records({"train": rows}))
    half = glance(Run(tmp_path / "half"))
    assert (half.status, half.step, half.loss) == ("interrupted", 9, losses["loss"].iloc[9])
    assert (half.lacks, half.date) == (("its end",), "2026-11-30 09:05")
    # a table of losses that was altered is not believed
    file = tmp_path / "half" / "parts" / "000009" / "tables" / "train.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunDamaged, match=r"train\.parquet was cut short or altered"):
        glance(Run(tmp_path / "half"))


def test_a_name_stands_for_every_folder_that_has_it_and_a_path_for_one(folders: Path) -> None:
    data = paths.recorded()
    assert folders_of("good") == [folders / "good"]
    shutil.copytree(folders / "good", data / "good")
    assert folders_of("good") == [folders / "good", data / "good"]
    with pytest.raises(RunError, match=r"there are 2 runs of that name: name one by its path, .*good or .*good"):
        one_folder("good")
    assert one_folder(str(data / "good")) == data / "good"
    with pytest.raises(RunNotFound, match=r"no run 'gone' in .*runs, .*build/runs, .*data\. `civilwar list`"):
        folders_of("gone")
    with pytest.raises(RunNotFound, match="is no run: it has no manifest"):
        folders_of(str(folders / "no-run"))
    with pytest.raises(RunError, match="cannot name a run"):
        folders_of("..")
