"""What the book makes of notebooks' links to the glossary, and which front page it takes."""

import json
from pathlib import Path

import pytest
from sphinx_extensions import load

from civilwar import paths

prose, own_run, cards = load("civilwar_prose"), load("civilwar_own_run"), load("civilwar_cards")

GLOSSARY = "# Glossary\n\n```{glossary}\nkey norm\n  How long a key is.\n\nreport's entropy\n  Theirs.\n```\n"
TERMS = {"key-norm": "key norm", "report-s-entropy": "report's entropy"}


def test_terms_are_known_by_the_end_of_their_address() -> None:
    assert prose.terms_of(GLOSSARY) == TERMS


def test_a_link_to_the_glossary_becomes_a_term_and_other_links_fit_the_book() -> None:
    text = "[Norms](../book/glossary.md#term-key-norm), [it](../book/glossary.md#term-report-s-entropy), "
    text += "[m](../book/methods.md)"
    assert prose.for_the_book(text, TERMS) == (
        "{term}`Norms <key norm>`, {term}`it <report's entropy>`, [m](../methods.md)",
        [],
    )


def test_a_term_that_there_is_not_is_named() -> None:
    assert prose.for_the_book("a [b](../book/glossary.md#term-nothing) c", TERMS) == ("a b c", ["nothing"])


@pytest.mark.parametrize("file", sorted((paths.repository() / "notebooks").glob("*.ipynb")), ids=lambda file: file.stem)
def test_every_term_that_a_notebook_links_is_in_the_glossary(file: Path) -> None:
    terms = prose.terms_of((paths.repository() / "book" / "glossary.md").read_text(encoding="utf-8"))
    assert len(terms) > 20
    written, unknown = prose.for_the_book(file.read_text(encoding="utf-8"), terms)
    assert unknown == []
    assert "glossary.md#term" not in written


def executed(folder: Path, **glued: str) -> Path:
    outputs = [
        {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {"scrapbook": {"name": name}}}
        for name, text in glued.items()
    ]
    outputs.append(
        {"output_type": "display_data", "data": {"text/markdown": "**Heads part.**\n\nMore."}, "metadata": {}}
    )
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Phase 1 · A\n", "\n", "Text."]},
            {"cell_type": "code", "outputs": outputs},
        ],
        "metadata": {"card": {"question": "Do they?"}},
    }
    file = folder / "01_a.ipynb"
    file.write_text(json.dumps(notebook), encoding="utf-8")
    return file


@pytest.mark.parametrize(("missing", "own"), [("0", False), ("3", True), (None, False)])
def test_a_front_page_of_its_own_where_claims_await_runs(tmp_path: Path, missing: str | None, own: bool) -> None:
    file = executed(tmp_path, **({} if missing is None else {"n_claims_awaiting": missing}))
    assert own_run.incomplete([file]) is own


def test_a_card_has_the_page_s_title_and_its_answer_is_its_first_prose(tmp_path: Path) -> None:
    content = json.loads(executed(tmp_path).read_text(encoding="utf-8"))
    assert cards.card("/phases/01_a", content)[0] == ":::{grid-item-card} Phase 1 · A"
    assert "Do they?" in cards.card("/phases/01_a", content)
    assert cards.answer("/phases/01_a", content) == ["- [Phase 1 · A](/phases/01_a.ipynb): Heads part."]
