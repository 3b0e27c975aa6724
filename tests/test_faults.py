"""The fault harness of benchmarks/: what it recorded, and that it can see a loss."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from civilwar import paths

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import faults

# one worker trains the run that is not disturbed
pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module")
def shop() -> Iterator[faults.Workshop]:
    with faults.workshop() as shop:
        yield shop


def recorded_faults() -> dict[str, dict[str, Any]]:
    rows = json.loads((paths.recorded() / faults.RESULT).read_text(encoding="utf-8"))["faults"]
    return {row["name"]: row for row in rows}


def test_every_fault_was_done_and_ended_as_it_should() -> None:
    """Run ``python benchmarks/faults.py`` and commit data/benchmarks when this fails."""
    recorded = recorded_faults()
    # in the order in which the page lists them
    assert list(recorded) == list(faults.FAULTS)
    assert all(row["good"] for row in recorded.values())
    done = {name: recorded[f"kills_{name}"]["times"] for name in faults.kills.TIMES}
    assert done == faults.kills.TIMES
    assert sum(done.values()) >= 200
    assert all(row["lost"].startswith("nothing") for row in recorded.values())


@pytest.mark.parametrize("name", ["ctrl_c", "second_writer", "nan"])
def test_the_harness_still_does_what_it_recorded(shop: faults.Workshop, name: str) -> None:
    recorded = recorded_faults()[name]
    row = faults.FAULTS[name](shop)
    assert row.good, row
    assert (row.status, row.lost) == (recorded["status"], recorded["lost"])


@pytest.mark.parametrize("command", ["exporting", "deleting", "reproducing"])
def test_a_few_kills_of_what_readers_run_lose_nothing(command: str, tmp_path: Path) -> None:
    """A rehearsal; the harness itself does more of them."""
    commands = faults.kills.Commands(tmp_path)
    try:
        tally = faults.kills.KILLED[command](commands, 3, faults.kills.write_text(tmp_path / "texts"))
    finally:
        commands.close()
    assert tally.wrong == []
    assert (tally.times, tally.statuses) == (3, {faults.kills.KILLED_STATUS})


def test_a_run_that_lost_a_row_is_seen(shop: faults.Workshop) -> None:
    assert shop.whole_again("lossy")
    table = shop.runs / "lossy" / "tables" / "train.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    assert not shop.whole_again("lossy")


def test_a_wrong_status_or_a_second_line_is_not_as_it_should_be() -> None:
    assert faults.outcome("", 1, {1}, "", True, {1}).good
    assert not faults.outcome("", 1, {0}, "", True, {1}).good
    assert not faults.outcome("", 1, {1, 0}, "", True, {1}).good
    assert not faults.outcome("", 1, {1}, "", False, {1}).good
    assert faults.one_sentence("one line", "one")
    assert not faults.one_sentence("one line\nand another", "one")
    assert not faults.one_sentence("one line", "two")
