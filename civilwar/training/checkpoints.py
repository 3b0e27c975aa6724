"""Checkpoints: a training state on disk, and back.

A checkpoint is a folder named by its step, renamed into place when whole: ``state.pt`` and a ``checkpoint.json`` beside it
that says what belongs to it, with the checksum of the state and one of its own. Nothing here knows the loop.
"""

import pickle
from pathlib import Path
from typing import Any

import torch

from civilwar.errors import RunDamaged
from civilwar.files import atomic_path, content_sha256, read_json, remove, sha256, write_json
from civilwar.runs.trust import Entries

STATE, SIDECAR = "state.pt", "checkpoint.json"
_OWN = "checkpoint_sha256"


class Checkpoints:
    """The checkpoints of one run: the newest, and one spare in case it is damaged on disk."""

    def __init__(self, run: Path, config_hash: str) -> None:
        self.folder, self.config_hash = run / "checkpoints", config_hash

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, in order."""
        return sorted(int(folder.name) for folder in self.folder.glob("[0-9]*") if folder.name.isdecimal())

    def save(self, step: int, state: dict[str, Any], **facts: Any) -> None:
        """Write the state after ``step``, with ``facts`` (plain JSON) beside it. Raises OSError where the disk refuses."""
        with atomic_path(self._at(step)) as temporary:
            temporary.mkdir()
            _save(state, temporary / STATE)
            sidecar = {"step": step, "config_hash": self.config_hash, "sha256": sha256(temporary / STATE), **facts}
            write_json(temporary / SIDECAR, sidecar | {_OWN: content_sha256(sidecar)})
        for old in self.steps()[:-2]:
            remove(self._at(old))

    def load_newest(self, device: torch.device) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """State, on ``device``, and facts of the newest checkpoint; None where there is none.

        Raises RunDamaged, saying which folder to remove, where a bit of it is not as it was written.
        """
        steps = self.steps()
        if not steps:
            return None
        newest = self._at(steps[-1])
        spare = f"to go on from step {steps[-2]}" if len(steps) > 1 else "to start again"
        try:
            sidecar = read_json(newest / SIDECAR)
            good = sidecar.pop(_OWN) == content_sha256(sidecar) and sha256(newest / STATE) == sidecar["sha256"]
            good = good and (sidecar["step"], sidecar["config_hash"]) == (steps[-1], self.config_hash)
        except (RunDamaged, OSError, KeyError) as error:
            raise RunDamaged(f"checkpoint {newest} is damaged ({error}). Remove that folder {spare}.") from error
        if not good:
            raise RunDamaged(f"checkpoint {newest} is damaged: its checksum does not fit. Remove that folder {spare}.")
        try:
            state = torch.load(newest / STATE, map_location=device, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            # a checksum tells that nothing changed, not that a friend wrote it: code in a pickle is never run
            raise RunDamaged(f"checkpoint {newest} holds no training state. Remove that folder {spare}.") from error
        return state, Entries(newest / SIDECAR, sidecar)

    def _at(self, step: int) -> Path:
        return self.folder / f"{step:06d}"


def _save(state: dict[str, Any], file: Path) -> None:
    try:
        with file.open("wb") as stream:
            torch.save(state, stream)
    except RuntimeError as error:
        # of a full disk torch says something that only its authors understand, right after the disk said what is wrong
        if not isinstance(error.__context__, OSError):
            raise
        raise OSError(f"{file.name} was refused ({error.__context__.strerror})") from error
