"""A run is a folder: a manifest, tidy tables, arrays. Nothing recorded in it is ever half-written.

While a run trains, its rows go out in *parts*, one folder per checkpoint, each renamed into place when whole. A
checkpoint is only written after its part; so whatever is on disk up to the last checkpoint is complete, and a resumed
run throws away at most a part that it is about to compute again. At the end the parts become ``tables/`` and
``arrays/``, and the manifest lists the checksum of every file.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from civilwar import paths
from civilwar.errors import RunDamaged, RunError, RunLacks, RunMismatch, RunNotFound
from civilwar.files import read_json, sha256
from civilwar.recipe.config import ConfigError, RunConfig
from civilwar.recipe.watched import AnyConfig, WatchedConfig, read_config
from civilwar.runs import conform, exports
from civilwar.runs.manifest import MANIFEST, read_manifest, sittings
from civilwar.runs.parts import PARTS, read_parts
from civilwar.runs.records import REMEDY, Records, read_arrays, read_table
from civilwar.runs.schema import ARRAYS, PROBE, TABLES, WEIGHTS
from civilwar.runs.trust import plain_file

if TYPE_CHECKING:
    import xarray

#: How often a reader looks again where parts changed under its eyes.
ATTEMPTS = 5
_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]*")
#: Characters of a run's name. File systems take 255 bytes, of which names of temporary files need some.
LONGEST_NAME = 200
#: What `is_name` asks for, in words.
NAMED = (
    f"at most {LONGEST_NAME} letters (a to z, A to Z), digits, dots, dashes and underscores, the first of them neither a dot "
    "nor a dash"
)


class Run:
    """A run on disk, for reading. Files are checked against the manifest's checksums when first read."""

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        if not (path / MANIFEST).is_file():
            raise RunNotFound(f"{path} is no run: it has no {MANIFEST}.")
        self.manifest = read_manifest(path)
        try:
            self._config = read_config(self.manifest["config"])
        except (KeyError, ConfigError) as error:
            raise RunDamaged(
                f"{path / MANIFEST} was written by another version of civilwar ({error}). Read it with that version "
                f"(commit {self.manifest.get('commit')}), or train the run again under a new name."
            ) from error
        if self.complete and not isinstance(self.manifest["files"], dict):
            raise RunDamaged(f"{path / MANIFEST} lists no files. {REMEDY}")
        self._cache: dict[str, Any] = {}
        self._parts: Records | None = None

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {self.manifest.get('status')}, config {self._config.hash})"

    @property
    def config(self) -> AnyConfig:
        """What was trained and recorded; of a run that was only watched, what is known of it, up to its last step."""
        if not isinstance(self._config, WatchedConfig):
            return self._config
        if "config" not in self._cache:
            self._cache["config"] = self._config.at(self.last_step, tuple(self.snapshots))
        known: AnyConfig = self._cache["config"]
        return known

    @property
    def recipe(self) -> RunConfig:
        """The configuration of a run that this package trained. Raises RunLacks where training was only watched."""
        if isinstance(self._config, WatchedConfig):
            raise RunLacks(f"{self.path} was watched and not trained here: ask for what needs no recipe of ours.")
        return self._config

    @property
    def stored_config(self) -> AnyConfig:
        """The configuration as the manifest has it, of a run of which nothing need be recorded yet."""
        return self._config

    @property
    def watched(self) -> bool:
        """Whether somebody else's training was watched, of which only what was heard is known."""
        return isinstance(self._config, WatchedConfig)

    def refresh(self) -> "Run":
        """Forget what was read, so that a run in progress shows what it has recorded since. Returns the run itself."""
        self.manifest = read_manifest(self.path)
        self._cache, self._parts = {}, None
        self.__dict__.pop("probe", None)
        return self

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def complete(self) -> bool:
        """Whether training reached its last step."""
        return bool(self.manifest["status"] == "complete")

    @property
    def text_checksum(self) -> str | None:
        """Checksum of the text it was trained on; None for a run that is not known by it."""
        checksum = self.manifest.get("corpus", {}).get("checksum")
        return str(checksum) if checksum is not None else None

    @property
    def sittings(self) -> list[dict[str, Any]]:
        """The processes that trained it, in time order (`civilwar.runs.manifest.sittings`)."""
        return sittings(self.manifest)

    @property
    def last_step(self) -> int:
        """The last step that was recorded; of a watched run that still goes on, the last at which everything was.

        Raises RunError where nothing was recorded yet.
        """
        if self.watched and self.snapshots:
            return self.snapshots[-1]
        return self.last_recorded

    @property
    def last_recorded(self) -> int:
        """The last step of which there is a loss."""
        return int(self.table("train")["step"].max())

    @property
    def snapshots(self) -> list[int]:
        """Steps at which the probe was measured so far."""
        if isinstance(self._config, WatchedConfig):
            return [int(step) for step in sorted(self.table("probe_kv_heads")["step"].unique())] if self._probed else []
        last = self.last_recorded
        return [step for step in self._config.snapshot_steps() if step <= last]

    @property
    def first_snapshot(self) -> int:
        """The first step at which the probe was measured. Raises RunLacks where it never was."""
        snapshots = self.snapshots
        if not snapshots:
            raise RunLacks(f"{self.name} was watched without probe texts, so what rests on them is left out.")
        return snapshots[0]

    @property
    def _probed(self) -> bool:
        try:
            return len(self.table("probe_kv_heads")) > 0
        except RunLacks:
            return False

    def table(self, name: str) -> pd.DataFrame:
        """A tidy table by name (see ``TABLES``). A run that is not complete gives the rows recorded so far.

        Columns that the schema has gained since the run was recorded are undefined. Raises RunError for a name that the
        schema does not know, with a sentence about each that it does, or where the run has no such table.
        """
        if name not in TABLES:
            raise RunError(conform.known("table", name))
        table: pd.DataFrame = self._read(f"tables/{name}.parquet", lambda records: records.tables.get(name), read_table)
        return conform.completed(name, table.copy())

    def array(self, name: str) -> dict[str, np.ndarray]:
        """A group of arrays by name (see ``ARRAYS``), each with its ``step`` axis first."""
        if name not in ARRAYS:
            raise RunError(conform.known("array", name))
        group: dict[str, np.ndarray] = self._read(
            f"arrays/{name}.safetensors", lambda records: records.arrays.get(name), read_arrays
        )
        return dict(group)

    @cached_property
    def probe(self) -> dict[str, Any]:
        """Tokens of the probe texts as strings, which of them are separators, and the uniform-attention baselines."""
        self._verify(PROBE)
        return read_json(self.path / PROBE)

    def to_xarray(self) -> "xarray.Dataset":
        """Every table and array as one dataset of named axes (`civilwar.runs.exports.to_xarray`)."""
        return exports.to_xarray(self)

    def to_tensorboard(self, folder: Path | str) -> Path:
        """The loss, quantiles over heads, and alarms as TensorBoard's event files under ``folder``."""
        return exports.to_tensorboard(self, folder)

    def to_wandb(self, **options: Any) -> Any:
        """The same to Weights & Biases; ``options`` go to ``wandb.init``. Raises ModuleNotFoundError without wandb."""
        return exports.to_tracker(self, importlib.import_module("wandb"), **options)

    def to_trackio(self, project: str = "civilwar", **options: Any) -> Any:
        """The same to trackio; ``options`` go to ``trackio.init``. Raises ModuleNotFoundError without trackio."""
        return exports.to_tracker(self, importlib.import_module("trackio"), project=project, **options)

    def weights_file(self) -> Path:
        """The trained weights, a safetensors file, checked. Raises RunError where the run has none, or RunDamaged."""
        if not self.complete or WEIGHTS not in self.manifest["files"]:
            why = "only its tables were kept" if self.complete else "it is not complete"
            raise RunError(f"run {self.name} has no weights: {why}. Train it (again) to have them.")
        self._verify(WEIGHTS)
        return self.path / WEIGHTS

    def verify(self, weights: bool = False) -> None:
        """Raise RunDamaged unless every file in the manifest fits its checksum; the weights only where asked for."""
        for relative in self.manifest.get("files", {}):
            if weights or relative != WEIGHTS:
                self._verify(relative)

    def _read(self, relative: str, from_parts: Any, read: Any) -> Any:
        if relative not in self._cache:
            parts = None if self.complete else self._read_parts()
            if parts is not None:
                self._cache[relative] = from_parts(parts)
            elif relative in self.manifest["files"]:
                self._verify(relative)
                self._cache[relative] = read(self.path / relative)
            else:
                left_out = self.manifest.get("left_out", {}).get(Path(relative).stem)
                if not left_out and (self.watched or getattr(TABLES.get(Path(relative).stem), "watched", False)):
                    raise self._lacking(relative)
                why = f"it was recorded without ({left_out})" if left_out else "it was trained by an earlier version"
                raise RunError(f"run {self.name} has no {relative}: {why}. Train it again to have it.")
        if self._cache[relative] is None:
            if self.watched and self._parts is not None and self._parts.tables:
                raise self._lacking(relative)
            raise RunError(f"run {self.name} has no {relative} yet: it stopped before its first checkpoint. Resume it.")
        return self._cache[relative]

    def _lacking(self, relative: str) -> RunLacks:
        what = Path(relative).stem.replace("_", " ")
        if not self.watched:
            return RunLacks(f"run {self.name} has no {what}: only runs that were watched do.")
        return RunLacks(f"{self.name} was watched, and watching recorded no {what}: what rests on it is left out.")

    def _read_parts(self) -> Records | None:
        """What an unfinished run has recorded so far; None where its writer has finished it meanwhile."""
        for attempt in range(ATTEMPTS):
            before = self._part_names()
            try:
                self._parts = self._parts or (
                    read_parts(self.path, every_step=False) if self.watched else read_parts(self.path)
                )
            except (RunDamaged, FileNotFoundError):
                self.manifest = read_manifest(self.path)
                # the writer may have put parts there, or taken some away, in between: then it is no damage
                if not self.complete and (attempt == ATTEMPTS - 1 or self._part_names() == before):
                    raise
            else:
                self.manifest = read_manifest(self.path)
                if not self.complete:
                    return self._parts
            if self.complete:
                return None
        return None

    def _part_names(self) -> list[str]:
        folder = self.path / PARTS
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def _verify(self, relative: str) -> None:
        expected = self.manifest.get("files", {}).get(relative)
        file = plain_file(self.path, relative)
        if expected is not None and sha256(file) != expected:
            raise RunDamaged(f"{file} differs from the checksum in {MANIFEST}: it was cut short or altered. {REMEDY}")


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


def check_one_text(runs: Sequence[Run]) -> None:
    """Raise RunMismatch, naming two of them, unless all runs whose text is known by its checksum read the same."""
    known = [run for run in runs if run.text_checksum is not None]
    for run in known[1:]:
        if run.text_checksum != known[0].text_checksum:
            raise RunMismatch(
                f"{known[0].path} and {run.path} were trained on different texts ({known[0].text_checksum} and "
                f"{run.text_checksum}), so they are no runs of one plan. Remove one of them, or give it another name."
            )


def find_run(name: str) -> Path | None:
    """The folder of a run by name: this machine's runs first, then the recorded ones. None where neither has it."""
    check_name(name)
    for root in (paths.runs(), paths.recorded()):
        if (root / name / MANIFEST).is_file():
            return root / name
    return None


def list_runs() -> list[str]:
    """Names of all runs that can be asked for, recorded ones included. Which of them can be read, opening them tells."""
    roots = (paths.runs(), paths.recorded())
    names = {file.parent.name for root in roots for file in root.glob(f"*/{MANIFEST}")}
    return sorted(name for name in names if is_name(name))


def open_run(name: str) -> Run:
    """Open a run by name. Raises RunNotFound naming those that exist."""
    path = find_run(name)
    if path is None:
        raise RunNotFound(
            f"no run {name!r}. There are: {', '.join(list_runs()) or 'none yet'}. Train it with `civilwar train`."
        )
    return Run(path)


def is_name(name: str) -> bool:
    """Whether a run can be called that.

    Letters are those of ASCII: a name stands in addresses, in scripts, in file names and on terminals, and some of these
    write other letters in several ways, so that one name would have several spellings.
    """
    return isinstance(name, str) and len(name) <= LONGEST_NAME and re.fullmatch(_NAME, name) is not None


def check_name(name: str) -> str:
    """``name`` if a run can be called that (`is_name`). Raises RunError otherwise."""
    if not is_name(name):
        raise RunError(f"{name[: 2 * LONGEST_NAME]!r} cannot name a run: use {NAMED}.")
    return name


def check_same_config(stored: AnyConfig, wanted: AnyConfig, where: Path) -> None:
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
