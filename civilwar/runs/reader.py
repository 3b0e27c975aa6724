"""A run is a folder: a manifest, tidy tables, arrays. Nothing recorded in it is ever half-written.

While a run trains, its rows go out in *parts*, one folder per checkpoint, each renamed into place when whole. A
checkpoint is only written after its part; so whatever is on disk up to the last checkpoint is complete, and a resumed
run throws away at most a part that it is about to compute again. At the end the parts become ``tables/`` and
``arrays/``, and the manifest lists the checksum of every file.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from civilwar import paths
from civilwar.config import ConfigError, RunConfig
from civilwar.errors import RunBusy, RunDamaged, RunError, RunMismatch, RunNotFound
from civilwar.files import atomic_path, read_json, remove, sha256, write_json
from civilwar.manifest import MANIFEST, read_manifest, write_manifest

TABLES = (
    "train",
    "step_layers",
    "step_kv_heads",
    "step_query_heads",
    "probe_kv_heads",
    "probe_query_heads",
    "probe_sinks",
    "probe_induction",
    "probe_loss",
    # of the trained model, which is not recorded itself
    "capacity",
    "ablation",
    "shuffled_query_heads",
    "key_energy",
    "head_content",
)
ARRAYS = ("gain", "energy", "patterns")
PROBE, WEIGHTS = "probe.json", "weights.safetensors"


#: In the folder of each part of an unfinished run: its files' checksums.
PART_SUMS = "checksums.json"


@dataclass
class Records:
    """Rows and arrays of one stretch of steps, as the tracker hands them over."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """One parquet file per table and one safetensors file per group of arrays."""
        (folder / "tables").mkdir(parents=True)
        (folder / "arrays").mkdir()
        for name, table in self.tables.items():
            write_table(table, folder / "tables" / f"{name}.parquet")
        for name, group in self.arrays.items():
            save_file(
                {key: np.ascontiguousarray(value) for key, value in group.items()},
                folder / "arrays" / f"{name}.safetensors",
            )

    @classmethod
    def read(cls, folder: Path) -> "Records":
        """Inverse of `write`."""
        return cls(
            tables={file.stem: read_table(file) for file in sorted((folder / "tables").glob("*.parquet"))},
            arrays={file.stem: read_arrays(file) for file in sorted((folder / "arrays").glob("*.safetensors"))},
        )

    @classmethod
    def concatenate(cls, parts: list["Records"]) -> "Records":
        """Stretches in order, joined along steps. A table or array that a stretch lacks adds nothing."""
        tables = {
            name: pd.concat([p.tables[name] for p in parts if name in p.tables], ignore_index=True)
            for name in dict.fromkeys(name for p in parts for name in p.tables)
        }
        arrays = {
            name: {
                key: np.concatenate([p.arrays[name][key] for p in parts if name in p.arrays])
                for key in next(p.arrays[name] for p in parts if name in p.arrays)
            }
            for name in dict.fromkeys(name for p in parts for name in p.arrays)
        }
        return cls(tables, arrays)


def write_table(table: pd.DataFrame, file: Path) -> None:
    """A table as parquet. Floats have their bytes sorted by place first, which compresses to about 60% of the size."""
    floats = [str(column) for column in table if pd.api.types.is_float_dtype(table[column])]
    table.to_parquet(
        file,
        index=False,
        compression="zstd",
        use_byte_stream_split=floats,
        use_dictionary=[str(column) for column in table if str(column) not in floats],
    )


def read_table(file: Path) -> pd.DataFrame:
    """One parquet table. Raises RunDamaged where it cannot be read."""
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise RunDamaged(f"{file} is not a whole parquet file ({error}). {_REMEDY}") from error


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """One group of arrays. Raises RunDamaged where it cannot be read."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunDamaged(f"{file} is not a whole safetensors file ({error}). {_REMEDY}") from error


def read_parts(run: Path) -> Records:
    """What an unfinished run has recorded so far. Raises RunDamaged where a file differs from the checksum beside it."""
    folders = sorted((run / "parts").glob("[0-9]*"))
    for folder in folders:
        # parts written before there were checksums have none
        sums = read_json(folder / PART_SUMS) if (folder / PART_SUMS).is_file() else {}
        for relative, expected in sums.items():
            file = folder / relative
            if not file.is_file() or sha256(file) != expected:
                raise RunDamaged(f"{file} is missing, was cut short or altered: see {PART_SUMS} there. {_REMEDY}")
    return Records.concatenate([Records.read(folder) for folder in folders])


_REMEDY = "Restore it from a copy, or remove the run's folder and train it again."


class Run:
    """A run on disk, for reading. Files are checked against the manifest's checksums when first read."""

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        if not (path / MANIFEST).is_file():
            raise RunNotFound(f"{path} is no run: it has no {MANIFEST}.")
        self.manifest = read_manifest(path)
        try:
            self.config = RunConfig.from_dict(self.manifest["config"])
        except (KeyError, ConfigError) as error:
            raise RunDamaged(
                f"{path / MANIFEST} was written by another version of civilwar ({error}). Read it with that version "
                f"(commit {self.manifest.get('commit')}), or train the run again under a new name."
            ) from error
        self._cache: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {self.manifest.get('status')}, config {self.config.hash})"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def complete(self) -> bool:
        """Whether training reached its last step."""
        return bool(self.manifest.get("status") == "complete")

    @property
    def last_step(self) -> int:
        """The last step that was recorded."""
        return int(self.table("train")["step"].max())

    def table(self, name: str) -> pd.DataFrame:
        """A tidy table by name (see ``TABLES``). A run that is not complete gives the rows recorded so far."""
        if name not in TABLES:
            raise RunError(f"no table {name!r}: expected one of {', '.join(TABLES)}.")
        table: pd.DataFrame = self._read(f"tables/{name}.parquet", lambda records: records.tables.get(name), read_table)
        return table.copy()

    def array(self, name: str) -> dict[str, np.ndarray]:
        """A group of arrays by name (see ``ARRAYS``), each with its ``step`` axis first."""
        if name not in ARRAYS:
            raise RunError(f"no array {name!r}: expected one of {', '.join(ARRAYS)}.")
        group: dict[str, np.ndarray] = self._read(
            f"arrays/{name}.safetensors", lambda records: records.arrays.get(name), read_arrays
        )
        return dict(group)

    @cached_property
    def probe(self) -> dict[str, Any]:
        """Tokens of the probe texts as strings, which of them are separators, and the uniform-attention baselines."""
        self._verify(PROBE)
        return read_json(self.path / PROBE)

    def verify(self) -> None:
        """Raise RunDamaged unless every file in the manifest, bar the weights, fits its checksum."""
        for relative in self.manifest.get("files", {}):
            if relative != WEIGHTS:
                self._verify(relative)

    def _read(self, relative: str, from_parts: Any, read: Any) -> Any:
        if relative not in self._cache:
            if self.complete and relative in self.manifest["files"]:
                self._verify(relative)
                self._cache[relative] = read(self.path / relative)
            elif self.complete:
                left_out = self.manifest.get("left_out", {}).get(Path(relative).stem)
                why = f"it was recorded without ({left_out})" if left_out else "it was trained by an earlier version"
                raise RunError(f"run {self.name} has no {relative}: {why}. Train it again to have it.")
            else:
                self._cache[relative] = from_parts(self._parts)
        if self._cache[relative] is None:
            raise RunError(f"run {self.name} has no {relative} yet: it stopped before its first checkpoint. Resume it.")
        return self._cache[relative]

    @cached_property
    def _parts(self) -> Records:
        return read_parts(self.path)

    def _verify(self, relative: str) -> None:
        expected = self.manifest.get("files", {}).get(relative)
        file = self.path / relative
        if not file.is_file():
            raise RunDamaged(f"{file} is missing. {_REMEDY}")
        if expected is not None and sha256(file) != expected:
            raise RunDamaged(f"{file} differs from the checksum in {MANIFEST}: it was cut short or altered. {_REMEDY}")


def rows_of(recorded: np.ndarray, steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where ``steps`` stand on a recorded ``step`` axis. Raises RunError for one that was not recorded."""
    at = np.searchsorted(recorded, steps)
    good = (at < len(recorded)) & (recorded[np.minimum(at, len(recorded) - 1)] == steps)
    if not np.all(good):
        missing = np.asarray(steps)[~good].tolist()
        raise RunError(
            f"steps {missing} are not recorded there: this run was recorded slim, or stopped before. Ask for recorded "
            "steps, or train the run again."
        )
    return at


def find_run(name: str) -> Path | None:
    """The folder of a run by name: this machine's runs first, then the recorded ones. None where neither has it."""
    check_name(name)
    for root in (paths.runs(), paths.recorded()):
        if (root / name / MANIFEST).is_file():
            return root / name
    return None


def list_runs() -> list[str]:
    """Names of all runs that can be opened, recorded ones included."""
    roots = (paths.runs(), paths.recorded())
    return sorted({file.parent.name for root in roots for file in root.glob(f"*/{MANIFEST}")})


def open_run(name: str) -> Run:
    """Open a run by name. Raises RunNotFound naming those that exist."""
    path = find_run(name)
    if path is None:
        raise RunNotFound(
            f"no run {name!r}. There are: {', '.join(list_runs()) or 'none yet'}. Train it with `civilwar train`."
        )
    return Run(path)


def check_name(name: str) -> str:
    """``name`` if a run can be called that. Raises RunError otherwise."""
    if not name or name in (".", "..") or any(c in name for c in "/\\\0") or name.startswith("."):
        raise RunError(f"{name!r} cannot name a run: use letters, digits, dots, dashes and underscores.")
    return name


def check_same_config(stored: RunConfig, wanted: RunConfig, where: Path) -> None:
    """Raise RunMismatch, naming the fields that differ, unless the two configurations are equal."""
    if stored.hash == wanted.hash:
        return
    old, new = _flatten(stored.as_dict()), _flatten(wanted.as_dict())
    differences = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} asked for"
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
    ]
    raise RunMismatch(
        f"{where} holds a run of another configuration ({'; '.join(differences)}). "
        "Ask for that configuration, or give the new run another name."
    )


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


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
