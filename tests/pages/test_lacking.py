"""Notebooks on a run that was only watched: what it lacks is a line, and the rest is shown."""

from pathlib import Path
from typing import Any

import foreign
import nbformat
import papermill
import pytest

import civilwar as cw
from civilwar import paths


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A watched run of a model without norms on its keys."""
    model = foreign.made("Llama").train()
    watch = cw.watch(
        model, tmp_path_factory.mktemp("watched") / "mine", foreign.words(), foreign.TEXTS, snapshots=[0, 2]
    )
    for step, batch in enumerate(foreign.batches(4)):
        with watch.step(step):
            foreign.loss_of(model, batch).backward()
    return watch.finish().path


def pages(notebook: str, out: Path, **parameters: Any) -> list[str]:
    """The HTML that a notebook displays."""
    source = paths.repository() / "notebooks" / f"{notebook}.ipynb"
    papermill.execute_notebook(str(source), str(out), parameters, progress_bar=False)
    cells = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    return [str(output["data"]["text/html"]) for output in outputs if "text/html" in output.get("data", {})]


def test_the_first_phase_opens_a_watched_run_by_its_path(watched: Path, tmp_path: Path) -> None:
    shown = pages("01_divergence", tmp_path / "out.ipynb", run=str(watched))
    figures = [page for page in shown if "cw-figure" in page]
    assert any('id="report_norms"' in page for page in figures)
    assert any('id="all_norms"' in page for page in figures)
    # its optimiser is unknown, so no curve of weight decay is drawn
    assert not any("decay only" in page for page in figures if 'id="report_norms"' in page)
    said = [page for page in shown if "cw-note" in page]
    assert any("Left out here: the sweep" in page and "mine is of another one" in page for page in said)


def test_a_phase_that_a_watched_run_cannot_show_says_so_in_lines(watched: Path, tmp_path: Path) -> None:
    shown = pages("04_gain", tmp_path / "out.ipynb", run=str(watched))
    said = [page for page in shown if "cw-note" in page]
    assert "Left out here: mine has no norm on its keys, so there is no gain to show." in said[0]
    assert len(said) == len(shown) > 4
