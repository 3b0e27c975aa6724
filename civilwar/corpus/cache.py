"""Folders that are made once, kept, and checked each time they are opened.

An entry is a folder of files beside an ``entry.json`` with their SHA-256. It is built in a temporary folder and renamed
into place, under a lock, so neither a kill nor a second process can leave half of one. An entry that has changed on disk
since is refused: what could be made again at once is also the first sign of a disk that loses more.
"""

import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from civilwar.files import atomic_path, sha256

ENTRY = "entry.json"


class CacheDamaged(ValueError):
    """A cached folder is not as it was left."""


class CacheNotWritten(ValueError):
    """The disk refused a cached folder; nothing of it is left."""


def open_entry(folder: Path, build: Callable[[Path], None]) -> Path:
    """``folder``, first made by ``build(empty_folder)`` when it is missing.

    Waits while another process makes the same one. One that is there is only read, so that its disk need not be writable.
    Raises CacheDamaged or CacheNotWritten; what else ``build`` raises passes through, and nothing is left behind.
    """
    if not folder.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f".{folder.name}.lock")):
                # another process may have made it meanwhile
                if not folder.exists():
                    _make(folder, build)
        except (OSError, SafetensorError) as error:
            raise CacheNotWritten(
                f"cache entry {folder} could not be written: {error}. Make room or mend the disk, or let CIVILWAR_CACHE "
                "name a folder elsewhere; the same command then makes it again."
            ) from error
    damage = _damage(folder)
    if damage is not None:
        raise CacheDamaged(
            f"cache entry {folder} is damaged ({damage}). Remove that folder, and the same command makes it again."
        )
    return folder


def _make(folder: Path, build: Callable[[Path], None]) -> None:
    with atomic_path(folder) as unfinished:
        unfinished.mkdir()
        build(unfinished)
        sums = {file.name: sha256(file) for file in sorted(unfinished.iterdir())}
        (unfinished / ENTRY).write_text(json.dumps({"files": sums}, indent=1), encoding="utf-8")


def _damage(folder: Path) -> str | None:
    """What is wrong with an entry, or None."""
    try:
        sums = json.loads((folder / ENTRY).read_text(encoding="utf-8"))["files"]
        for name, expected in sums.items():
            if sha256(folder / name) != expected:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None
