"""The one process that may write a run: lock, manifest, parts, and the joining of parts at the end."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from civilwar.errors import RunBusy, RunNotWritten
from civilwar.files import atomic_path, remove, sha256, sync_folder
from civilwar.recipe.config import RunConfig
from civilwar.recipe.watched import AnyConfig
from civilwar.runs.lock import PATIENCE, lock_of
from civilwar.runs.manifest import MANIFEST, read_manifest, write_manifest
from civilwar.runs.parts import (
    PARTS,
    check_rising,
    check_steps,
    cut_parts_after,
    discard_parts_after,
    read_parts,
    write_part,
)
from civilwar.runs.reader import Run, check_name, check_same_config
from civilwar.runs.records import Records
from civilwar.runs.schema import PROBE, WEIGHTS

#: Folders that only an unfinished run needs.
SCAFFOLDING = (PARTS, "checkpoints")


class RunWriter:
    """The one process that may write a run. Use as a context manager; a second one gets RunBusy."""

    def __init__(self, path: Path, config: AnyConfig) -> None:
        check_name(path.name)
        self.path, self.config = path, config
        self._lock = lock_of(path)

    def __enter__(self) -> "RunWriter":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=PATIENCE)
        except Timeout as error:
            raise RunBusy(
                f"{self.path} is being written by another process. Wait for it, or use another name."
            ) from error
        except OSError as error:
            raise RunNotWritten(
                f"{self.path} cannot be written ({error.strerror or error}). Mend the disk or its permissions, or move "
                "the runs with the environment variable CIVILWAR_RUNS."
            ) from error
        try:
            if (self.path / MANIFEST).is_file():
                check_same_config(Run(self.path).stored_config, self.config, self.path)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def write_manifest(self, **changes: Any) -> None:
        """Update the manifest's entries; configuration and hash are always there."""
        entries = read_manifest(self.path) if (self.path / MANIFEST).is_file() else {}
        entries |= {"config": self.config.as_dict(), "config_hash": self.config.hash}
        if isinstance(self.config, RunConfig):
            entries["seed"] = self.config.seed
        entries |= changes
        write_manifest(self.path, entries)

    def write_part(self, step: int, records: Records) -> None:
        """Rows up to and including ``step``, in a folder of their own."""
        write_part(self.path, step, records)

    def discard_parts_after(self, step: int) -> None:
        """Forget parts that no checkpoint covers; a resumed run computes them again."""
        discard_parts_after(self.path, step)

    def cut_parts_after(self, step: int) -> None:
        """Forget every row after ``step``, also those of a part that began before it."""
        cut_parts_after(self.path, step)

    def finish(self, **changes: Any) -> Run:
        """Join the parts into the final tables, list every file's checksum, and mark the run complete.

        Raises RunDamaged unless the parts are whole and every step of the run stands in them exactly once; of a run that was
        only watched, every step that was.
        """
        ours = isinstance(self.config, RunConfig)
        records = read_parts(self.path, every_step=ours)
        steps = records.tables["train"]["step"].to_numpy() if "train" in records.tables else np.empty(0, np.int32)
        if ours:
            check_steps(steps, self.config.train.steps, self.path / PARTS)
        else:
            check_rising(steps, self.path / PARTS)
        with atomic_path(self.path / ".joined") as temporary:
            records.write(temporary)
        for name in ("tables", "arrays"):
            remove(self.path / name)
            os.replace(self.path / ".joined" / name, self.path / name)
        sync_folder(self.path)
        remove(self.path / ".joined")
        files = [*self.path.glob("tables/*.parquet"), *self.path.glob("arrays/*.safetensors")]
        files += [self.path / name for name in (PROBE, WEIGHTS) if (self.path / name).is_file()]
        checksums = {file.relative_to(self.path).as_posix(): sha256(file) for file in sorted(files)}
        self.write_manifest(files=checksums, status="complete", **changes)
        # only now may the parts and checkpoints go: a kill before this line leaves a run that resumes
        self.remove_scaffolding()
        return Run(self.path)

    def remove_scaffolding(self) -> None:
        """Throw away what only an unfinished run needs."""
        for name in SCAFFOLDING:
            remove(self.path / name)
