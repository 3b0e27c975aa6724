"""CSV that computes nothing in a spreadsheet and reads back as what it was."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from civilwar.pages.spreadsheet import csv_text


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "-2+3",
        "-x",
        "=",
        "+",
        "@",
        "\uff1d1+1",
        "\n=1",
        "--1",
        "-1 to =1",
        "+2 ±",
        "+2 +cmd",
    ],
)
def test_what_a_spreadsheet_would_compute_begins_with_an_apostrophe(cell: str) -> None:
    rows = csv.reader(io.StringIO(csv_text(pd.DataFrame({cell: [cell, "plain"]})), newline=""))
    assert list(rows) == [[f"'{cell}"], [f"'{cell}"], ["plain"]]


@pytest.mark.parametrize(
    "cell",
    [
        "-0.5",
        "+3",
        "-1e-05",
        "+.5",
        "-",
        "a=b",
        " = ",
        "x@y",
        "'",
        "1-2",
        "",
        "-inf",
        "-1.5 to 1.5",
        "+22 ± 144",
        "\u2212 1",
    ],
)
def test_numbers_and_other_texts_stay(cell: str) -> None:
    text = csv_text(pd.DataFrame({"text": [cell], "n": [1]}))
    assert pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)["text"].tolist() == [cell]


def test_a_table_without_such_texts_is_written_as_pandas_writes_it() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "value": [*random.normal(size=50), np.nan, -np.inf],
            "n": np.arange(52) - 10,
            "flag": np.arange(52) % 2 == 0,
            "text": ['a "b", c', "x\ny", "\u00e9", ""] * 13,
            "kind": pd.Categorical(["sink", "gatherer"] * 26),
        }
    )
    for shown in (table, table.iloc[:0], table[["text"]]):
        assert csv_text(shown) == shown.to_csv(index=False, float_format="%.5g")


def test_a_carriage_return_in_a_cell_begins_no_row() -> None:
    text = csv_text(pd.DataFrame({"text": ["a\r=1", "b"], "n": [1, 2]}))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["text", "n"], ["a\r=1", "1"], ["b", "2"]]
    assert '"a\r=1"' in text


def test_columns_of_one_name_are_all_written() -> None:
    table = pd.DataFrame([["=1", -1]], columns=["a", "a"])
    assert csv_text(table) == "a,a\n'=1,-1\n"
