"""Copy a finished run to ``data/`` or elsewhere: whole, light, or so slim that dozens fit into a repository. Never weights.

A light recording thins only the energies, a third of a deep run's bytes; a slim one keeps every number that a verdict needs
and thins the rest. `civilwar.runs.schema` says of each table and array what they keep, and the manifest what was left out.
Training the same configuration gives it back.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from filelock import FileLock
from safetensors import SafetensorError

from civilwar import paths
from civilwar.errors import RunDamaged, RunError, RunNotWritten
from civilwar.files import atomic_path, recover, sha256
from civilwar.recipe.watched import AnyConfig
from civilwar.runs.columns import Group, Table, Thinning
from civilwar.runs.manifest import read_manifest, write_manifest
from civilwar.runs.reader import Run, check_one_text, open_run
from civilwar.runs.records import Records
from civilwar.runs.schema import ARRAYS, PROBE, TABLES, WEIGHTS
from civilwar.runs.trust import plain_file

Form = Literal["whole", "light", "slim"]


def record(name: str, form: Form = "whole", replace: bool = False, root: Path | None = None) -> Path:
    """Copy a complete run's tables, arrays and manifest, but no weights, to ``data/`` or to another folder of recordings.

    Only what the manifest lists is copied, and only plain files inside the run's folder. A second process that records the
    same run waits for the first.

    Args:
        name: of the run.
        form: how much of it.
        replace: let a form that holds less take the place of one that holds more.
        root: where the recording goes, in a folder of the run's name; by default ``data/``, of which the book is made.

    Raises RunError where the run is incomplete, where ``root`` has another run of that name, or more of this one than
    ``form`` keeps; RunMismatch where it has this run of another text; RunDamaged where a file of it was altered or is a link;
    RunNotWritten where the disk refused a file.
    """
    run = open_run(name)
    if not run.complete:
        raise RunError(f"run {name} is not complete: finish it with `civilwar train` before recording it.")
    target = (paths.recorded() if root is None else root) / name
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
    check_one_text([recorded, run])
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
            thinned(run, form).write(temporary)
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


def thinning(form: Form, entry: Table | Group) -> Thinning | None:
    """What a form of recording keeps of a table or of a group of arrays; None where it keeps all."""
    return {"whole": None, "light": entry.light, "slim": entry.slim}[form]


#: What each form of recording leaves out, for its manifest.
LEFT_OUT: dict[Form, dict[str, str]] = {
    form: {
        name: kept.left_out for name, entry in (TABLES | ARRAYS).items() if (kept := thinning(form, entry)) is not None
    }
    for form in get_args(Form)
}


def thinned(run: Run, form: Form) -> Records:
    """Tables and arrays of a run without what `LEFT_OUT` names. What the run itself lacks is lacking here too."""
    tables, arrays = {}, {}
    for name, table in TABLES.items():
        if f"tables/{name}.parquet" in run.manifest["files"]:
            tables[name] = _rows(run.table(name), thinning(form, table), table, run.config)
    for name, group in ARRAYS.items():
        kept = thinning(form, group)
        if f"arrays/{name}.safetensors" in run.manifest["files"] and (kept is None or kept.kept(run.config)):
            arrays[name] = _steps(run.array(name), kept, run.config)
    return Records(tables, arrays)


def _rows(recorded: pd.DataFrame, kept: Thinning | None, table: Table, config: AnyConfig) -> pd.DataFrame:
    if kept is None:
        return recorded
    stays = recorded["step"].isin(kept.kept(config))
    if not kept.always:
        return recorded[stays].reset_index(drop=True)
    others = [column for column in table.measured if column not in kept.always]
    return recorded.assign(**recorded[others].where(stays))


def _steps(group: dict[str, np.ndarray], kept: Thinning | None, config: AnyConfig) -> dict[str, np.ndarray]:
    if kept is None:
        return group
    stays = np.isin(group["step"], sorted(kept.kept(config)))
    return {name: array[stays] for name, array in group.items()}


def drop_weights(run: Run) -> None:
    """Delete a run's weights and take them off its manifest; all that was measured stays."""
    manifest = read_manifest(run.path)
    if manifest["files"].pop(WEIGHTS, None) is not None:
        # the manifest first: a kill in between leaves a file that nothing promises
        write_manifest(run.path, manifest)
    (run.path / WEIGHTS).unlink(missing_ok=True)
