"""What lies where runs lie, folder by folder: those that can be read, and those that cannot, with the reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from civilwar import paths
from civilwar.errors import RunError, RunNotFound
from civilwar.files import is_temporary
from civilwar.recipe.watched import AnyConfig
from civilwar.runs.glance import Glance, glance
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import NAMED, Run, check_name, is_name


@dataclass(frozen=True)
class Listed:
    """One folder with a manifest."""

    path: Path
    status: str
    """As `civilwar.runs.glance` has it; ``unreadable``, or ``unfinished`` for a folder that a process writes or was killed
    over."""
    problem: str = ""
    """One sentence where it cannot be opened as a run."""
    config: AnyConfig | None = None
    glance: Glance | None = None


def roots() -> tuple[Path, ...]:
    """Folders of runs, this machine's first: those trained, those of ``civilwar reproduce``, those recorded."""
    return tuple(dict.fromkeys((paths.runs(), paths.reproduced(), paths.recorded())))


def list_folders() -> Iterator[Listed]:
    """Every folder with a manifest, root by root, each by name."""
    for root in roots():
        try:
            folders = sorted(root.iterdir()) if root.is_dir() else []
        except OSError as error:
            yield Listed(root, "unreadable", f"{root} cannot be looked into ({error.strerror}). Mend its permissions.")
            continue
        for folder in folders:
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
        run = Run(folder)
        seen = glance(run)
    # whatever is wrong with one must not hide the others: tables and manifests come from anywhere
    except (RunError, OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        return Listed(folder, "unreadable", str(error))
    return Listed(folder, seen.status, config=run.stored_config, glance=seen)


def folders_of(name: str) -> list[Path]:
    """Every folder of runs that has one of that name, or the one folder that ``name`` is the path of.

    Raises RunNotFound where there is none, saying what to do.
    """
    if "/" in name:
        if not (Path(name) / MANIFEST).is_file():
            raise RunNotFound(f"{name} is no run: it has no {MANIFEST}. `civilwar list` shows the runs there are.")
        return [Path(name).resolve()]
    check_name(name)
    found = [root / name for root in roots() if (root / name / MANIFEST).is_file()]
    if not found:
        looked = ", ".join(str(root) for root in roots())
        raise RunNotFound(f"no run {name!r} in {looked}. `civilwar list` shows the runs there are.")
    return found


def one_folder(name: str) -> Path:
    """The run of that name, or at that path. Raises RunError where several folders have one of that name."""
    found = folders_of(name)
    if len(found) > 1:
        raise RunError(
            f"there are {len(found)} runs of that name: name one by its path, {' or '.join(map(str, found))}."
        )
    return found[0]
