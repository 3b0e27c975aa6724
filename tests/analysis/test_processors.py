"""Which numbers repeat on another processor: the recorded table, and the table of the page."""

import math
from pathlib import Path

import pandas as pd
import pytest

from civilwar.analysis import processors
from civilwar.analysis.compare import COLUMNS
from civilwar.errors import RunError


@pytest.fixture(scope="module")
def recorded() -> pd.DataFrame:
    return processors.measured()


def test_the_same_machine_gives_the_same_bits_and_other_instructions_do_not(recorded: pd.DataFrame) -> None:
    assert set(recorded.columns) == {*COLUMNS, "way", "beside", "processor", "torch"}
    by_way = recorded.set_index("way")["equal"].groupby(level=0).min()
    assert by_way[processors.AGAIN] == 1
    assert (by_way.drop(processors.AGAIN) < 1).all()
    assert "as recorded" in by_way


def test_what_differs_here_stays_within_what_was_found_between_two_makers(recorded: pd.DataFrame) -> None:
    table = processors.side_by_side(recorded).set_index("measure")
    ways = [way for way in recorded["way"].unique() if way != processors.AGAIN]
    for measure in ("training loss", "cosine between keys", "attention to separators"):
        assert (table.loc[measure, ways] <= table.loc[measure, processors.OUTSIDER]).all()


def test_every_measure_shown_was_compared(recorded: pd.DataFrame) -> None:
    table = processors.side_by_side(recorded)
    assert list(table["measure"]) == list(processors.SHOWN.values())
    assert table.drop(columns=processors.OUTSIDER).notna().all().all()
    # beside what was measured elsewhere there is nothing for most measures, and that is not 0
    assert table[processors.OUTSIDER].notna().sum() == len(processors.OUTSIDE)


def row(way: str, measure: str, difference: float, relative: float) -> dict[str, object]:
    equal = 1.0 if difference == 0 else 0.5
    digits = math.inf if relative == 0 else -math.log10(relative)
    known = {"largest_difference": difference, "largest_relative": relative, "digits": digits}
    return {"way": way, "measure": measure, "values": 41, "equal": equal, "processor": "P", **known, "beside": "this"}


def test_the_numbers_of_the_page() -> None:
    ways = ((processors.AGAIN, 0.0, 0.0), ("one", 0.002, 0.001), ("two", 0.004, 0.002))
    table = pd.DataFrame([row(way, measure, *found) for way, *found in ways for measure in processors.SHOWN])
    shown = processors.side_by_side(table).set_index("measure")
    assert shown.loc["training loss", ["unit", "one", "two", processors.OUTSIDER]].tolist() == [
        "nats",
        0.002,
        0.004,
        0.011,
    ]
    assert shown.loc["cosine between keys", ["unit", "one", "two"]].tolist() == ["%", 0.1, 0.2]
    said = processors.summary(table)
    assert (said["processor_ways"], said["processor_steps"], said["processor_again_percent"]) == (2, 41, 100)
    assert said["processor_others"] == "one; two"
    assert said["processor_loss_nats"] == 0.004
    assert said["processor_digits_loss"] == pytest.approx(-math.log10(0.002))
    # one number that differs, and the share is not whole
    table.loc[0, "equal"] = 0.9
    assert processors.summary(table)["processor_again_percent"] == pytest.approx(90)


def test_what_was_not_measured_says_how_it_is(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"processors\.csv is not there: run `python benchmarks/processors\.py`"):
        processors.measured(tmp_path)
