"""Recording a run, and executing notebooks so that the same run gives the same bytes."""

import shutil
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from synthetic import make_synthetic_config, write_run

from civilwar import paths, publish, recording
from civilwar.runs import ARRAYS, TABLES, Run, RunDamaged, RunError, RunWriter, read_json


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data/`` in a checkout of its own."""
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def trained(runs_dir: Path, smoke_run: Run) -> Run:
    """A copy of the smoke run that a test may change."""
    target = runs_dir / "to-record"
    shutil.copytree(smoke_run.path, target)
    yield Run(target)
    shutil.rmtree(target)


def test_record_copies_all_but_the_weights_and_the_copy_verifies(data: Path, trained: Run) -> None:
    assert (trained.path / "weights.safetensors").is_file()
    target = recording.record(trained.name)
    assert target == data / "to-record"
    copied = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    expected = {f"tables/{name}.parquet" for name in TABLES} | {f"arrays/{name}.safetensors" for name in ARRAYS}
    assert copied == expected | {"manifest.json", "probe.json"}

    recorded = Run(target)
    assert recorded.complete
    assert recorded.config == trained.config
    # reading verifies each file against the checksum in the manifest
    assert set(recorded.manifest["files"]) == expected | {"probe.json"}
    for name in TABLES:
        assert recorded.table(name).equals(trained.table(name))
    for name in ARRAYS:
        assert recorded.array(name).keys() == trained.array(name).keys()
    assert recorded.probe == trained.probe
    assert "weights.safetensors" in read_json(trained.path / "manifest.json")["files"]


def test_a_recorded_copy_that_was_altered_is_noticed(data: Path, trained: Run) -> None:
    target = recording.record(trained.name)
    file = target / "tables" / "train.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunDamaged, match=r"train\.parquet differs from the checksum"):
        Run(target).table("train")
    # recording again repairs it
    assert recording.record(trained.name) == target
    assert Run(target).table("train").equals(trained.table("train"))


def test_an_incomplete_run_is_not_recorded(data: Path, runs_dir: Path) -> None:
    config = make_synthetic_config(steps=20)
    with RunWriter(runs_dir / "half", config) as writer:
        writer.write_manifest(status="running")
    try:
        with pytest.raises(RunError, match="half is not complete: finish it"):
            recording.record("half")
    finally:
        shutil.rmtree(runs_dir / "half")
    assert not data.exists()


def test_another_run_of_that_name_is_not_overwritten(data: Path, trained: Run) -> None:
    other = write_run(data / trained.name, make_synthetic_config(steps=20))
    with pytest.raises(RunError, match="another run of that name"):
        recording.record(trained.name)
    assert Run(other.path).config == other.config


TINY = """
import time
from IPython.display import HTML, display

display(HTML(f"<p>{value}</p>"))
time.sleep(0.01)
print(value)
value + 1
"""


def test_two_executions_of_the_same_notebook_are_the_same_bytes(tmp_path: Path) -> None:
    parameters = new_code_cell("value = 1", metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# Tiny"), parameters, new_code_cell(TINY)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "tiny.ipynb")

    raw = papermill.execute_notebook(tmp_path / "tiny.ipynb", None, parameters={"value": 3}, progress_bar=False)
    assert "papermill" in raw.metadata
    assert all("papermill" in cell.metadata for cell in raw.cells)

    targets = [tmp_path / name / "tiny.ipynb" for name in ("first", "second")]
    for target in targets:
        publish.execute(tmp_path / "tiny.ipynb", target, {"value": 3})
    first, second = (target.read_bytes() for target in targets)
    assert first == second
    done = nbformat.read(targets[0], as_version=4)
    nbformat.validate(done)
    assert "papermill" not in first.decode()
    assert [cell.get("execution_count") for cell in done.cells] == [None, 1, 2, 3]
    assert done.cells[2].metadata["tags"] == ["injected-parameters"]
    assert done.cells[3].outputs[-1]["data"]["text/plain"] == "4"


def test_two_executions_of_a_phase_are_the_same_bytes(tmp_path: Path, smoke_run: Run, smoke_corpus: str) -> None:
    source = publish.phase_notebooks()[-1]
    parameters = {"run": smoke_run.name, "preset": "smoke", "corpus": smoke_corpus}
    targets = [tmp_path / name / source.name for name in ("first", "second")]
    for target in targets:
        publish.execute(source, target, parameters)
    first, second = (target.read_text(encoding="utf8") for target in targets)
    assert "cw-figure" in first
    assert first == second


def test_phases_come_in_order() -> None:
    names = [notebook.stem for notebook in publish.phase_notebooks()]
    assert names == ["01_divergence", "02_focus_law", "03_effective_rank", "04_gain"]


def test_the_cover_shows_the_middle_layer(tmp_path: Path, smoke_run: Run) -> None:
    for name in ("a.png", "b.png"):
        publish.write_cover(smoke_run, tmp_path / name)
    image = (tmp_path / "a.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    assert image == (tmp_path / "b.png").read_bytes()
