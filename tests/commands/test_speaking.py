"""What every command does: versions, help that explains, output that nobody reads any more, publishing as a word of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import cli
from civilwar.commands.speaking import NOBODY_READS
from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import PRESETS, make_config
from civilwar.runs.reader import Run


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert re.fullmatch(r"civilwar \d+\.\d+\.\d+, torch \d\S+, Python 3\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["reproduce", "--help"]])
def test_help_explains_every_preset_and_variant(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(command)
    said = " ".join(capsys.readouterr().out.split())
    for key, variant in VARIANTS.items():
        assert f"{key} {'nothing' if key == 'baseline' else variant.says}" in said
    for preset in PRESETS:
        parameters = make_config(preset).model.n_parameters / 1e6
        assert f"{preset} {parameters:.2g} million parameters" in said


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for module in cli.COMMANDS:
        name = module.__name__.rpartition(".")[2]
        with pytest.raises(SystemExit) as end:
            cli.main([name, "--help"])
        assert end.value.code == 0
        assert f"usage: civilwar {name}" in capsys.readouterr().out


def test_a_closed_pipe_is_no_error(place: Path) -> None:
    """As with ``civilwar list | head -1``, when head has gone before the first line was written."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "civilwar.cli", "list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (NOBODY_READS, "")


def test_a_recording_is_published_only_where_that_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(place / "runs" / "mine", make_synthetic_config(steps=20))
    assert cli.main(["record", "mine"]) == 0
    assert capsys.readouterr().out == f"recorded {place}/build/recorded/mine\n"
    Run(place / "build" / "recorded" / "mine").verify()
    assert not (place / "data").exists()
    assert cli.main(["record", "mine", "--publish"]) == 0
    Run(place / "data" / "mine").verify()


def test_resume_finishes_a_run_by_its_name_wherever_it_lies(
    place: Path, smoke_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "build" / "runs" / "killed"
    # a run whose last line of the manifest was not written: what it is made of stands in it, and nothing else is asked for
    from civilwar.runs.writer import RunWriter

    with RunWriter(path, smoke_run.config) as writer:
        writer.write_manifest(status="running")
    assert cli.main(["resume", "killed", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"killed: complete, {path}\n"
    for table in ("train", "capacity"):
        assert Run(path).table(table).equals(smoke_run.table(table))
    assert cli.main(["resume", "killed"]) == 1
    assert "is complete: there is nothing to resume" in capsys.readouterr().err
    assert not (place / "runs").exists()
    shutil.rmtree(path)
