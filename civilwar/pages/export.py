"""A complete run, copied out for somebody else: its files as they are, or its tables for a spreadsheet."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from civilwar.errors import RunDamaged, RunError, RunNotWritten
from civilwar.files import atomic_path, json_text, sha256
from civilwar.pages.spreadsheet import csv_text
from civilwar.runs.manifest import MANIFEST, signed
from civilwar.runs.reader import Run
from civilwar.runs.schema import WEIGHTS
from civilwar.runs.trust import plain_file

#: Of every file in a zip, so that the same run gives the same bytes: the first that the format can hold.
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def export(run: Run, target: Path, weights: bool = False, as_csv: bool = False) -> Path:
    """Copy a complete run to ``target``, a folder or a file that ends in ``.zip``; all of it or nothing.

    Args:
        run: what to copy. Each file is checked against the manifest; only plain files that it lists are copied.
        target: where to; not there yet.
        weights: with the trained weights.
        as_csv: only the tables, as CSV that computes nothing.

    Raises RunError for an unfinished run, one without the weights asked for, or a ``target`` that is there; RunDamaged;
    RunNotWritten where the disk refuses.
    """
    if not run.complete:
        raise RunError(f"{run.path} is not complete: finish it with `civilwar resume {run.name}` before exporting it.")
    if target.exists():
        raise RunError(f"{target} is there already, and is not overwritten: name another, or remove it.")
    if weights:
        run.weights_file()
    run.verify(weights=weights)
    pieces = _tables(run) if as_csv else _files(run, weights)
    try:
        with atomic_path(target) as temporary:
            if target.suffix == ".zip":
                _zip(pieces, temporary, target.stem)
            else:
                _folder(pieces, temporary)
    except OSError as error:
        raise RunNotWritten(
            f"{target} could not be written ({error.strerror or error}). Make room or mend the disk, then export again."
        ) from error
    return target


def _files(run: Run, weights: bool) -> Iterator[tuple[str, Path | str]]:
    """The manifest, of what is copied, and then each file that it lists, by their paths in the run."""
    kept = {name: total for name, total in run.manifest["files"].items() if weights or name != WEIGHTS}
    yield MANIFEST, json_text(signed(run.manifest | {"files": kept}))
    for name, total in kept.items():
        file = plain_file(run.path, name)
        yield name, file
        if sha256(file) != total:
            raise RunDamaged(f"{file} changed while it was copied. Export the run again.")


def _tables(run: Run) -> Iterator[tuple[str, Path | str]]:
    for name in run.manifest["files"]:
        if name.startswith("tables/"):
            table = Path(name).stem
            yield f"{table}.csv", csv_text(run.table(table))


def _folder(pieces: Iterator[tuple[str, Path | str]], folder: Path) -> None:
    for name, content in pieces:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.read_bytes() if isinstance(content, Path) else content.encode())


def _zip(pieces: Iterator[tuple[str, Path | str]], file: Path, top: str) -> None:
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in pieces:
            entry = zipfile.ZipInfo(f"{top}/{name}", LONG_AGO)
            # tables and arrays are compressed already, or nearly as dense
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, content.read_bytes() if isinstance(content, Path) else content)
