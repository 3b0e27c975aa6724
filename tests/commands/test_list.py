"""``civilwar list`` and ``show``: a line for every folder, whatever is wrong with one of them."""

from pathlib import Path

import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import cli
from civilwar.commands.list import COLUMNS
from civilwar.files import _own_paths
from civilwar.runs.recording import record
from civilwar.runs.writer import RunWriter


def rows(shown: str) -> dict[str, list[str]]:
    """Words of each run's line, by its name."""
    lines = [line for line in shown.splitlines() if line and not line.endswith(":") and not line.startswith("run  ")]
    return {line.split()[0]: line.split() for line in lines}


def test_a_line_says_what_a_run_is_how_far_it_is_and_what_it_lacks(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_synthetic_config(steps=20, seed=3)
    loss = write_run(place / "runs" / "mine", config).table("train")["loss"].iloc[-1]
    record("mine", "slim", root=place / "build" / "runs")
    with RunWriter(place / "runs" / "killed", config) as writer:
        writer.write_manifest(status="running", started="2026-11-30T09:05:59+00:00")
    assert cli.main(["list"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert f"{place / 'runs'}:" in shown.out
    assert f"{place / 'build' / 'runs'}:" in shown.out
    assert [word for line in shown.out.splitlines() if line.startswith("run  ") for word in line.split("  ") if word][
        : len(COLUMNS)
    ]
    found = rows(shown.out.replace("date (UTC)", ""))
    # the recording of the same name stands below its own folder, later
    known = ["mine", "complete", "20", "20", f"{loss:.3f}", config.preset, config.variant, "3"]
    assert found["mine"][: len(known)] == known
    assert " ".join(found["mine"][-6:]).endswith("tables and arrays")
    assert found["killed"][1:5] == ["interrupted", "–", "20", "–"]
    assert " ".join(found["killed"][-2:]) == "its end"
    assert "2026-11-30 09:05" in shown.out


def test_what_cannot_be_read_has_its_line_and_hides_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = place / "runs"
    write_run(folders / "good", make_synthetic_config(steps=20))
    temporary = _own_paths(folders / "writing")[0].name
    for name in ("aaa", "b\x1b]0;title\x07\n<b>", temporary):
        (folders / name).mkdir()
        (folders / name / "manifest.json").write_text('{"config": {')
    # a table that is none, below a manifest whose checksums were made to fit
    broken = write_run(folders / "broken", make_synthetic_config(steps=20))
    (broken.path / "tables" / "train.parquet").write_bytes(b"PAR1")
    assert cli.main(["list"]) == 1
    shown = capsys.readouterr().out
    found = rows(shown)
    status = {name: line[1] for name, line in found.items()}
    assert status == {
        "good": "complete",
        "broken": "unreadable",
        "aaa": "unreadable",
        "b\\x1b]0;title\\x07\\n<b>": "unreadable",
        temporary: "unfinished",
    }
    assert "aaa/manifest.json cannot be read as JSON" in shown
    assert "train.parquet differs from the checksum" in shown
    assert "rename the folder" in shown
    assert "\x1b" not in shown


def test_an_empty_list_says_what_to_do(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == (
        f"no runs yet in {place}/runs, {place}/build/runs, {place}/data.\n"
        "`civilwar train` makes one, `civilwar reproduce` one and the book of it.\n"
    )


def test_show_tells_of_one_run_and_where_else_it_lies(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_synthetic_config(steps=20)
    run = write_run(place / "runs" / "mine", config)
    write_run(place / "data" / "mine", config)
    assert cli.main(["show", "mine", "--verify"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["folder"] == str(run.path)
    assert shown["recipe"] == f"{config.preset}, {config.variant}, seed {config.seed} (configuration {config.hash})"
    assert shown["step"].startswith("20 of 20, training loss ")
    assert shown["lacks"] == "weights"
    assert shown["also"] == f"at      {place / 'data' / 'mine'}"
    (run.path / "tables" / "capacity.parquet").write_bytes(b"")
    assert cli.main(["show", "mine"]) == 0
    assert cli.main(["show", "mine", "--verify"]) == 1
    assert "capacity.parquet differs from the checksum" in capsys.readouterr().err


def test_show_says_how_an_interrupted_run_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunWriter(place / "build" / "runs" / "killed", make_synthetic_config(steps=20)) as writer:
        writer.write_manifest(status="running")
    assert cli.main(["show", "killed"]) == 0
    assert f"next         civilwar resume {place}/build/runs/killed\n" in capsys.readouterr().out
