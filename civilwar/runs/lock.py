"""Who writes a run: at most one process, which holds the lock in its folder for as long as it lives."""

from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
#: Seconds for which a writer waits: whoever only asks whether a run is being written holds the lock for a moment.
PATIENCE = 0.5


def lock_of(run: Path) -> FileLock:
    """The lock of a run's folder. A process that is killed lets go of it."""
    return FileLock(run / LOCK)


def is_written(run: Path) -> bool:
    """Whether a process writes the run at this moment. False on a disk that lets nobody write."""
    if not (run / LOCK).is_file():
        return False
    try:
        with lock_of(run).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
