"""A line for every folder, whatever is wrong with one of them; and names that others gave."""

from pathlib import Path

import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import cli, paths
from civilwar.files import _own_paths
from civilwar.runs.listing import list_folders
from civilwar.runs.reader import list_runs


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One good run, one recorded, one whose manifest was cut short, one half written, one of a name that is none."""
    runs = tmp_path / "runs"
    monkeypatch.setenv("CIVILWAR_RUNS", str(runs))
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    config = make_synthetic_config(steps=20)
    write_run(runs / "good", config)
    write_run(tmp_path / "data" / "recorded", config)
    for name in ("aaa", "b\x1b]0;title\x07\n<b>", _own_paths(runs / "writing")[0].name):
        (runs / name).mkdir()
        (runs / name / "manifest.json").write_text('{"config": {')
    (runs / "no-run").mkdir()
    return runs


def test_every_folder_has_its_line(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 1
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = [line.split("\t") for line in shown.out.splitlines()]
    assert {name: status for name, status, _ in lines} == {
        "good": "complete",
        "recorded": "complete",
        "aaa": "unreadable",
        "b\\x1b]0;title\\x07\\n<b>": "unreadable",
        next(path.name for path in folders.iterdir() if path.name.startswith(".writing")): "unfinished",
    }
    said = {name: text for name, _, text in lines}
    assert said["good"] == str(folders / "good")
    assert "aaa/manifest.json cannot be read as JSON" in said["aaa"]
    assert "rename the folder" in said["b\\x1b]0;title\\x07\\n<b>"]
    assert "\x1b" not in shown.out


def test_a_missing_status_and_a_manifest_that_leads_nowhere_are_lines_too(folders: Path) -> None:
    (folders / "aaa" / "manifest.json").unlink()
    (folders / "aaa" / "manifest.json").symlink_to(folders / "aaa" / "manifest.json")
    assert {found.path.name: found.status for found in list_folders()}["aaa"] == "unreadable"


def test_only_names_that_can_be_asked_for_are_offered(folders: Path) -> None:
    assert list_runs() == ["aaa", "good", "recorded"]


def test_nothing_wrong_is_status_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "none-yet"))
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    assert cli.main(["list"]) == 0
    write_run(tmp_path / "data" / "good", make_synthetic_config(steps=20))
    assert cli.main(["list"]) == 0
