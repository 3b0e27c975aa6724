"""The published book: it builds without a warning, asks no other host, and its links lead somewhere."""

import functools
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup

from civilwar import paths
from civilwar.recipe.config import PRESETS

# one worker reads its pages
pytestmark = pytest.mark.xdist_group("book")


@functools.cache
def pages(html: Path) -> dict[Path, BeautifulSoup]:
    """The book's pages, read once. Look at them, never change them."""
    found = {f: BeautifulSoup(f.read_text(encoding="utf-8"), "html.parser") for f in sorted(html.rglob("*.html"))}
    return {file: page for file, page in found.items() if "_static" not in file.parts}


def test_no_page_asks_another_host(html: Path) -> None:
    asked = []
    for file, page in pages(html).items():
        loads = [tag.get("src") for tag in page.find_all(["script", "img", "iframe", "source"])]
        loads += [tag.get("href") for tag in page.find_all("link") if "canonical" not in tag.get("rel", [])]
        asked += [(file.name, url) for url in loads if url and re.match(r"(https?:)?//", url)]
    styles = list(html.rglob("*.css"))
    assert styles
    for file in styles:
        urls = re.findall(r"url\(['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", file.read_text(encoding="utf-8"))
        asked += [(file.name, url) for pair in urls for url in pair if re.match(r"(https?:)?//", url)]
    assert not asked


def test_every_link_inside_the_book_resolves(html: Path) -> None:
    every = pages(html)
    ids = {file: {tag["id"] for tag in page.find_all(id=True)} for file, page in every.items()}
    broken, followed = [], 0
    for file, page in every.items():
        for link in page.find_all("a", href=True):
            target, _, anchor = unquote(link["href"]).partition("#")
            if re.match(r"[a-z]+:", link["href"]) or link["href"] == "#":
                continue
            followed += 1
            there = (file.parent / target).resolve() if target else file
            # the inspector's addresses are states, not places
            if "=" in anchor and there in every and every[there].select_one(".cw-inspector[data-run]"):
                continue
            if not there.exists() or (anchor and there in ids and anchor not in ids[there]):
                broken.append((file.name, link["href"]))
    assert followed > 50
    assert not broken


def test_every_inspector_finds_its_run_s_data(html: Path) -> None:
    shown = 0
    for file, page in pages(html).items():
        for element in page.select(".cw-inspector"):
            shown += 1
            assert page.select_one("script[src*='civilwar-inspector.js']"), file
            assert element.select_one("svg[role=img][aria-label]"), "without JavaScript there is a picture"
            folder = html / "_static" / "inspector" / str(element["data-run"])
            assert (folder / "core.js").is_file()
            assert len(list(folder.glob("layer-*.js"))) > 1
    assert shown >= 6


def test_a_page_with_an_inspector_stays_under_five_megabytes(html: Path) -> None:
    """The page, the inspector's code, the run's core and one layer's patterns; the theme's own files come on top."""
    for file, page in pages(html).items():
        for element in page.select(".cw-inspector"):
            static = html / "_static"
            data = static / "inspector" / str(element["data-run"])
            layers = max(layer.stat().st_size for layer in data.glob("layer-*.js"))
            code = (static / "civilwar-inspector.js").stat().st_size
            assert file.stat().st_size + code + (data / "core.js").stat().st_size + layers < 5e6, file


def test_the_front_page_has_a_card_for_every_phase_in_the_book_s_order(html: Path) -> None:
    page = BeautifulSoup((html / "index.html").read_text(encoding="utf-8"), "html.parser")
    cards = [link["href"].partition("#")[0] for link in page.select(".sd-card a[href]")]
    contents = [link["href"] for link in page.select("nav.bd-links li.toctree-l1 > a[href^=phases]")]
    assert cards == contents
    assert len(cards) == len(list((paths.repository() / "book" / "phases").glob("*.ipynb")))


def test_figures_speak_and_carry_their_data(html: Path) -> None:
    figures = [figure for page in pages(html).values() for figure in page.select("figure.cw-figure")]
    assert len(figures) >= 12
    for figure in figures:
        assert figure.select_one("a[download$='.csv']")
        assert figure.find("table") or figure.select_one("svg[role=img][aria-label]")


def test_a_figure_of_a_run_names_it_and_its_code_is_folded_under_it(html: Path) -> None:
    named = 0
    for page in pages(html).values():
        for cell in page.select("div.cell:has(> details.hide)"):
            for code in cell.find_all("details", class_="hide", recursive=False):
                assert code.find_next_sibling() is None, "folded code stands above its figure"
        named += len(page.select("figure.cw-figure .cw-links a.cw-runs"))
    assert named >= 30


def test_references_are_a_list_to_screen_readers(html: Path) -> None:
    page = BeautifulSoup((html / "references.html").read_text(encoding="utf-8"), "html.parser")
    roles = [entry.get("role") for entry in page.select(".citation-list > *")]
    assert len(roles) > 20
    assert set(roles) == {"listitem"}


def test_a_page_s_first_use_of_a_term_has_its_definition_in_the_margin(html: Path) -> None:
    annotated = 0
    for file, page in pages(html).items():
        terms = {link["href"].partition("#")[2] for link in page.select("article a.reference:has(> span.std-term)")}
        notes = [note.strong.get_text() for note in page.select("aside.cw-margin") if note.strong]
        # the glossary explains itself, and the theme's script fails on notes in a page without contents at its side
        has_contents = page.select_one("article section section") is not None
        expected = len(terms) if has_contents and file.stem != "glossary" else 0
        assert len(notes) == len(set(notes)) == expected, file
        annotated += expected
    assert annotated > 15


def test_a_definition_in_the_margin_is_whole_and_names_no_key_of_a_source(html: Path) -> None:
    formulas = 0
    for page in pages(html).values():
        for note in page.select("aside.cw-margin"):
            assert not re.search(r"\b[a-z]+20\d\d[a-z]+", note.get_text()), note
            if note.select(".math"):
                formulas += 1
                assert any("mathjax" in str(script.get("src", "")).lower() for script in page.select("script"))
    assert formulas > 3


def test_numbers_are_written_with_minus_signs_and_never_as_nan(html: Path) -> None:
    written = [number.get_text() for page in pages(html).values() for number in page.select("span.cw-number")]
    assert sum("\N{MINUS SIGN}" in number for number in written) > 3
    assert not [number for number in written if re.search(r"(?<![\w.])-\d|^nan$", number)]


def test_search_works_offline(html: Path) -> None:
    assert (html / "searchindex.js").stat().st_size > 1000


def test_make_serve_serves_the_book(html: Path, tmp_path: Path) -> None:
    # a checkout whose book is built: the package in it is the one that runs, and it says where the book is
    shutil.copytree(
        paths.repository() / "civilwar", tmp_path / "civilwar", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy2(paths.repository() / "pyproject.toml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for name in ("book", "_build", "_config.yml"):
        (tmp_path / name).symlink_to(html.parents[1] / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # this environment in place of the Makefile's own, and no browser window
    programs = Path(sys.executable).parent
    command = ["make", f"--makefile={paths.repository() / 'Makefile'}", "--old-file=.venv/.installed", "serve"]
    # or make would first say that another make, the one that runs these tests, has entered a folder
    command.insert(1, "--no-print-directory")
    command += [f"BIN={programs}", f"PORT={port}"]
    environment = {**os.environ, "BROWSER": "true"}
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        said = server.stdout.readline().decode()
        assert said.startswith("The published book, built ")
        assert f"http://127.0.0.1:{port}/" in said
        assert fetch(port, "/") == (html / "index.html").read_bytes()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate()


def fetch(port: int, page: str, seconds: float = 30) -> bytes:
    """A page, once the server is up. Raises ConnectionRefusedError where it does not come up."""
    end = time.monotonic() + seconds
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", page)
            return connection.getresponse().read()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        finally:
            connection.close()


def rows(table_header: str) -> list[list[str]]:
    text = (paths.repository() / "book" / "methods.md").read_text(encoding="utf-8")
    table = text[text.index(table_header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`").replace(",", "") for cell in row.strip("|").split("|")] for row in table]


def test_methods_lists_the_presets_as_they_are() -> None:
    sizes = ("n_layers", "d_model", "n_query_heads", "n_kv_heads", "d_head", "d_ff", "vocab_size", "context")
    expected = [
        [name, *(str(getattr(m, size)) for size in sizes), f"{t.steps} × {t.batch_size * m.context}"]
        for name, (m, t, _) in PRESETS.items()
    ]
    assert rows("| Preset |") == expected


@pytest.mark.parametrize(
    ("page", "wanted"), [("methods", ("variants", "kinds", "verdicts")), ("glossary", ("measures",))]
)
def test_names_are_listed_from_their_records(page: str, wanted: tuple[str, ...]) -> None:
    text = (paths.repository() / "book" / f"{page}.md").read_text(encoding="utf-8")
    assert re.findall(r"^```\{names\} (\w+)$", text, re.MULTILINE) == list(wanted)
