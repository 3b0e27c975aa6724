"""The phase notebooks: their form, a run of each under smoke, and the executed copies that the book shows."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
import pytest
from bs4 import BeautifulSoup
from sphinx_extensions import load
from sphinx_external_toc.parsing import parse_toc_yaml

from civilwar import paths
from civilwar.evidence.rules import shown_on
from civilwar.pages.publish import phase_notebooks
from civilwar.recipe import plan
from civilwar.recipe.config import DEFAULT_CORPUS, RunConfig, make_config
from civilwar.runs.reader import Run

PARAMETERS = ["run", "preset", "variant", "seed", "corpus", "device"]
SOURCES = phase_notebooks()
EXECUTED = paths.repository() / "book" / "phases"

#: Fixtures that give a notebook as executed, and a run as trained, once for all workers.
Executed = Callable[[str], Path]
Trained = Callable[[RunConfig, str], Run]


def cells(file: Path, kind: str = "code") -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == kind]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def by_name(file: Path) -> str:
    return file.stem


def test_the_table_of_contents_has_every_notebook_once() -> None:
    assert [file.stem[:2] for file in SOURCES] == [f"{number:02d}" for number in range(1, len(SOURCES) + 1)]
    contents = parse_toc_yaml(paths.repository() / "book" / "_toc.yml").root.child_files()
    listed = [document.removeprefix("phases/") for document in contents if document.startswith("phases/")]
    assert sorted(listed) == [file.stem for file in SOURCES]


@pytest.mark.parametrize("file", SOURCES, ids=by_name)
def test_sources_are_for_reading(file: Path) -> None:
    code = cells(file)
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert max(len(cell.source.splitlines()) for cell in code) <= 25
    assert not re.search(r"^\s*(def|class) ", "\n".join(cell.source for cell in code), re.MULTILINE)


@pytest.mark.parametrize("file", SOURCES, ids=by_name)
def test_the_first_code_cell_holds_the_parameters_as_literals(file: Path) -> None:
    first = cells(file)[0]
    assert "parameters" in tags(first)
    assignments = [node for node in ast.parse(first.source).body if isinstance(node, ast.Assign)]
    assert [target.id for node in assignments for target in node.targets if isinstance(target, ast.Name)] == PARAMETERS
    values = [ast.literal_eval(node.value) for node in assignments]
    assert values == ["auto", plan.SHOWN, plan.BASELINE, 0, DEFAULT_CORPUS, "auto"]


def test_a_page_s_scales_are_those_of_its_own_claims() -> None:
    code = {file.stem: "\n".join(cell.source for cell in cells(file)) for file in SOURCES}
    asked = {stem: re.findall(r"show_over_seeds\(.*\"(.+)\"\)", source) for stem, source in code.items()}
    assert sum(map(bool, asked.values())) > 5
    assert all(pages in ([], [stem]) and (shown_on(stem) or not pages) for stem, pages in asked.items())


@pytest.mark.parametrize("file", SOURCES, ids=by_name)
def test_a_notebook_has_a_card_for_the_front_page(file: Path) -> None:
    card = nbformat.read(file, as_version=4).metadata.card
    assert card.question[-1] in "?."


#: Pages that show how something is done: what they can say with numbers is known once they have run.
TUTORIALS = ("16_watch", "17_series")


def is_prose(cell: nbformat.NotebookNode) -> bool:
    return bool(re.match(r"prose\(", cell.source))


@pytest.mark.parametrize("file", SOURCES, ids=by_name)
def test_text_reads_the_same_without_the_book_s_program(file: Path) -> None:
    """No role and no directive, which JupyterLab and GitHub show as code; numbers stand in cells that write them."""
    text = "\n".join(cell.source for cell in cells(file, "markdown"))
    text += "\n".join(cell.source for cell in cells(file) if is_prose(cell))
    assert not re.search(r"\{[a-z:]+\}`|^```\{", text, re.MULTILINE)
    said = [cell for cell in cells(file) if is_prose(cell)]
    assert said
    for cell in said:
        assert tags(cell) == ["remove-input"]
        assert cell.metadata.jupyter.source_hidden


@pytest.mark.parametrize("file", SOURCES, ids=by_name)
def test_a_page_opens_with_its_answer_in_one_sentence(file: Path) -> None:
    if file.stem in TUTORIALS:
        opening = cells(file, "markdown")[0].source.split("\n\n")[1]
        assert re.fullmatch(r"\*\*[^*]+\.\*\*", opening)
        return
    silent = {"hide-input", "remove-cell"}
    shown = [cell for cell in nbformat.read(file, as_version=4).cells[1:] if not silent & set(tags(cell))]
    assert is_prose(shown[0])
    (call,) = (node.value for node in ast.parse(shown[0].source).body if isinstance(node, ast.Expr))
    assert isinstance(call, ast.Call)
    assert len(call.args) == 1


@pytest.mark.parametrize("file", SOURCES, ids=by_name)
def test_the_book_shows_this_source_executed(file: Path) -> None:
    """Run ``make book`` and commit book/phases when this fails."""
    executed = EXECUTED / file.name
    shown = [cell for cell in nbformat.read(executed, as_version=4).cells if "injected-parameters" not in tags(cell)]
    source = nbformat.read(file, as_version=4).cells
    assert [(c.cell_type, c.source, tags(c)) for c in shown] == [(c.cell_type, c.source, tags(c)) for c in source]
    outputs = [output for cell in cells(executed) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    for cell in cells(executed):
        assert cell.execution_count is not None
        assert not re.search(r"^show(_table)?\(", cell.source, re.MULTILINE) or cell.outputs


def test_a_notebook_trains_the_run_that_is_missing(smoke_corpus: str, runs_dir: Path, tmp_path: Path) -> None:
    """One for all: every notebook opens its run by the same call, with all its parameters (test_bad_parameters)."""
    parameters = {"run": "missing", "preset": "smoke", "corpus": smoke_corpus, "device": "cpu"}
    papermill.execute_notebook(str(SOURCES[0]), str(tmp_path / "out.ipynb"), parameters, progress_bar=False)
    assert (runs_dir / "missing" / "manifest.json").is_file()


@pytest.mark.parametrize("file", SOURCES, ids=by_name)
def test_every_notebook_runs_under_smoke(file: Path, executed: Executed, smoke_run: Run) -> None:
    done = cells(executed(file.stem))
    # of this run, not of the recorded one, which is there as well
    assert any(smoke_run.name in str(o) for cell in done for o in cell.outputs)
    # without a sweep a comparison is a sentence in place of its figure
    shown = [cell for cell in done if re.search("cw-(figure|note|inspector)", str(cell.outputs))]
    showing = [cell for cell in done if re.search(r"^show\w*\(", cell.source, re.MULTILINE)]
    assert showing
    assert all(cell in shown for cell in showing)
    # the page of faults tells of losses that became NaN, in other runs
    texts = [text for text in texts_in(executed(file.stem)) if 'id="T_faults"' not in text]
    assert [found for text in texts for found in unmeasured(text)] == []


#: What a page must not say of a run that has not measured it.
UNMEASURED = re.compile(r"\bundefined\b|\bnan\b|\bNone\b|\binf\b|\b0 million\b|\b1 (minutes|hours|seconds|runs)\b")


def texts_in(executed: Path) -> list[str]:
    """What an executed notebook says: paragraphs of Markdown, HTML with figures and their titles."""
    data = [output.get("data", {}) for cell in cells(executed) for output in cell.outputs]
    return [str(one[kind]) for one in data for kind in ("text/markdown", "text/html") if kind in one]


def unmeasured(page: str) -> list[str]:
    """Where a page says what was not measured, each with what stands around it."""
    text = BeautifulSoup(page, "html.parser").get_text(" ")
    return [text[max(found.start() - 60, 0) : found.end() + 20] for found in UNMEASURED.finditer(text)]


def test_what_is_not_measured_is_seen() -> None:
    assert len(unmeasured("<p>Falls by <b>nan</b>, undefined, in 1 minutes; 0 million parameters.</p>")) == 4
    assert unmeasured("<p>An undefinedness of 10 million nanoseconds in 11 minutes.</p>") == []


def test_the_front_page_of_a_run_without_a_sweep_tells_that_run_s_story(executed: Executed, smoke_run: Run) -> None:
    """Every number that the book's own pages ask for is there, and what only seeds could say is not said."""
    files = [executed(source.stem) for source in SOURCES]
    numbers, own_run = load("civilwar_numbers"), load("civilwar_own_run")
    assert own_run.incomplete(files)
    book = paths.repository() / "book"
    said = {}
    for page in ("_own_run.md", "reproduce.md"):
        source = (book / page).read_text(encoding="utf-8")
        for name, _, spec in (asked.partition(":") for asked in re.findall(r"\{number\}`([^`]+)`", source)):
            said[name] = numbers.format_value(name, numbers.look_up(files, name, "text/plain"), spec)
        for picture in re.findall(r"^```\{picture\} (\w+)$", source, re.MULTILINE):
            assert unmeasured(numbers.look_up(files, picture, "text/html")) == []
    assert said["run_name"] == smoke_run.name
    assert "0 of the 64 runs" in said["verdicts_statement"]
    assert [name for name, text in said.items() if unmeasured(text)] == []


def pages_in(executed: Path) -> list[str]:
    """The HTML that an executed notebook displays."""
    outputs = (o for cell in cells(executed) for o in cell.outputs)
    return [str(o["data"]["text/html"]) for o in outputs if "text/html" in o.get("data", {})]


def pages_of(name: str, out: Path, parameters: dict[str, object]) -> list[str]:
    """The HTML that one notebook displays under these parameters."""
    (file,) = (file for file in SOURCES if file.stem == name)
    papermill.execute_notebook(str(file), str(out), parameters, progress_bar=False)
    return pages_in(out)


def test_controls_without_a_sweep_are_sentences(executed: Executed, smoke_run: Run) -> None:
    pages = pages_in(executed("06_controls"))
    # the run's own numbers need no sweep
    told, own = (page for page in pages if "cw-figure" in page)
    assert 'id="T_controls_there_are"' in told
    assert 'id="T_controls_here"' in own
    assert "no other variant is there" in executed("06_controls").read_text(encoding="utf-8")
    said = [page for page in pages if "cw-note" in page]
    assert sum("this comparison needs runs of the sweep" in page for page in said) == 6
    assert any("recorded: 0" in page for page in said)
    capacity = pages_in(executed("07_capacity"))
    assert any(f"One run only, {smoke_run.name}" in page for page in capacity)
    assert [name for name in ("capacity", "capacity_loss") if any(f'id="{name}"' in page for page in capacity)] == [
        "capacity",
        "capacity_loss",
    ]


def test_controls_and_capacity_on_part_of_a_sweep(
    smoke_corpus: str, trained_once: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "runs"))
    present = [("baseline", 1), ("baseline", 2), ("no_gain_decay", 1), ("no_gain_decay", 2)]
    present += [(variant, 1) for variant in ("frozen_gain", "no_qk_norm", "pure_bf16", "shuffled_rope")]
    for variant, seed in present:
        config = make_config("smoke", variant, seed, smoke_corpus)
        trained_once(config, config.default_name)
    parameters: dict[str, object] = {"preset": "smoke", "seed": 1, "corpus": smoke_corpus, "device": "cpu"}
    pages = pages_of("06_controls", tmp_path / "controls.ipynb", parameters)
    pages += pages_of("07_capacity", tmp_path / "capacity.ipynb", parameters)
    names = [
        "scale_norms",
        "control_norms",
        "control_heads",
        "control_focus",
        "control_frequency",
        "control_loss",
        "knobs",
    ]
    names += ["capacity", "capacity_loss"]
    for page in pages:
        assert unmeasured(page) == []
    assert [name for name in names if any(f'id="{name}"' in page for page in pages)] == names
    assert not any("cw-note" in page for page in pages)
    knobs = next(page for page in pages if 'id="knobs"' in page)
    assert "no value" in knobs


def test_what_a_run_cannot_show_is_said_instead(smoke_corpus: str, tmp_path: Path) -> None:
    """Without a gain nothing is golden, and without a sweep no label can be compared between seeds."""
    parameters: dict[str, object] = {"run": "ungained", "variant": "no_qk_norm"}
    parameters |= {"preset": "smoke", "corpus": smoke_corpus, "device": "cpu"}
    pages_of("05_taxonomy", tmp_path / "out.ipynb", parameters)
    pages = [str(o.get("data")) for cell in cells(tmp_path / "out.ipynb") for o in cell.outputs]
    said = " ".join(page for page in pages if "cw-note" in page)
    assert "no golden dimensions" in said
    assert "Fewer than two runs of the sweep" in said
    assert not any('id="golden_energy"' in page or 'id="kinds_over_seeds"' in page for page in pages)
    assert any('id="kinds_map"' in page for page in pages)
