"""``civilwar delete``: what goes, what is asked first, and what stays."""

import builtins
import sys
from pathlib import Path

import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import cli
from civilwar.runs.writer import RunWriter


@pytest.fixture
def run(place: Path) -> Path:
    return write_run(place / "runs" / "mine", make_synthetic_config(steps=20)).path


def test_a_run_goes_with_everything_in_its_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["delete", "mine", "--yes"]) == 0
    assert capsys.readouterr().out.startswith(f"deleted {run} (")
    assert list(run.parent.iterdir()) == []


@pytest.mark.parametrize(("typed", "goes"), [("yes", True), ("y", False), ("", False)])
def test_a_question_comes_first(run: Path, typed: str, goes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(builtins, "input", lambda question: asked.append(question) or typed)
    assert cli.main(["delete", "mine"]) == int(not goes)
    assert run.exists() is not goes
    assert asked[0].startswith(f"Delete {run} (")


def test_where_nobody_can_be_asked_it_stays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["delete", "mine"]) == 1
    assert "stays: add --yes" in capsys.readouterr().err
    assert run.exists()


def test_a_run_that_is_being_written_stays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunWriter(place / "runs" / "busy", make_synthetic_config(steps=20)) as writer:
        writer.write_manifest(status="running")
        assert cli.main(["delete", "busy", "--yes"]) == 1
        assert "is being written by another process. Stop that first." in capsys.readouterr().err
    assert (place / "runs" / "busy" / "manifest.json").exists()


def test_a_recorded_run_goes_only_with_a_word_of_its_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = write_run(place / "data" / "recorded", make_synthetic_config(steps=20)).path
    assert cli.main(["delete", "recorded", "--yes"]) == 1
    assert "add --publish to delete it" in capsys.readouterr().err
    assert recorded.exists()
    assert cli.main(["delete", "recorded", "--yes", "--publish"]) == 0
    assert not recorded.exists()


def test_what_is_no_run_stays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "runs" / "texts").mkdir(parents=True)
    (place / "runs" / "texts" / "thesis.txt").write_text("years of work")
    assert cli.main(["delete", str(place / "runs" / "texts"), "--yes"]) == 1
    assert "is no run" in capsys.readouterr().err
    assert (place / "runs" / "texts" / "thesis.txt").exists()


def test_of_two_of_a_name_neither_goes(run: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_run(place / "build" / "runs" / "mine", make_synthetic_config(steps=20)).path
    assert cli.main(["delete", "mine", "--yes"]) == 1
    assert "name one by its path" in capsys.readouterr().err
    assert cli.main(["delete", str(other), "--yes"]) == 0
    assert run.exists()
    assert not other.exists()


def test_what_a_link_leads_to_stays(run: Path, place: Path) -> None:
    elsewhere = place / "elsewhere"
    run.rename(elsewhere)
    run.symlink_to(elsewhere)
    assert cli.main(["delete", "mine", "--yes"]) == 0
    assert not run.is_symlink()
    assert (elsewhere / "manifest.json").exists()
