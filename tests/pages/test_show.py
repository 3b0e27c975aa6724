"""`civilwar.pages.show`: tables handed to the page. Figures are tested with what they draw, in test_plots."""

import math
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from civilwar.pages import show


def test_show_table_rounds_and_writes_a_dash_for_the_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Any] = []
    monkeypatch.setattr(show, "myst_glue", lambda key, page, display: pages.append(page))
    table = pd.DataFrame({"layer": [0, 1], "step": [12.0, math.nan], "p": [0.00049, math.nan]})
    show.show_table(table, "table", "Title", {"step": 0, "p": 4})
    page = BeautifulSoup(pages[0].data, "html.parser")
    cells = [[cell.get_text() for cell in row.find_all("td")] for row in page.select("tbody tr")]
    assert cells == [["0", "12", "0.0005"], ["1", "\N{EN DASH}", "\N{EN DASH}"]]
    assert [cell.get_text() for cell in page.select("thead th")] == ["layer", "step", "p"]
    assert page.find("a")["download"] == "table.csv"
    assert page.find(class_="cw-title").get_text() == "Title"
