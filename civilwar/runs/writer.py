"""The one process that may write a run: lock, manifest, parts, and the joining of parts at the end."""

import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from civilwar.errors import RunBusy
from civilwar.files import atomic_path, remove, sha256, write_json
from civilwar.recipe.config import RunConfig
from civilwar.runs.manifest import MANIFEST, read_manifest, write_manifest
from civilwar.runs.reader import Run, check_name, check_same_config
from civilwar.runs.records import PART_SUMS, Records, read_parts
from civilwar.runs.schema import PROBE, WEIGHTS


class RunWriter:
    """The one process that may write a run. Use as a context manager; a second one gets RunBusy at once."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        check_name(path.name)
        self.path, self.config = path, config
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / ".lock")

    def __enter__(self) -> "RunWriter":
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RunBusy(
                f"{self.path} is being written by another process. Wait for it, or use another name."
            ) from error
        try:
            if (self.path / MANIFEST).is_file():
                check_same_config(Run(self.path).config, self.config, self.path)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def write_manifest(self, **changes: Any) -> None:
        """Update the manifest's entries; configuration and hash are always there."""
        entries = read_manifest(self.path) if (self.path / MANIFEST).is_file() else {}
        entries |= {
            "config": self.config.as_dict(),
            "config_hash": self.config.hash,
            "seed": self.config.seed,
            **changes,
        }
        write_manifest(self.path, entries)

    def write_part(self, step: int, records: Records) -> None:
        """Rows up to and including ``step``, in a folder of their own."""
        with atomic_path(self.path / "parts" / f"{step:06d}") as temporary:
            records.write(temporary)
            files = sorted(file for file in temporary.rglob("*") if file.is_file())
            write_json(temporary / PART_SUMS, {file.relative_to(temporary).as_posix(): sha256(file) for file in files})

    def discard_parts_after(self, step: int) -> None:
        """Forget parts that no checkpoint covers; a resumed run computes them again."""
        for folder in (self.path / "parts").glob("[0-9]*"):
            if int(folder.name) > step:
                shutil.rmtree(folder)

    def finish(self, **changes: Any) -> Run:
        """Join the parts into the final tables, list every file's checksum, and mark the run complete."""
        with atomic_path(self.path / ".joined") as temporary:
            read_parts(self.path).write(temporary)
        for name in ("tables", "arrays"):
            remove(self.path / name)
            os.replace(self.path / ".joined" / name, self.path / name)
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
        for name in ("parts", "checkpoints"):
            remove(self.path / name)
