"""Copy a finished run to ``data/``: whole, light, or slim enough that dozens fit into a repository. Never the weights.

A light recording thins only the energies, a third of a deep run's bytes; a slim one keeps every number a verdict needs and
thins the rest by the rules of `slim`. The manifest says what was left out. It can be had again: the same configuration gives
the same run.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from filelock import FileLock
from safetensors import SafetensorError

from civilwar import paths
from civilwar.errors import RunDamaged, RunError, RunNotWritten
from civilwar.files import atomic_path, recover, sha256
from civilwar.recipe.config import RunConfig
from civilwar.runs.entries import plain_file
from civilwar.runs.manifest import read_manifest, write_manifest
from civilwar.runs.reader import Run, open_run
from civilwar.runs.records import Records
from civilwar.runs.schema import ARRAYS, PROBE, TABLES, WEIGHTS

Form = Literal["whole", "light", "slim"]
RARELY = "steps that are neither snapshots nor multiples of 8"
#: What each form of recording leaves out, for its manifest.
LEFT_OUT: dict[Form, dict[str, str]] = {"whole": {}, "light": {"energy": RARELY}}
LEFT_OUT["slim"] = {
    "step_kv_heads": "columns other than norm_mean, but at the snapshots and every 8 steps",
    "step_query_heads": RARELY,
    "probe_sinks": "steps other than the report's four moments",
    "gain": RARELY,
    "energy": "steps that are neither the report's four moments nor multiples of 32",
    "patterns": "all",
}


def record(name: str, form: Form = "whole", replace: bool = False) -> Path:
    """Copy a complete run's tables, arrays and manifest, but no weights, to ``data/``.

    Only what the manifest lists is copied, and only plain files inside the run's folder. A second process that records the
    same run waits for the first.

    Args:
        name: of the run.
        form: how much of it.
        replace: let a form that holds less take the place of one that holds more.

    Raises RunError where the run is incomplete, where ``data/`` has another run of that name, or more of this one than
    ``form`` keeps; RunDamaged where a file of it was altered or is a link; RunNotWritten where the disk refused a file.
    """
    run = open_run(name)
    if not run.complete:
        raise RunError(f"run {name} is not complete: finish it with `civilwar train` before recording it.")
    target = paths.recorded() / name
    files = {relative: plain_file(run.path, relative) for relative in run.manifest["files"] if relative != WEIGHTS}
    # a damaged file must not get a new checksum that fits it
    run.verify()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{name}.lock")):
            # before it is looked at: a kill may have left the old recording aside
            recover(target)
            _check_replaceable(target, run, form, replace)
            _write(target, run, form, files)
    except (OSError, SafetensorError) as error:
        raise RunNotWritten(
            f"{target} could not be written: {error}. What was recorded before is whole: make room or mend the disk, then "
            "record again."
        ) from error
    return target


def _check_replaceable(target: Path, run: Run, form: Form, replace: bool) -> None:
    """Raise RunError where ``target`` has what a recording of ``run`` in that form should not replace."""
    if not target.exists():
        return
    recorded = Run(target)
    if recorded.config.hash != run.config.hash:
        raise RunError(f"{target} holds another run of that name: remove it first, or record under another name.")
    lost = sorted(_left_out(run, form).keys() - recorded.manifest.get("left_out", {}).keys())
    if lost and not replace:
        raise RunError(
            f"{target} holds more of this run than a {form} recording would keep ({', '.join(lost)}): it stays as it is. "
            "Record it in the form that it has, or add --replace to put less in its place."
        )


def _left_out(run: Run, form: Form) -> dict[str, str]:
    # what is already recorded may be slim: copying it whole brings nothing back
    return run.manifest.get("left_out", {}) | LEFT_OUT[form]


def _write(target: Path, run: Run, form: Form, files: Mapping[str, Path]) -> None:
    """Write the recording of ``run``, all of it or nothing."""
    with atomic_path(target) as temporary:
        if form == "whole":
            sums = {relative: _copy(file, temporary / relative) for relative, file in files.items()}
            changed = [relative for relative in sums if sums[relative] != run.manifest["files"][relative]]
            if changed:
                raise RunDamaged(f"{run.path / changed[0]} changed while it was copied. Record the run again.")
        else:
            (slim(run) if form == "slim" else light(run)).write(temporary)
            if PROBE in files:
                _copy(files[PROBE], temporary / PROBE)
            kept = [file for file in sorted(temporary.rglob("*")) if file.is_file()]
            sums = {file.relative_to(temporary).as_posix(): sha256(file) for file in kept}
        write_manifest(temporary, run.manifest | {"files": sums, "left_out": _left_out(run, form)})


def _copy(file: Path, target: Path) -> str:
    """Copy one file and return the checksum of the copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target, follow_symlinks=False)
    return sha256(target)


def light(run: Run) -> Records:
    """Tables and arrays of a run with energies at fewer steps."""
    arrays = {name: run.array(name) for name in ARRAYS}
    arrays["energy"] = _steps(arrays["energy"], often_kept(run.config))
    return Records({name: run.table(name) for name in TABLES}, arrays)


def slim(run: Run) -> Records:
    """Tables and arrays of a run without what `LEFT_OUT` names."""
    config = run.config
    tables = {name: run.table(name) for name in TABLES}
    arrays = {name: run.array(name) for name in ARRAYS if name != "patterns"}
    often, moments = often_kept(config), set(config.moments().values())
    seldom = moments | set(range(0, config.train.steps + 1, 32))

    heads = tables["step_kv_heads"]
    others = [column for column in heads if column not in ("step", "layer", "kv_head", "norm_mean")]
    tables["step_kv_heads"] = heads.assign(**heads[others].where(heads["step"].isin(often)))
    tables["step_query_heads"] = _rows(tables["step_query_heads"], often)
    tables["probe_sinks"] = _rows(tables["probe_sinks"], moments)
    arrays["gain"] = _steps(arrays["gain"], often)
    arrays["energy"] = _steps(arrays["energy"], seldom)
    return Records(tables, arrays)


def often_kept(config: RunConfig) -> set[int]:
    """Steps at which a slim recording keeps gains and all columns: snapshots and multiples of 8."""
    return {*config.snapshot_steps(), *range(0, config.train.steps + 1, 8)}


def _rows(table: pd.DataFrame, steps: set[int]) -> pd.DataFrame:
    return table[table["step"].isin(steps)].reset_index(drop=True)


def _steps(group: dict[str, np.ndarray], steps: set[int]) -> dict[str, np.ndarray]:
    kept = np.isin(group["step"], sorted(steps))
    return {name: array[kept] for name, array in group.items()}


def drop_weights(run: Run) -> None:
    """Delete a run's weights and take them off its manifest; all that was measured stays."""
    manifest = read_manifest(run.path)
    if manifest["files"].pop(WEIGHTS, None) is not None:
        # the manifest first: a kill in between leaves a file that nothing promises
        write_manifest(run.path, manifest)
    (run.path / WEIGHTS).unlink(missing_ok=True)
