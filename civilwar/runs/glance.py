"""What a run's folder holds, at a glance: how far it is, how large, and what it lacks. Reads little, and never trains."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from civilwar.runs.lock import is_written
from civilwar.runs.parts import newest_rows
from civilwar.runs.reader import Run
from civilwar.runs.schema import WEIGHTS

#: What a manifest that says "running" means where no process writes the run.
INTERRUPTED = "interrupted"
#: How what a recording left out begins, in words.
THINNED = "steps of"


@dataclass(frozen=True)
class Glance:
    """One run, in a few words."""

    status: str
    """``running``, ``interrupted``, ``diverged`` or ``complete``."""
    step: int | None
    """The last step of which there are rows; None where there are none yet."""
    loss: float | None
    """Training loss of that step, in nats."""
    date: str
    """When it was finished, or else begun: UTC, to the minute."""
    size: int
    """Bytes on disk."""
    lacks: tuple[str, ...]
    """What a whole run would have: weights, steps left out, files that the manifest lists."""


def glance(run: Run) -> Glance:
    """How far a run is and what it lacks.

    Raises RunDamaged where the table of losses was altered, or cannot be read.
    """
    rows = run.table("train") if run.complete else newest_rows(run.path, "train")
    last = None if rows is None or rows.empty else rows.iloc[-1]
    return Glance(
        status=standing(run),
        step=None if last is None else int(last["step"]),
        loss=None if last is None or pd.isna(last["loss"]) else float(last["loss"]),
        date=str(run.manifest.get("finished") or run.manifest.get("started") or "")[:16].replace("T", " "),
        size=size_of(run.path),
        lacks=lacking(run),
    )


def standing(run: Run) -> str:
    """The manifest's status, but ``interrupted`` for a run that says it is running and that nobody writes."""
    status = str(run.manifest["status"])
    return INTERRUPTED if status == "running" and not is_written(run.path) else status


def lacking(run: Run) -> tuple[str, ...]:
    """What the folder lacks of a whole run, in words; of an unfinished one, what a finished one would have."""
    if not run.complete:
        return ("its end",)
    listed = run.manifest["files"]
    found = [] if WEIGHTS in listed else ["weights"]
    found += [f"{THINNED} {name}" for name in run.manifest.get("left_out", {})]
    return (*found, *(f"{name} (lost)" for name in listed if not (run.path / name).is_file()))


def size_of(folder: Path) -> int:
    """Bytes of all plain files below a folder, links not followed."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
