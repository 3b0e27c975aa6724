"""`civilwar.pages.tables`: words for columns, and long tables folded."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from civilwar.pages.tables import FOLDED, LONGEST, in_words, table_html, telling_rows


def layers(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"layer": range(n), "dip_step": 10.0, "rho": [(-1) ** i * i / n for i in range(n)], "beyond": True}
    )


def test_columns_and_truth_values_are_words() -> None:
    table = in_words(layers(2).assign(named_by_hand="x", both=[True, False], outcome=["holds", "undefined"]))
    assert list(table.columns)[:3] == ["layer", "step of the minimum", "rank correlation (ρ)"]
    assert "named by hand" in table.columns
    assert table["both"].tolist() == ["yes", "no"]
    assert table["outcome"].tolist() == ["holds", "no value"]
    assert not any("_" in column for column in table.columns)


def test_the_most_telling_rows_keep_the_table_s_order() -> None:
    table = layers(20)
    assert telling_rows(table, "rho")["layer"].tolist() == [15, 16, 17, 18, 19]
    assert telling_rows(table, None)["layer"].tolist() == [0, 5, 10, 14, 19]
    assert telling_rows(table.assign(rho=float("nan")), "rho").shape[0] == FOLDED


@pytest.mark.parametrize("n", [LONGEST, LONGEST + 1])
def test_a_long_table_is_folded_with_all_its_rows_a_click_away(n: int) -> None:
    page = BeautifulSoup(table_html(layers(n), "t", {"dip_step": 0}, telling="rho"), "html.parser")
    whole = page.find(id="T_t")
    assert whole is not None
    assert len(whole.select("tbody tr")) == n
    folded = whole.find_parent("details")
    assert (folded is not None) is (n > LONGEST)
    if folded is not None:
        assert folded.summary is not None
        assert folded.summary.get_text() == f"All {n} rows"
        few = page.find(id="T_t_few")
        assert few is not None
        assert len(few.select("tbody tr")) == FOLDED
        assert few.find_parent("details") is None


def test_a_table_of_words_is_whole_unless_something_is_most_telling() -> None:
    words = pd.DataFrame({"what": ["a"] * 20, "how": range(20)})
    assert "<details" not in table_html(words, "t", 2, words=True)
    assert "<details" in table_html(words, "t", 2, words=True, telling="how")
