"""The parts of an unfinished run: what each checkpoint's stretch of steps recorded, in a folder of its own.

A part is renamed into place when whole, with the checksums of its files beside them. Whoever reads parts gets every step
exactly once or an error: a part that was removed, copied or altered is found.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from civilwar.errors import RunDamaged
from civilwar.files import atomic_path, read_json, remove, sha256, write_json
from civilwar.runs.records import REMEDY, Records, read_table
from civilwar.runs.trust import plain_file

PARTS = "parts"
#: In the folder of each part: its files' checksums.
PART_SUMS = "checksums.json"


def write_part(run: Path, step: int, records: Records) -> None:
    """Rows up to and including ``step``, in a folder of their own."""
    with atomic_path(run / PARTS / f"{step:06d}") as temporary:
        records.write(temporary)
        write_json(temporary / PART_SUMS, _sums(temporary))


def part_sums(run: Path) -> dict[str, str]:
    """The checksum of each part, which is that of its list of checksums. Raises RunDamaged for what is no part."""
    sums = {}
    for folder in _folders(run):
        if not (folder / PART_SUMS).is_file():
            raise RunDamaged(f"{folder} has no {PART_SUMS}, so nothing vouches for it. {REMEDY}")
        sums[folder.name] = sha256(folder / PART_SUMS)
    return sums


def check_parts(run: Path, expected: Mapping[str, str]) -> None:
    """Raise RunDamaged unless the parts are those expected, by `part_sums`, and each file of them fits its checksum."""
    found = part_sums(run)
    for name in sorted(found | dict(expected)):
        folder = run / PARTS / name
        if name not in found:
            raise RunDamaged(f"{folder} is missing, though the checkpoint was taken after it. {REMEDY}")
        if name not in expected:
            raise RunDamaged(f"{folder} is of no checkpoint: it was put there from elsewhere. Remove that folder.")
        if found[name] != expected[name]:
            raise RunDamaged(f"{folder / PART_SUMS} differs from its checksum in the checkpoint. {REMEDY}")
        _check_files(folder)


def discard_parts_after(run: Path, step: int) -> None:
    """Forget parts that no checkpoint covers; a resumed run computes them again."""
    for folder in _folders(run):
        if int(folder.name) > step:
            # out of sight at once, so that nobody reads a half of it
            hidden = folder.with_name(f".{folder.name}.discarded")
            remove(hidden)
            os.replace(folder, hidden)
            remove(hidden)


def cut_parts_after(run: Path, step: int) -> None:
    """Forget every row after ``step``; a part that began before it is written anew with the rows that stay."""
    for folder in _folders(run):
        if int(folder.name) > step:
            stays = up_to(Records.read(folder), step)
            if any(len(table) for table in stays.tables.values()):
                write_part(run, step, stays)
    discard_parts_after(run, step)


def read_parts(run: Path, every_step: bool = True) -> Records:
    """What an unfinished run has recorded so far. Raises RunDamaged where a part, or a step, is missing or altered.

    ``every_step``: whether steps 0 to the last have to be there, as in every run of this package's own training.
    """
    folders = _folders(run)
    for folder in folders:
        _check_files(folder)
    records = Records.concatenate([Records.read(folder) for folder in folders])
    if "train" in records.tables:
        steps = records.tables["train"]["step"].to_numpy()
        if every_step:
            check_steps(steps, int(steps.max(initial=-1)), run / PARTS)
        else:
            check_rising(steps, run / PARTS)
    return records


def newest_rows(run: Path, table: str) -> pd.DataFrame | None:
    """Rows of a table in the newest part that has it, checked; None where no part has. Reads no other file.

    Raises RunDamaged where that file is not as it was written.
    """
    relative = f"tables/{table}.parquet"
    for folder in reversed(_folders(run)):
        if (folder / relative).exists():
            file = plain_file(folder, relative)
            if read_json(folder / PART_SUMS).get(relative) != sha256(file):
                raise RunDamaged(f"{file} was cut short or altered: see {PART_SUMS} there. {REMEDY}")
            return read_table(file)
    return None


def check_steps(steps: np.ndarray, last: int, where: Path) -> None:
    """Raise RunDamaged, naming the first step in question, unless ``steps`` are 0 to ``last``, each exactly once."""
    if not np.issubdtype(steps.dtype, np.integer):
        raise RunDamaged(f"{where}: its steps are no whole numbers. {REMEDY}")
    # not a count of every number up to the largest, which somebody else may have written
    found, times = np.unique(steps, return_counts=True)
    odd = [*found[(times > 1) | (found < 0) | (found > last)][:1], *_first_gap(found, last)]
    if odd:
        bad = min(odd)
        fault = "is missing" if bad not in found else "stands there more than once, or is none of the run's"
        raise RunDamaged(f"{where}: step {bad} {fault}: a part was removed, copied or exchanged. {REMEDY}")
    if not np.array_equal(steps, np.arange(last + 1)):
        raise RunDamaged(f"{where}: its steps are not 0 to {last} in order. {REMEDY}")


def check_rising(steps: np.ndarray, where: Path) -> None:
    """Raise RunDamaged unless ``steps`` are whole numbers from 0 on, each larger than the one before."""
    whole = np.issubdtype(steps.dtype, np.integer)
    if not whole or (len(steps) and steps[0] < 0) or not (np.diff(steps) > 0).all():
        raise RunDamaged(f"{where}: its steps do not rise, so a part was copied or exchanged. {REMEDY}")


def _first_gap(found: np.ndarray, last: int) -> list[int]:
    """The first of 0 to ``last`` that is not among ``found``, ascending and all different; nothing where all are."""
    inside = found[(found >= 0) & (found <= last)]
    gaps = np.flatnonzero(inside != np.arange(len(inside)))
    return [int(gaps[0])] if len(gaps) else [len(inside)] if len(inside) <= last else []


def up_to(records: Records, step: int) -> Records:
    """The rows of ``step`` and before."""
    tables = {name: table[table["step"] <= step].reset_index(drop=True) for name, table in records.tables.items()}
    arrays = {
        name: {key: array[group["step"] <= step] for key, array in group.items()}
        for name, group in records.arrays.items()
    }
    return Records(tables, arrays)


def _folders(run: Path) -> list[Path]:
    """Folders of parts, in order; hidden ones are what a kill left."""
    folder = run / PARTS
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")] if folder.is_dir() else []
    # by number: after 999999 names grow
    found = sorted(entries, key=lambda entry: (len(entry.name), entry.name))
    for entry in found:
        if not re.fullmatch(r"[0-9]{6,}", entry.name):
            raise RunDamaged(f"{entry} is no part of a run. Move it away, and the same command goes on.")
    return found


def _check_files(part: Path) -> None:
    if not (part / PART_SUMS).is_file():
        raise RunDamaged(f"{part} has no {PART_SUMS}, so nothing vouches for it. {REMEDY}")
    expected, found = read_json(part / PART_SUMS), _sums(part)
    for relative in sorted(expected | found):
        if relative not in expected:
            raise RunDamaged(f"{part / relative} is no file of its part. Move it away, and the same command goes on.")
        if found.get(relative) != expected[relative]:
            raise RunDamaged(f"{part / relative} is missing, was cut short or altered: see {PART_SUMS} there. {REMEDY}")


def _sums(part: Path) -> dict[str, str]:
    files = sorted(file for file in part.rglob("*") if not file.is_dir() and file.name != PART_SUMS)
    names = [file.relative_to(part).as_posix() for file in files]
    return {name: sha256(plain_file(part, name)) for name in names}
