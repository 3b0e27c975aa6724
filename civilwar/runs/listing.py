"""What lies where runs lie, folder by folder: those that can be read, and those that cannot, with the reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from civilwar import paths
from civilwar.errors import RunError
from civilwar.files import is_temporary
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import NAMED, Run, is_name


@dataclass(frozen=True)
class Listed:
    """One folder with a manifest."""

    path: Path
    status: str
    """As the manifest has it; ``unreadable``, or ``unfinished`` for a folder that a process writes or was killed over."""
    problem: str = ""
    """One sentence where it cannot be opened as a run."""


def list_folders() -> Iterator[Listed]:
    """Every folder with a manifest, this machine's first, each by name."""
    for root in dict.fromkeys((paths.runs(), paths.recorded())):
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if (folder / MANIFEST).is_file() or (folder / MANIFEST).is_symlink():
                yield _listed(folder)


def _listed(folder: Path) -> Listed:
    if is_temporary(folder.name):
        return Listed(
            folder,
            "unfinished",
            "being written, or left by a killed process: recording it again clears it away.",
        )
    if not is_name(folder.name):
        return Listed(folder, "unreadable", f"its name cannot be a run's: rename the folder to {NAMED}.")
    try:
        return Listed(folder, Run(folder).manifest["status"])
    except (RunError, OSError) as error:
        return Listed(folder, "unreadable", str(error))
