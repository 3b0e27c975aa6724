"""The data dictionary and data/README.md are what the schema says."""

import re

import pytest

from civilwar.pages import dictionary
from civilwar.runs.schema import ARRAYS, TABLES


@pytest.mark.parametrize("file", dictionary.written(), ids=lambda file: file.name)
def test_the_committed_page_is_what_the_schema_gives(file: object) -> None:
    from pathlib import Path

    assert isinstance(file, Path)
    said = "stale: run `python -m civilwar.pages.dictionary` and commit what it writes"
    assert file.read_text(encoding="utf-8") == dictionary.written()[file], said


@pytest.mark.parametrize("text", [dictionary.book_page(), dictionary.data_readme()], ids=["book", "data"])
def test_every_table_and_column_has_its_row(text: str) -> None:
    sections = dict(re.findall(r"^### `(\w+)`.*?\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == {*TABLES, *ARRAYS}
    for name, table in TABLES.items():
        assert re.findall(r"^\| `(\w+)` \|", sections[name], re.MULTILINE) == list(table.all_columns)
        assert table.says in sections[name]
    for name, group in ARRAYS.items():
        expected = ["step", *(array.column.name for array in group.arrays)]
        assert re.findall(r"^\| `(\w+)` \|", sections[name], re.MULTILINE) == expected
    # all rows of a table have its columns
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    assert {row.count("|") for row in rows} == {3, 6}


def test_what_a_slim_recording_lacks_is_said_where_it_lacks_it() -> None:
    page = dictionary.book_page()
    assert page.count("A slim recording lacks") == sum(e.slim is not None for e in [*TABLES.values(), *ARRAYS.values()])
    assert "A slim recording lacks all." in page
    assert page.count("A light recording lacks") == 1


def test_a_change_of_the_schema_makes_the_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    before = dictionary.book_page()
    monkeypatch.setitem(TABLES, "train", replace(TABLES["train"], says="Another sentence."))
    assert dictionary.book_page() != before
