"""When a run is none any more: the first step that is no number, and what is said of it."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from civilwar.errors import RunError
from civilwar.runs.records import Records


class TrainingDiverged(RunError):
    """The loss, or the keys of a head, are no longer numbers."""


def first_bad_step(records: Records) -> int | None:
    """The first step whose loss or mean key norms are no numbers; None where all are.

    A model that overflows may end with a finite loss, that of equal logits, while nothing else of it is a number.
    """
    if "train" not in records.tables:
        return None
    train, heads = records.tables["train"], records.tables["step_kv_heads"]
    bad = {*train["step"][~np.isfinite(train["loss"])], *heads["step"][~np.isfinite(heads["norm_mean"])]}
    return int(min(bad)) if bad else None


def diverged(run: Path, bad: int, loss: float, last: int, checkpoints: Sequence[int]) -> TrainingDiverged:
    """The error that says so.

    Args:
        run: its folder.
        bad: the first bad step.
        loss: of the bad step.
        last: the last step whose rows were written.
        checkpoints: steps of which there is a checkpoint, in order.
    """
    keys = ", but key norms are no numbers any more," if math.isfinite(loss) else ""
    state = (
        f"and so is the state in the checkpoint of step {checkpoints[-1]}"
        if checkpoints
        else "but no state: it came before the first checkpoint"
    )
    return TrainingDiverged(
        f"the loss is {loss:.4g}{keys} at step {bad} of {run.name}. Its tables up to step {last} are kept in {run}, "
        f"{state}; lower the learning rate or change the precision, and train under another name."
    )
