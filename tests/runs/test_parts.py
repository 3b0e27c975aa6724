"""Parts of an unfinished run: every step once, or a sentence."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import make_synthetic_config

from civilwar.errors import RunDamaged
from civilwar.files import write_json
from civilwar.runs import parts, reader
from civilwar.runs.parts import PART_SUMS, PARTS, check_parts, check_steps, part_sums, read_parts, up_to, write_part
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.runs.writer import RunWriter

CONFIG = make_synthetic_config(steps=5)


def rows(first: int, last: int) -> Records:
    step = np.arange(first, last + 1, dtype=np.int32)
    gain = step.astype(np.float32)[:, None, None]
    return Records(
        {"train": pd.DataFrame({"step": step, "loss": step.astype(np.float32)})},
        {"gain": {"step": step, "k_gain": gain, "q_gain": gain}},
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three parts: steps 0-1, 2-3 and 4-5."""
    with RunWriter(tmp_path / "run", CONFIG) as writer:
        writer.write_manifest(status="running")
        for last in (1, 3, 5):
            writer.write_part(last, rows(last - 1, last))
    return tmp_path / "run"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def remove_part(folder: Path) -> None:
    shutil.rmtree(folder / "000003")


def copy_by_hand(folder: Path) -> None:
    shutil.copytree(folder / "000003", folder / "000003 (copy)")


def copy_as_a_part(folder: Path) -> None:
    shutil.copytree(folder / "000003", folder / "000004")


def exchange(folder: Path) -> None:
    shutil.rmtree(folder / "000003")
    shutil.copytree(folder / "000005", folder / "000003")


def remove_sums(folder: Path) -> None:
    (folder / "000003" / PART_SUMS).unlink()


def flip_sums(folder: Path) -> None:
    flip(folder / "000003" / PART_SUMS)


def flip_table(folder: Path) -> None:
    flip(folder / "000003" / "tables" / "train.parquet")


def add_a_table(folder: Path) -> None:
    tables = folder / "000003" / "tables"
    shutil.copy(tables / "train.parquet", tables / "train (copy).parquet")


DAMAGES: dict[Callable[[Path], None], str] = {
    remove_part: r"step 2 is missing|000003 is missing",
    copy_by_hand: r"000003 \(copy\) is no part of a run",
    copy_as_a_part: r"step 2 stands there more than once|000004 is of no checkpoint",
    exchange: r"step 2 is missing|differs from its checksum in the checkpoint",
    remove_sums: r"000003 has no checksums\.json",
    flip_sums: r"000003",
    flip_table: r"train\.parquet is missing, was cut short or altered",
    add_a_table: r"train \(copy\)\.parquet is no file of its part",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_is_found_by_readers_at_resuming_and_before_the_end(
    run: Path, damage: Callable[[Path], None]
) -> None:
    expected = part_sums(run)
    check_parts(run, expected)
    assert Run(run).last_step == 5
    damage(run / PARTS)
    message = DAMAGES[damage]
    with pytest.raises(RunDamaged, match=message):
        Run(run).table("train")
    with pytest.raises(RunDamaged, match=message):
        check_parts(run, expected)
    with RunWriter(run, CONFIG) as writer, pytest.raises(RunDamaged, match=message):
        writer.finish()
    assert not Run(run).complete
    assert not (run / "tables").exists()


def test_a_run_that_lacks_its_last_steps_is_not_finished(run: Path) -> None:
    with RunWriter(run, CONFIG) as writer:
        writer.discard_parts_after(3)
        with pytest.raises(RunDamaged, match="step 4 is missing"):
            writer.finish()
        writer.write_part(5, rows(4, 5))
        assert writer.finish().last_step == 5


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([0, 1, 3], "step 2 is missing"),
        ([0, 1, 2], "step 3 is missing"),
        ([], "step 0 is missing"),
        # as large as the type holds: nothing is to be counted up to it
        ([0, 1, 2, 2**31 - 1], "step 3 is missing"),
        ([-1, 0, 1, 2, 3], "step -1 .* is none of the run's"),
        ([0, 1, 1, 2, 3], "step 1 stands there more than once"),
        ([0, 2, 1, 3], "in order"),
        ([0, 1, 2, 3, 4], "step 4 .* is none of the run's"),
    ],
)
def test_steps_that_are_not_each_there_once_are_named(tmp_path: Path, steps: list[int], message: str) -> None:
    check_steps(np.arange(4), 3, tmp_path)
    with pytest.raises(RunDamaged, match=message):
        check_steps(np.array(steps, dtype=np.int32), 3, tmp_path)


def test_steps_that_are_no_whole_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDamaged, match="no whole numbers"):
        check_steps(np.array([0.0, 1.0, 2.5]), 2, tmp_path)


def test_rows_up_to_a_step_leave_the_rest_out() -> None:
    kept = up_to(rows(0, 5), 3)
    assert kept.tables["train"]["step"].tolist() == kept.arrays["gain"]["k_gain"].ravel().tolist() == [0, 1, 2, 3]


def test_hidden_leftovers_of_a_kill_are_nobody_s_part(run: Path) -> None:
    shutil.copytree(run / PARTS / "000003", run / PARTS / ".000003.writing")
    assert set(part_sums(run)) == {"000001", "000003", "000005"}
    assert Run(run).last_step == 5


# ---------------------------------------------------------------- a reader that meets the writer


@pytest.mark.parametrize("meets", [RunDamaged("half gone"), FileNotFoundError("gone"), None], ids=str)
def test_a_reader_that_meets_a_finishing_run_reads_the_finished_one(
    run: Path, monkeypatch: pytest.MonkeyPatch, meets: Exception | None
) -> None:
    expected = Run(run).table("train")
    reading = Run(run)

    def read_while_it_finishes(path: Path) -> Records:
        with RunWriter(path, CONFIG) as writer:
            writer.finish()
        if meets is not None:
            raise meets
        return Records()

    monkeypatch.setattr(reader, "read_parts", read_while_it_finishes)
    assert not reading.complete
    pd.testing.assert_frame_equal(reading.table("train"), expected)
    assert reading.complete


def test_a_reader_looks_again_where_parts_changed_under_its_eyes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_while_parts_go(path: Path) -> Records:
        monkeypatch.setattr(reader, "read_parts", read_parts)
        parts.discard_parts_after(path, 3)
        raise RunDamaged("half gone")

    monkeypatch.setattr(reader, "read_parts", read_while_parts_go)
    assert Run(run).last_step == 3


def test_a_reader_does_not_look_for_ever(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def never(path: Path) -> Records:
        asked.append(path)
        write_part(path, 10 + len(asked), rows(0, 0))
        raise FileNotFoundError("gone again")

    monkeypatch.setattr(reader, "read_parts", never)
    with pytest.raises(FileNotFoundError, match="gone again"):
        Run(run).table("train")
    assert len(asked) == reader.ATTEMPTS


def test_a_list_of_checksums_that_is_none_is_found(run: Path) -> None:
    write_json(run / PARTS / "000003" / PART_SUMS, {})
    with pytest.raises(RunDamaged, match="is no file of its part"):
        read_parts(run)
