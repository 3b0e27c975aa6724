"""`civilwar.pages.prose`: sentences with numbers in place, which say nothing that is undefined and show markup as it is."""

import math
from typing import Any

import pytest
from markdown_it import MarkdownIt

from civilwar.pages import numbers, prose
from civilwar.pages.prose import literally, written

MINUS = "\N{MINUS SIGN}"


def test_numbers_are_in_place_with_minus_signs() -> None:
    assert written("From {a:.1f} to {b:+.2f} of {n:,}.", a=-1.25, b=2, n=1489) == f"From {MINUS}1.2 to +2.00 of 1,489."


def test_what_was_glued_above_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "myst_glue", lambda key, value, display: None)
    monkeypatch.setattr(numbers, "_GLUED", {})
    numbers.glue(rho=-0.5)
    assert written("ρ = {rho:.2f}.") == f"ρ = {MINUS}0.50."
    assert written("ρ = {rho:.2f}.", rho=0.25) == "ρ = 0.25."


@pytest.mark.parametrize("undefined", [None, math.nan])
def test_a_sentence_without_its_number_is_not_said(undefined: float | None) -> None:
    assert written("It ends at {a:.1f}.", "It fell by {b:.1f}.", a=3, b=undefined) == "It ends at 3.0."
    assert written("It ends at {b:.1f}.", b=undefined) == ""


def test_of_alternatives_the_first_that_can_be_said_is() -> None:
    alternatives = ("From step {a}.", "By {b:.0f}.", "Never.")
    assert written(alternatives, a=3, b=4.0) == "From step 3."
    assert written(alternatives, a=None, b=4.0) == "By 4."
    assert written(alternatives, a=None, b=math.nan) == "Never."


def test_paragraphs_begin_where_they_are_asked_to() -> None:
    assert written("One.", "Two {a}.", "\n\n", "Three.", a=2) == "One. Two 2.\n\nThree."
    assert written("{a}", "\n\n", "Three.", a=None) == "Three."


def test_a_name_without_a_number_and_a_format_that_does_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prose names \{nobody\}.*glue it"):
        written("{nobody:.2f}")
    with pytest.raises(ValueError, match=r"prose cannot write name = 'x' as '\.2f'"):
        written("{name:.2f}", name="x")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "{number}`x` and {{ y }}",
        "**bold** _it_ [link](http://elsewhere.example) ![p](q) `code` $x$ #tag ~~gone~~ a|b",
        "http://elsewhere.example and a@b.example",
        "- no list",
        "1. no list",
        "12) no list",
        "# no heading",
        "&amp; <!-- -->",
        "two\n\nparagraphs",
    ],
)
def test_untrusted_text_is_shown_as_it_is(text: str) -> None:
    """By a parser of the Markdown that both JupyterLab and the book understand."""
    page: Any = MarkdownIt("gfm-like", {"linkify": False}).parse(prose.written("{name}", name=text))
    assert [token.type for token in page] == ["paragraph_open", "inline", "paragraph_close"]
    children = page[1].children
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == " ".join(text.split())


def test_no_role_is_left_for_myst() -> None:
    assert "{number}`" not in literally("{number}`x`")


def test_after_a_cell_was_left_out_its_sentences_are_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prose, "_LACKING", [])
    prose.leave_out_what_is_lacking()
    assert written("It ends at {a}.", "It fell by {nobody:.2f}.", a=3) == "It ends at 3."
