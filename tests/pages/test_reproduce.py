"""A reader's own book: what is said first, what is swapped in whole, and what is remembered for the next time."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from civilwar import cli, paths
from civilwar.errors import RunNotWritten
from civilwar.files import write_json
from civilwar.pages import reproduce as module
from civilwar.pages.made import LAST_WRITTEN, Book
from civilwar.pages.reproduce import parameters_of, reproduce, stages_of
from civilwar.recipe import cost
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs.reader import Run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke_run: Run, shared: Path) -> Path:
    """A folder in the repository's place, in which the smoke run is trained already; papermill and jupyter-book are quick."""
    sources = paths.sources()
    monkeypatch.setattr(paths, "repository", lambda: tmp_path)
    monkeypatch.setattr(paths, "sources", lambda: sources)
    monkeypatch.setenv("CIVILWAR_RUNS", "")
    monkeypatch.setenv("CIVILWAR_CACHE", str(shared / "cache"))
    shutil.copytree(smoke_run.path, tmp_path / "build" / "runs" / smoke_run.config.default_name)

    def execute(source: Path, target: Path, parameters: Mapping[str, Any]) -> None:
        target.parent.mkdir(exist_ok=True)
        target.write_text(str(dict(parameters)))

    def build_book(source: Path, quiet: bool) -> Path:
        assert quiet
        last = source.parent / "_build" / LAST_WRITTEN
        last.parent.mkdir(parents=True)
        last.write_text("")
        return last.parent

    monkeypatch.setattr(module, "execute", execute)
    monkeypatch.setattr(module, "build_book", build_book)
    return tmp_path


def test_the_stages_and_their_costs_are_said_before_the_first_begins(place: Path, smoke_config: RunConfig) -> None:
    said: list[str] = []
    pages = reproduce(smoke_config, "cpu", say=said.append)
    assert pages == place / "build" / "site" / "_build" / "html"
    begins = next(number for number, line in enumerate(said) if line.startswith("[1/4]"))
    assert said[0].startswith(f"{smoke_config.default_name} and its book, below {place}/build; times ")
    assert [line.split()[:2] for line in said[1:5]] == [
        ["1/4", "text"],
        ["2/4", "training"],
        ["3/4", "notebooks"],
        ["4/4", "book"],
    ]
    assert said[5] == "  Downloads nothing."
    assert begins == 6
    done = [line.split("]")[0] for line in said if ": done in " in line]
    assert done == ["[1/4", "[2/4", "[3/4", "[4/4"]
    # the second time it knows what each takes, here
    again: list[str] = []
    reproduce(smoke_config, "cpu", say=again.append)
    assert "times as it took here before:" in again[0]
    assert all("about " in line and "MB of disk" in line for line in again[2:5])


def test_every_notebook_is_executed_on_the_run_and_the_book_assembled_whole(
    place: Path, smoke_config: RunConfig
) -> None:
    reproduce(smoke_config, "cpu", say=lambda line: None)
    site = place / "build" / "site"
    executed = {file.name: file.read_text() for file in (site / "book" / "phases").iterdir()}
    assert set(executed) == {file.name for file in (paths.sources() / "notebooks").glob("[0-9]*.ipynb")}
    assert set(executed.values()) == {str(parameters_of(smoke_config, "cpu"))}
    for name in ("index.md", "_toc.yml", "_static", "_ext"):
        assert (site / "book" / name).exists()
    assert (site / "_config.yml").exists()
    assert not Book(site).stale
    assert [entry.name for entry in (place / "build").iterdir() if entry.name.startswith(".site")] == []


def test_a_book_that_fails_leaves_the_one_before(
    place: Path, smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce(smoke_config, "cpu", say=lambda line: None)
    before = sorted((place / "build" / "site").rglob("*"))

    def fail(*anything: object, **more: object) -> None:
        raise RunNotWritten("no room")

    monkeypatch.setattr(module, "build_book", fail)
    with pytest.raises(RunNotWritten, match="no room"):
        reproduce(smoke_config, "cpu", say=lambda line: None)
    assert sorted((place / "build" / "site").rglob("*")) == before


def test_a_disk_without_room_is_said_before_anything_is_done(
    place: Path, smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"seconds": 1.0, "megabytes": 1e9}
    took = {"machine": "a machine", "stages": dict.fromkeys(("text", "training", "notebooks", "book"), stage)}
    write_json(place / "build" / module.TOOK, {"presets": {"smoke": took}})
    said: list[str] = []
    with pytest.raises(RunNotWritten, match=r"has room for \d+ MB and needs about 3000000000: make room"):
        reproduce(smoke_config, "cpu", say=said.append)
    assert not any(line.startswith("[1/4]") for line in said)


def test_what_was_not_measured_is_in_proportion_or_not_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = make_config("paper")
    stages = {
        name: {"seconds": 10.0, "megabytes": 1.0}
        for name in (module.TEXT, module.TRAINING, module.NOTEBOOKS, module.BOOK)
    }
    write_json(place / "build" / module.TOOK, {"presets": {"smoke": {"machine": "a machine", "stages": stages}}})
    planned, told = stages_of(paper, 11)
    training = next(stage for stage in planned if stage.name == module.TRAINING)
    assert training.seconds == pytest.approx(10 * cost.flops(paper) / cost.flops(make_config("smoke")))
    assert told == "times in proportion to those of the smoke preset on a machine:"
    # another text is of another length
    other, _ = stages_of(make_config("smoke", corpus="path:/texts"), 11)
    assert [stage.seconds is None for stage in other] == [True, False, False, False]
    monkeypatch.setattr(paths, "measured", lambda: place / "nothing")
    (place / "build" / module.TOOK).unlink()
    planned, told = stages_of(paper, 11)
    assert {stage.seconds for stage in planned} == {None}
    assert told == "times not measured yet:"


def test_the_command_hands_on_what_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def stands_in(config: RunConfig, device: str, accept_another_machine: bool) -> Path:
        asked.extend([config, device, accept_another_machine])
        return Path("/pages")

    monkeypatch.setattr(module, "reproduce", stands_in)
    arguments = [
        "--preset",
        "smoke",
        "--variant",
        "frozen_gain",
        "--seed",
        "3",
        "--corpus",
        "source",
        "--device",
        "cpu",
    ]
    assert cli.main(["reproduce", *arguments, "--accept-another-machine"]) == 0
    assert asked == [make_config("smoke", "frozen_gain", 3, "source"), "cpu", True]
    assert capsys.readouterr().out == (
        "The book of your run is at file:///pages/index.html\n`civilwar serve` opens it in a browser.\n"
    )
