"""`civilwar.pages.door`: opening the run that a notebook names, and handing numbers and tables to the page."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from synthetic import make_synthetic_config, write_run

from civilwar.errors import RunError, RunMismatch
from civilwar.names.variants import VARIANTS
from civilwar.pages import door as notebook
from civilwar.recipe.config import PRESETS
from civilwar.runs.reader import Run


@pytest.fixture(autouse=True)
def keep_style() -> Any:
    with mpl.rc_context():
        yield


@pytest.mark.parametrize(
    ("wrong", "valid"),
    [
        ({"preset": "huge"}, list(PRESETS)),
        ({"variant": "no_gain"}, list(VARIANTS)),
        ({"seed": -1}, ["an integer from 0"]),
        ({"seed": "0"}, ["an integer from 0"]),
        ({"seed": 1.5}, ["an integer from 0"]),
        ({"corpus": "  "}, ["docstrings", "path:FOLDER_OR_FILE", "hub:NAME"]),
        ({"corpus": "wikipedia"}, ["docstrings", "path:FOLDER_OR_FILE", "hub:NAME"]),
        ({"device": "tpu"}, ["auto", "cpu"]),
        ({"run": "../elsewhere"}, ["letters, digits, dots, dashes and underscores"]),
    ],
)
def test_a_wrong_parameter_is_answered_with_the_valid_ones(
    runs_dir: Path, smoke_corpus: str, wrong: dict[str, Any], valid: list[str]
) -> None:
    before = set(runs_dir.iterdir())
    parameters = {"run": "never-trained", "preset": "smoke", "corpus": smoke_corpus, "device": "cpu"} | wrong
    with pytest.raises((ValueError, RunError)) as error:
        notebook.open_phase(**parameters)
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
        notebook.open_phase(smoke_run.name, "smoke", corpus=smoke_corpus, device="gpu")


def test_an_existing_run_is_opened_as_it_is(smoke_run: Run, smoke_corpus: str) -> None:
    before = {file: file.stat().st_mtime_ns for file in smoke_run.path.rglob("*")}
    opened = notebook.open_phase(smoke_run.name, "smoke", corpus=smoke_corpus)
    assert opened.path == smoke_run.path
    assert opened.manifest == smoke_run.manifest
    assert {file: file.stat().st_mtime_ns for file in smoke_run.path.rglob("*")} == before


def test_another_run_of_that_name_is_refused_by_the_differing_fields(smoke_run: Run, smoke_corpus: str) -> None:
    with pytest.raises(RunMismatch, match=r"seed: 0 there, 7 asked for.*another name"):
        notebook.open_phase(smoke_run.name, "smoke", seed=7, corpus=smoke_corpus)
    with pytest.raises(RunMismatch, match="preset: 'smoke' there, 'laptop' asked for"):
        notebook.open_phase(smoke_run.name, corpus=smoke_corpus)


READ = """
import json, sys
from civilwar import notebook
run = notebook.open_phase({name!r}, "smoke", corpus={corpus!r})
notebook.glue_run(run)
print(json.dumps({{"name": run.name, "heavy": sorted({{"torch", "tokenizers", "transformers"}} & set(sys.modules))}}))
"""


def test_a_recorded_run_is_read_without_loading_torch(smoke_run: Run, smoke_corpus: str) -> None:
    code = READ.format(name=smoke_run.name, corpus=smoke_corpus)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {"name": smoke_run.name, "heavy": []}
    # and the check can fail
    done = subprocess.run([sys.executable, "-c", "import torch\n" + code], capture_output=True, text=True, check=True)
    assert "torch" in json.loads(done.stdout.splitlines()[-1])["heavy"]


@pytest.fixture
def glued(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    values: dict[str, Any] = {}
    monkeypatch.setattr(notebook, "myst_glue", lambda key, value, display: values.update({key: value}))
    return values


def test_glue_gives_plain_python(glued: dict[str, Any]) -> None:
    """MyST-NB stores the repr, and np.float64(0.5) cannot be formatted."""
    notebook.glue(
        a=np.float64(0.5), b=np.float32(0.25), c=np.int64(7), d=3, e="text", f=None, g=math.nan, h=np.float32("nan")
    )
    assert {key: type(value) for key, value in glued.items() if key != "e"} == {
        "a": float, "b": float, "c": int, "d": int, "f": float, "g": float, "h": float
    }  # fmt: skip
    assert (glued["a"], glued["b"], glued["c"], glued["d"], glued["e"]) == (0.5, 0.25, 7, 3, "text")
    assert all(math.isnan(glued[key]) for key in "fgh")


def test_glue_run_says_what_the_manifest_says(glued: dict[str, Any], smoke_run: Run) -> None:
    notebook.glue_run(smoke_run)
    assert all(type(value) in (int, float, str) for value in glued.values())
    assert glued["run_name"] == smoke_run.name
    assert glued["config_hash"] == smoke_run.manifest["config_hash"]
    assert glued["n_steps"] == 24
    assert glued["n_tokens"] == 24 * 256
    assert glued["n_parameters"] == smoke_run.manifest["n_parameters"]
    assert glued["corpus_documents"] == smoke_run.manifest["corpus"]["documents"]
    assert glued["wall_minutes"] == pytest.approx(smoke_run.manifest["timings"]["wall_seconds"] / 60)
    assert glued["first_loss"] == pytest.approx(smoke_run.table("train")["loss"].iloc[0])
    losses = smoke_run.table("probe_loss")
    assert glued["validation_loss"] == pytest.approx(losses.loc[losses["step"] == 24, "loss"].mean())


def test_glue_run_of_an_older_manifest_leaves_timings_undefined(glued: dict[str, Any], tmp_path: Path) -> None:
    notebook.glue_run(write_run(tmp_path / "run", make_synthetic_config(steps=20)))
    assert math.isnan(glued["wall_minutes"])
    assert math.isnan(glued["tokens_per_second"])


def test_show_table_rounds_and_writes_a_dash_for_the_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Any] = []
    monkeypatch.setattr(notebook, "myst_glue", lambda key, page, display: pages.append(page))
    table = pd.DataFrame({"layer": [0, 1], "step": [12.0, math.nan], "p": [0.00049, math.nan]})
    notebook.show_table(table, "table", "Title", {"step": 0, "p": 4})
    page = BeautifulSoup(pages[0].data, "html.parser")
    cells = [[cell.get_text() for cell in row.find_all("td")] for row in page.select("tbody tr")]
    assert cells == [["0", "12", "0.0005"], ["1", "\N{EN DASH}", "\N{EN DASH}"]]
    assert [cell.get_text() for cell in page.select("thead th")] == ["layer", "step", "p"]
    assert page.find("a")["download"] == "table.csv"
    assert page.find(class_="cw-title").get_text() == "Title"
