"""Delete a run: out of sight at once, so that a kill leaves no half of one that could be taken for a run."""

from pathlib import Path

from filelock import Timeout

from civilwar import paths
from civilwar.errors import RunBusy, RunError, RunNotWritten
from civilwar.files import discard
from civilwar.runs.lock import PATIENCE, lock_of
from civilwar.runs.manifest import MANIFEST


def delete(run: Path, published: bool = False) -> None:
    """Delete a run's folder.

    Args:
        run: its folder.
        published: whether it may be one of the recorded runs, which the published book is made of.

    Raises RunError for what is no run, or a recorded one unless ``published``; RunBusy where a process writes it;
    RunNotWritten where the disk refuses.
    """
    if not (run / MANIFEST).exists() and not (run / MANIFEST).is_symlink():
        raise RunError(f"{run} is no run: it has no {MANIFEST}, so it stays. Delete it by hand if you mean to.")
    if run.resolve().parent == paths.recorded().resolve() and not published:
        raise RunError(f"{run} is a recorded run, of which the published book is made: add --publish to delete it.")
    try:
        with lock_of(run).acquire(timeout=PATIENCE):
            discard(run)
    except Timeout as error:
        raise RunBusy(f"{run} is being written by another process. Stop that first.") from error
    except OSError as error:
        raise RunNotWritten(
            f"{run} could not be deleted ({error.strerror or error}). Mend the disk or its permissions, and try again."
        ) from error
