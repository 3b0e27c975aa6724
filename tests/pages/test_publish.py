"""Executing notebooks so that the same run gives the same bytes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from civilwar.pages import publish
from civilwar.runs.reader import Run

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


def test_two_executions_of_a_phase_are_the_same_bytes(
    tmp_path: Path, executed: Callable[[str], Path], smoke_parameters: dict[str, object]
) -> None:
    source = publish.phase_notebooks()[-1]
    first = executed(source.stem).read_text(encoding="utf8")
    publish.execute(source, tmp_path / source.name, smoke_parameters)
    assert "cw-figure" in first
    assert (tmp_path / source.name).read_text(encoding="utf8") == first


def test_phases_come_in_order() -> None:
    names = [notebook.stem for notebook in publish.phase_notebooks()]
    later = [
        "05_taxonomy",
        "06_controls",
        "07_capacity",
        "08_verdicts",
        "09_inspector",
        "10_side_by_side",
        "11_cost_and_faults",
        "12_effect_sizes",
        "13_robustness",
        "14_planted",
        "15_coverage",
        "16_watch",
        "17_series",
        "18_grown",
    ]
    assert names == ["01_divergence", "02_focus_law", "03_effective_rank", "04_gain", *later]


def test_the_cover_shows_the_middle_layer(tmp_path: Path, smoke_run: Run) -> None:
    for name in ("a.png", "b.png"):
        publish.write_cover(smoke_run, tmp_path / name)
    image = (tmp_path / "a.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    assert image == (tmp_path / "b.png").read_bytes()


def test_a_published_notebook_needs_no_kernel(executed: Callable[[str], Path], smoke_run: Run) -> None:
    text = executed("09_inspector").read_text(encoding="utf8")
    assert "widget-view+json" not in text
    assert "widget-state+json" not in text
    assert f'data-run=\\"{smoke_run.name}\\"' in text


def test_only_outputs_with_another_form_lose_the_widget() -> None:
    both, alone = ({publish.WIDGET: {"model_id": "1"}, "text/plain": "W(...)"} for _ in range(2))
    both["text/html"] = "<p>still</p>"
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in (both, alone)]
    notebook = new_notebook(cells=[new_code_cell("w", outputs=outputs)], metadata={"widgets": {"state": {}}})
    done = publish.without_kernel(notebook)
    assert "widgets" not in done.metadata
    assert set(done.cells[0].outputs[0]["data"]) == {"text/html", "text/plain"}
    assert publish.WIDGET in done.cells[0].outputs[1]["data"]


# ---------------------------------------------------------------- beside, then renamed


def test_a_notebook_that_fails_leaves_the_one_that_was_there(tmp_path: Path) -> None:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    seen = "from pathlib import Path\nassert Path(target).read_text() == 'old'"
    cells = [new_code_cell("target = ''", metadata={"tags": ["parameters"]}), new_code_cell(seen)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "good.ipynb")
    failing = [*cells, new_code_cell("1 / 0")]
    nbformat.write(new_notebook(cells=failing, metadata={"kernelspec": kernel}), tmp_path / "bad.ipynb")
    target = tmp_path / "executed" / "page.ipynb"
    target.parent.mkdir()
    target.write_text("old")
    with pytest.raises(papermill.PapermillExecutionError, match="ZeroDivisionError"):
        publish.execute(tmp_path / "bad.ipynb", target, {"target": str(target)})
    assert target.read_text() == "old"
    publish.execute(tmp_path / "good.ipynb", target, {"target": str(target)})
    nbformat.validate(nbformat.read(target, as_version=4))
    assert [file.name for file in target.parent.iterdir()] == ["page.ipynb"]


def test_a_book_that_is_broken_off_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "_build" / "html"
    old.mkdir(parents=True)
    (old / "index.html").write_text("old")

    def build(pages: int, status: int) -> Callable[..., None]:
        def run(command: list[str], check: bool) -> None:
            # as jupyter-book does: in a folder _build of the one that it is given
            html = Path(command[command.index("--path-output") + 1]) / "_build" / "html"
            html.mkdir(parents=True)
            assert (old / "index.html").read_text() == "old"
            for page in range(pages):
                (html / f"{page}.html").write_text("new")
            if status:
                raise subprocess.CalledProcessError(status, command)

        return run

    monkeypatch.setattr(publish.subprocess, "run", build(5, status=1))
    with pytest.raises(subprocess.CalledProcessError):
        publish.build_book(tmp_path / "book")
    assert [file.name for file in old.iterdir()] == ["index.html"]
    monkeypatch.setattr(publish.subprocess, "run", build(17, status=0))
    assert publish.build_book(tmp_path / "book") == old
    assert len(list(old.iterdir())) == 17
    assert [entry.name for entry in tmp_path.iterdir()] == ["_build"]
