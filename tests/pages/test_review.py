"""The list of the review's points: whole, honest, and every link leads somewhere."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from civilwar import paths
from civilwar.pages import review, robust
from civilwar.pages.publish import phase_notebooks
from civilwar.pages.review import POINTS, Point, state, table
from civilwar.recipe import plan

SOURCES = {file.stem: file for file in phase_notebooks()}


def anchors(file: Path) -> set[str]:
    """Ids that a page has, as its source names them: figures, tables (T_name), and what the ledger's functions show."""
    code = "\n".join(cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code")
    named = set(re.findall(r'^ *"([a-z_0-9]+)",', code, re.MULTILINE))
    calls = re.findall(r"show_table\((.*?)\)$", code, re.DOTALL | re.MULTILINE)
    tables = {f"T_{name}" for call in calls for name in re.findall(r'"(\w+)"', call)}
    shown = set(re.findall(r"show_(ledger|runs|review)\(", code))
    return named | tables | shown


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.id)
def test_every_answer_stands_where_its_link_leads(point: Point) -> None:
    if not point.link:
        assert point.left or point.awaits
        return
    page, anchor = point.link.split("#")
    assert anchor in anchors(SOURCES[page])


def test_every_point_of_the_review_is_there_once() -> None:
    expected = [*(f"A{i}" for i in range(1, 6)), *(f"B{i}" for i in range(6, 13)), *(f"C{i}" for i in range(13, 17))]
    assert [point.id for point in POINTS] == [*expected, "D17", "E", "F", "G"]
    assert all(group in plan.GROUPS for point in POINTS for group in point.awaits)
    assert all(text[-1] == "." for point in POINTS for text in (point.objection, point.answer))


def test_a_state_is_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Point(id="X", objection="A.", answer="B.", link="p#a")
    assert state(whole) == review.ANSWERED
    assert state(Point(id="X", objection="A.", answer="B.", link="p#a", left="C.")) == review.IN_PART
    assert state(Point(id="X", objection="A.", answer="B.", link="", left="C.")) == review.OPEN
    waiting = Point(id="X", objection="A.", answer="B.", link="p#a", awaits=("paper",))
    monkeypatch.setattr(review, "_complete", lambda name: False)
    assert state(waiting) == review.AWAITED
    assert set(review.missing("paper")) == {one.default_name for one in plan.GROUPS["paper"].planned()}
    monkeypatch.setattr(review, "_complete", lambda name: True)
    assert state(waiting) == review.ANSWERED


def test_the_table_is_html_that_is_safe_and_counted() -> None:
    hostile = Point(id="X", objection="<b>A</b>.", answer="B & C.", link="12_effect_sizes#calm", left="D.")
    row = review._row(hostile, "answered in part")
    assert "&lt;b&gt;A" in row
    assert 'href="12_effect_sizes.html#calm"' in row
    assert "Not done: D." in row
    data = table((hostile,))
    assert data["state"].to_list() == ["answered in part"]
    assert review.in_words(data) == "Of 1 points: 1 answered in part."


def test_what_the_map_says_in_words() -> None:
    numbers: dict[str, float | str] = {"robust_firm": "C01, C13", "robust_parted": "none"}
    assert robust.in_words(numbers).endswith("No decided verdict turns into another decided one.")
    assert robust.in_words(numbers | {"robust_parted": "C02"}).endswith("into another: C02.")
    assert robust.title({"robust_n_decided": 5, "robust_n_firm": 3}).startswith("Of 5 claims that are decided, 3")
    assert len(robust.choices()) > 10
    row = {"id": "C05", "verdict": "there", "choices": 2, "same": 1, "unsettled": 0, "settled": 0, "other": 1}
    words = robust.standing_in_words(pd.DataFrame([row | {"others": "not there (1)"}]))
    assert words.iloc[0]["left as it is"] == "1 of 2"
    assert words.iloc[0]["decided otherwise"] == 1


def test_the_page_has_its_place() -> None:
    contents = (paths.repository() / "book" / "_toc.yml").read_text(encoding="utf-8")
    assert "phases/13_robustness" in contents
