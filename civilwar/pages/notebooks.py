"""Copies of the phase notebooks to work in: Jupyter saves what it executes into the file that is open."""

import shutil
from pathlib import Path

from civilwar import paths
from civilwar.files import atomic_path, read_json, sha256, write_json
from civilwar.pages.publish import phase_notebooks

#: Checksums of the notebooks that were copied, as they were.
COPIED = ".copied.json"


def copies() -> tuple[Path, list[str]]:
    """The folder of copies, below ``build/``, brought up to date; and the names of those that a reader has changed.

    A copy that is as it was copied follows its source. One that was changed, by executing it or by hand, stays.
    """
    folder = paths.built() / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    before = read_json(folder / COPIED) if (folder / COPIED).is_file() else {}
    changed, copied = [], {}
    for source in phase_notebooks():
        target = folder / source.name
        if target.exists() and sha256(target) != before.get(source.name):
            changed.append(source.name)
            continue
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        copied[source.name] = sha256(target)
    write_json(folder / COPIED, {**before, **copied})
    return folder, changed
