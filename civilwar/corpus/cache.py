"""Folders that are made once, kept, and checked each time they are opened.

An entry is a folder of files beside an ``entry.json`` with their SHA-256. It is built in a temporary folder and renamed
into place, under a lock, so neither a kill nor a second process can leave half of one. An entry that has changed on disk
since is refused: what could be made again at once is also the first sign of a disk that loses more.
"""

import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from civilwar.files import atomic_path, sha256

ENTRY = "entry.json"


class CacheDamaged(ValueError):
    """A cached folder is not as it was left."""


def open_entry(folder: Path, build: Callable[[Path], None]) -> Path:
    """``folder``, first made by ``build(empty_folder)`` when it is missing.

    Waits while another process makes the same one. Raises CacheDamaged; what ``build`` raises passes through, and nothing
    is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            damage = _damage(folder)
            if damage is None:
                return folder
            raise CacheDamaged(
                f"cache entry {folder} is damaged ({damage}). Remove that folder, and the same command makes it again."
            )
        with atomic_path(folder) as unfinished:
            unfinished.mkdir()
            build(unfinished)
            sums = {file.name: sha256(file) for file in sorted(unfinished.iterdir())}
            (unfinished / ENTRY).write_text(json.dumps({"files": sums}, indent=1), encoding="utf-8")
    return folder


def _damage(folder: Path) -> str | None:
    """What is wrong with an entry, or None."""
    try:
        sums = json.loads((folder / ENTRY).read_text(encoding="utf-8"))["files"]
        for name, expected in sums.items():
            if sha256(folder / name) != expected:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None
