"""Copy a finished run to ``data/``: whole, light, or slim enough that dozens fit into a repository. Never the weights.

A light recording thins only the energies, a third of a deep run's bytes; a slim one keeps every number that a verdict needs
and thins the rest. `civilwar.runs.schema` says of each table and array what they keep, and the manifest what was left out.
Training the same configuration gives it back.
"""

import shutil
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from civilwar import paths
from civilwar.errors import RunError
from civilwar.files import atomic_path, sha256
from civilwar.recipe.config import RunConfig
from civilwar.runs.columns import Group, Table, Thinning
from civilwar.runs.manifest import MANIFEST, read_manifest, write_manifest
from civilwar.runs.reader import Run, open_run
from civilwar.runs.records import Records
from civilwar.runs.schema import ARRAYS, PROBE, TABLES, WEIGHTS

Form = Literal["whole", "light", "slim"]


def record(name: str, form: Form = "whole") -> Path:
    """Copy a complete run's tables, arrays and manifest, but no weights, to ``data/``.

    Raises RunError where the run is incomplete, RunDamaged where a file of it was altered, or RunError where ``data/`` has
    another run of that name.
    """
    run = open_run(name)
    if not run.complete:
        raise RunError(f"run {name} is not complete: finish it with `civilwar train` before recording it.")
    # a damaged file must not get a new checksum that fits it
    run.verify()
    target = paths.recorded() / name
    if target.exists() and Run(target).config.hash != run.config.hash:
        raise RunError(f"{target} holds another run of that name: remove it first, or record under another name.")
    with atomic_path(target) as temporary:
        if form != "whole":
            thinned(run, form).write(temporary)
            shutil.copy2(run.path / PROBE, temporary)
        else:
            shutil.copytree(run.path, temporary, ignore=shutil.ignore_patterns(WEIGHTS, "checkpoints", "parts", ".*"))
        kept = [file for file in sorted(temporary.rglob("*")) if file.is_file() and file.name != MANIFEST]
        manifest = read_manifest(run.path)
        manifest["files"] = {file.relative_to(temporary).as_posix(): sha256(file) for file in kept}
        # what is already recorded may be slim: copying it whole brings nothing back
        left_out = manifest.get("left_out", {}) | LEFT_OUT[form]
        write_manifest(temporary, manifest | {"left_out": left_out})
    return target


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


def _rows(recorded: pd.DataFrame, kept: Thinning | None, table: Table, config: RunConfig) -> pd.DataFrame:
    if kept is None:
        return recorded
    stays = recorded["step"].isin(kept.kept(config))
    if not kept.always:
        return recorded[stays].reset_index(drop=True)
    others = [column for column in table.measured if column not in kept.always]
    return recorded.assign(**recorded[others].where(stays))


def _steps(group: dict[str, np.ndarray], kept: Thinning | None, config: RunConfig) -> dict[str, np.ndarray]:
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
