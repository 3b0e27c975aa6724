"""`civilwar.pages.door`: opening the run that a notebook names."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from civilwar import paths
from civilwar.corpus.identity import checksum_here
from civilwar.errors import RunError, RunMismatch
from civilwar.names.variants import VARIANTS
from civilwar.pages import door
from civilwar.recipe.config import PRESETS, make_config
from civilwar.runs.reader import Run
from civilwar.runs.writer import RunWriter


@pytest.fixture(autouse=True)
def keep_style() -> Any:
    with mpl.rc_context():
        yield


@pytest.mark.parametrize(
    ("wrong", "valid"),
    [
        ({"preset": "huge"}, list(PRESETS)),
        ({"preset": "lptop"}, list(PRESETS)),
        ({"variant": "no_gain"}, list(VARIANTS)),
        ({"seed": -1}, ["an integer from 0"]),
        ({"seed": "0"}, ["an integer from 0"]),
        ({"seed": 1.5}, ["an integer from 0"]),
        ({"corpus": "  "}, ["docstrings", "path:FOLDER_OR_FILE", "hub:NAME"]),
        ({"corpus": "wikipedia"}, ["docstrings", "path:FOLDER_OR_FILE", "hub:NAME"]),
        ({"device": "tpu"}, ["auto", "cpu"]),
        ({"run": "../elsewhere"}, ["200 letters", "digits, dots, dashes and underscores"]),
    ],
)
def test_a_wrong_parameter_is_answered_with_the_valid_ones(
    runs_dir: Path, smoke_corpus: str, wrong: dict[str, Any], valid: list[str]
) -> None:
    before = set(runs_dir.iterdir())
    parameters = {"run": "never-trained", "preset": "smoke", "corpus": smoke_corpus, "device": "cpu"} | wrong
    with pytest.raises((ValueError, RunError)) as error:
        door.open_phase(**parameters)
    message = str(error.value)
    assert repr(next(iter(wrong.values()))) in message
    assert all(value in message for value in valid)
    assert "\n" not in message
    # nothing was trained, nor left behind to be mistaken for a run
    left = {path for path in set(runs_dir.iterdir()) - before if any(path.glob("manifest.json"))}
    assert not left


def test_device_is_checked_even_where_nothing_is_to_be_trained(smoke_run: Run, smoke_corpus: str) -> None:
    """A typing error must not pass unseen because the run happens to exist."""
    with pytest.raises(ValueError, match=r"'gpu'.*auto.*cuda.*mps.*cpu"):
        door.open_phase(smoke_run.name, "smoke", corpus=smoke_corpus, device="gpu")


def test_an_existing_run_is_opened_as_it_is(smoke_run: Run, smoke_corpus: str) -> None:
    before = {file: file.stat().st_mtime_ns for file in smoke_run.path.rglob("*")}
    opened = door.open_phase(smoke_run.name, "smoke", corpus=smoke_corpus)
    assert opened.path == smoke_run.path
    assert opened.manifest == smoke_run.manifest
    assert {file: file.stat().st_mtime_ns for file in smoke_run.path.rglob("*")} == before


def test_another_run_of_that_name_is_refused_by_the_differing_fields(smoke_run: Run, smoke_corpus: str) -> None:
    with pytest.raises(RunMismatch, match=r"seed: 0 there, 7 asked for.*another name"):
        door.open_phase(smoke_run.name, "smoke", seed=7, corpus=smoke_corpus)
    with pytest.raises(RunMismatch, match="preset: 'smoke' there, 'laptop' asked for"):
        door.open_phase(smoke_run.name, corpus=smoke_corpus)


READ = """
import json, sys
from civilwar.pages import door, numbers
run = door.open_phase({name!r}, "smoke", corpus={corpus!r})
numbers.glue_run(run)
print(json.dumps({{"name": run.name, "heavy": sorted({{"torch", "tokenizers", "transformers"}} & set(sys.modules))}}))
"""


def test_a_recorded_run_is_read_without_loading_torch(smoke_run: Run, smoke_corpus: str) -> None:
    code = READ.format(name=smoke_run.name, corpus=smoke_corpus)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {"name": smoke_run.name, "heavy": []}
    # and the check can fail
    done = subprocess.run([sys.executable, "-c", "import torch\n" + code], capture_output=True, text=True, check=True)
    assert "torch" in json.loads(done.stdout.splitlines()[-1])["heavy"]


def test_a_complete_run_of_a_file_that_was_edited_since_is_not_shown_as_that_file_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "text.txt"
    file.write_text("one\n\ntwo")
    config = make_config("smoke", corpus=f"path:{file}")
    recorded = checksum_here(config.corpus)
    with RunWriter(tmp_path / config.default_name, config) as writer:
        writer.write_manifest(status="complete", files={}, corpus={"checksum": recorded})
    monkeypatch.setattr(paths, "runs", lambda: tmp_path)
    asked: dict[str, Any] = {"preset": "smoke", "corpus": config.corpus}
    assert door.open_phase(**asked).text_checksum == recorded
    file.write_text("one\n\nthree")
    with pytest.raises(RunMismatch, match="was trained on another text"):
        door.open_phase(**asked)
    # for reading the text need not be there
    file.unlink()
    assert door.open_phase(**asked).name == config.default_name
