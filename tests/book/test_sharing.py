"""What pages say of themselves to those who share them, links into a repository, and the page of public names."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from sphinx_extensions import load

import civilwar
from civilwar import paths

sharing, api = load("civilwar_sharing"), load("civilwar_api")
URL = "https://github.com/someone/a-book"


def test_the_description_is_the_first_paragraph_cut_at_a_word() -> None:
    said = "<p><b>Heads part</b> in\n22 of 22 layers of it.</p>"
    body = f"<section><h1>T</h1><p>Short.</p><div class='cell_output'>{said}</div></section>"
    assert sharing.description(body) == "Heads part in 22 of 22 layers of it."
    long = sharing.description(f"<section><p>{'word ' * 100}</p></section>")
    assert len(long) <= sharing.LONGEST + 2
    assert long.endswith("word …")
    assert sharing.description("<p>nothing in a section</p>") == ""


def test_what_a_page_says_of_itself_is_escaped() -> None:
    page = BeautifulSoup(sharing.tags('A "title"', "<b>said</b>", "", "_static/cover.png"), "html.parser")
    said = {tag.get("property") or tag.get("name"): tag["content"] for tag in page.find_all("meta")}
    assert said["og:title"] == 'A "title"'
    assert said["og:description"] == said["description"] == "<b>said</b>"
    assert said["og:image"] == "_static/cover.png"
    assert "og:url" not in said
    assert page.find("b") is None


@pytest.mark.parametrize("url", ["", URL])
def test_links_into_the_repository_appear_once_it_is_named(url: str) -> None:
    config = SimpleNamespace(html_theme_options={"repository_url": url})
    sharing._configure(SimpleNamespace(), config)
    assert ("launch_buttons" in config.html_theme_options) is bool(url)
    assert config.html_theme_options.get("use_repository_button", False) is bool(url)


def test_places_to_run_the_book_lead_to_files_that_there_are() -> None:
    binder, colab = sharing.places(URL, "main").values()
    assert binder == "https://mybinder.org/v2/gh/someone/a-book/main?urlpath=lab/tree/notebooks"
    assert colab == f"https://colab.research.google.com/github/someone/a-book/blob/main/{sharing.ELSEWHERE}"
    assert (paths.repository() / sharing.ELSEWHERE).is_file()
    assert (paths.repository() / "environment.yml").is_file(), "Binder builds its environment from it"


def test_the_address_is_the_same_wherever_it_is_written() -> None:
    config = yaml.safe_load((paths.repository() / "_config.yml").read_text(encoding="utf-8"))
    notebook = nbformat.read(paths.repository() / sharing.ELSEWHERE, as_version=4)
    (parameters,) = (cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    citation = yaml.safe_load((paths.repository() / "CITATION.cff").read_text(encoding="utf-8"))
    named = re.search(r'^repository = "(.*)"$', parameters, re.MULTILINE)
    assert named is not None
    assert named.group(1) == config["repository"]["url"] == citation.get("repository-code", "")


def test_every_public_name_is_on_the_page_of_the_package() -> None:
    page = (paths.repository() / "book" / "api.md").read_text(encoding="utf-8")
    assert "```{api}" in page
    lines = [line for name in civilwar.__all__ for line in api.directive(name)]
    assert ".. autofunction:: civilwar.open_run" in lines
    assert ".. autoclass:: civilwar.HeadInspector" in lines


def test_the_examples_of_the_package_s_page_run(tmp_path: Path) -> None:
    page = (paths.repository() / "book" / "api.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 5
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)], cwd=paths.repository(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert civilwar.open_sweep("laptop").statement() in done.stdout
