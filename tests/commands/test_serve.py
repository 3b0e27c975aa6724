"""``civilwar serve``: what was built last, at an address of ours, and never a stale page without a word."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from civilwar import cli, paths
from civilwar.pages import made, publish, serving
from civilwar.pages.made import ASSEMBLED_OF, MADE_OF, Book, books, fingerprint


def built(folder: Path, text: str, when: float) -> Book:
    """A book with one page, built at a time in seconds since 1970."""
    (folder / "book").mkdir(parents=True, exist_ok=True)
    (folder / "book" / "index.md").write_text(text)
    pages = folder / "_build" / "html"
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "index.html").write_text(text)
    (pages / "searchindex.js").write_text("")
    (folder / "_build" / MADE_OF).write_text(fingerprint(folder / "book"))
    os.utime(pages / "searchindex.js", (when, when))
    return Book(folder)


def test_the_last_one_built_comes_first_and_a_build_that_was_broken_off_is_none(place: Path) -> None:
    published, mine = built(place, "published", 1000), built(place / "build" / "site", "mine", 2000)
    assert books() == [mine, published]
    built(place, "published", 3000)
    assert books() == [published, mine]
    (mine.pages / "searchindex.js").unlink()
    assert books() == [published]
    assert published.published
    assert not mine.published


def test_a_book_is_stale_once_its_sources_change(place: Path) -> None:
    book = built(place, "published", 1000)
    assert not book.stale
    # another date is no other content
    os.utime(place / "book" / "index.md", (2000, 2000))
    assert not book.stale
    (place / "_config.yml").write_text("title: another")
    assert book.stale
    built(place, "published", 1000)
    (place / "book" / "more.md").write_text("more")
    assert book.stale
    # what jupyter-book built by itself tells only its date
    (place / "_build" / MADE_OF).unlink()
    os.utime(book.pages / "searchindex.js", (4e9, 4e9))
    assert not book.stale
    os.utime(book.pages / "searchindex.js", (1000, 1000))
    assert book.stale


def test_a_reader_s_own_book_is_stale_once_the_notebooks_it_was_made_of_change(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = built(place / "build" / "site", "mine", 1000)
    (book.folder / ASSEMBLED_OF).write_text(made.assembled_of())
    assert not book.stale
    monkeypatch.setattr(made, "assembled_of", lambda: "another")
    assert book.stale


def test_a_port_that_is_taken_is_not_announced(place: Path) -> None:
    book = built(place, "ours", 1000)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with serving.bind(book.pages, taken) as server:
            assert taken < server.server_address[1] < taken + serving.TRIED
    with pytest.raises(OSError, match=r"no port from 65536 .* name another with --port"):
        serving.bind(book.pages, 2**16)


@contextmanager
def served(place: Path, *options: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """What a server says first, and its process."""
    program = (
        "import sys; from pathlib import Path; from civilwar import cli, paths\n"
        f"paths.repository = lambda: Path({str(place)!r})\nsys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline(), process
        finally:
            process.terminate()


def test_the_address_said_shows_the_book_said(place: Path) -> None:
    built(place, "published", 1000)
    mine = built(place / "build" / "site", "the book of my run", 2000)
    (mine.folder / "book" / "index.md").write_text("changed since")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with served(place, "--port", str(taken)) as (said, process):
            match = re.fullmatch(
                rf"The book in {place}/build/site, built [\d: -]+, is at (http://127\.0\.0\.1:(\d+)/) until you press "
                r"Ctrl-C\.\n",
                said,
            )
            assert match, said
            assert int(match[2]) > taken
            with urllib.request.urlopen(match[1]) as page:
                assert page.read() == b"the book of my run"
            process.terminate()
            assert process.stderr is not None
            assert process.stderr.read() == (
                f"civilwar: {mine.pages} is older than what it is made of: `civilwar reproduce` makes it anew.\n"
            )


def test_a_stale_published_book_is_built_anew_first(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    book = built(place, "old", 1000)
    (place / "book" / "index.md").write_text("new")

    def build(source: Path, quiet: bool) -> Path:
        return built(source.parent, "new", 2000).pages

    monkeypatch.setattr(publish, "build_book", build)
    monkeypatch.setattr(serving._Server, "serve_forever", lambda server: None)
    assert cli.main(["serve", "--port", "0", "--as-built"]) == 0
    assert "is older than what it is made of: `make html`" in capsys.readouterr().err
    assert (book.pages / "index.html").read_text() == "old"
    assert cli.main(["serve", "--port", "0"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "The published book has changed: building it."
    assert shown.out.splitlines()[1].startswith("The published book, built ")
    assert shown.err == ""
    assert (book.pages / "index.html").read_text() == "new"


def test_where_there_is_no_book_it_says_how_to_make_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert cli.main(["serve"]) == 1
    assert f"there is no book below {place} yet: `civilwar reproduce` makes one." in capsys.readouterr().err
    assert cli.main(["serve", str(place / "nothing")]) == 1
    assert "has no built book" in capsys.readouterr().err
