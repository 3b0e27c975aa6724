"""Copies of the notebooks to work in: they follow their sources until a reader changes them."""

from pathlib import Path

import pytest

from civilwar import cli, paths
from civilwar.commands import lab
from civilwar.pages import notebooks


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two notebooks in a checkout of their own."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("01_a", "02_b"):
        (folder / f"{name}.ipynb").write_text(name)
    for place in ("repository", "sources"):
        monkeypatch.setattr(paths, place, lambda: tmp_path)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.glob("*.ipynb")}


def test_what_a_reader_changed_stays_and_the_rest_follows_its_source(sources: Path) -> None:
    folder, changed = notebooks.copies()
    assert folder == sources.parent / "build" / "notebooks"
    assert (contents(folder), changed) == (contents(sources), [])
    (folder / "01_a.ipynb").write_text("executed")
    for name in ("01_a", "02_b"):
        (sources / f"{name}.ipynb").write_text("newer")
    for _ in range(2):
        assert notebooks.copies()[1] == ["01_a.ipynb"]
        assert contents(folder) == {"01_a.ipynb": "executed", "02_b.ipynb": "newer"}
    # a copy that was removed comes back
    (folder / "01_a.ipynb").unlink()
    assert notebooks.copies()[1] == []
    assert contents(folder) == contents(sources)


def test_lab_opens_the_copies_and_keeps_runs_where_they_are(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []

    class Done:
        returncode = 0

    def run(command: list[str], check: bool) -> Done:
        started.append(command)
        return Done()

    monkeypatch.setattr(lab.subprocess, "run", run)
    # set and then unset, so that what the command sets is undone
    monkeypatch.setenv("CIVILWAR_DATA", "")
    monkeypatch.delenv("CIVILWAR_DATA")
    assert cli.main(["lab", "--", "--no-browser"]) == 0
    folder = sources.parent / "build" / "notebooks"
    assert [command[1:] for command in started] == [["-m", "jupyterlab", str(folder), "--no-browser"]]
    assert lab.os.environ["CIVILWAR_DATA"] == str(sources.parent / "data")
    assert capsys.readouterr().out == f"copies of the notebooks: {folder}\n"
