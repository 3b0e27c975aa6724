"""Where things lie. Standard library only; every other module asks here.

Two folders can be moved by environment variables, so that one checkout can serve several builds without them touching:

- ``CIVILWAR_RUNS``: runs that this machine trains (default ``runs/`` in the repository, ignored by git);
- ``CIVILWAR_CACHE``: tokenizers and token arrays, named by content hash (default ``runs/.cache``).

Recorded runs, those the published book is built from, always lie in ``data/``.
"""

import os
from pathlib import Path


def repository() -> Path:
    """The checkout this package was installed from, or the working directory when it was installed elsewhere."""
    source = Path(__file__).resolve().parents[1]
    return source if (source / "notebooks").is_dir() else Path.cwd()


def recorded() -> Path:
    """``data/``: recorded runs, committed, read-only."""
    return repository() / "data"


def runs() -> Path:
    """Where runs are written."""
    return _moved("CIVILWAR_RUNS") or repository() / "runs"


def cache() -> Path:
    """Where tokenizers and tokens are kept between runs."""
    return _moved("CIVILWAR_CACHE") or repository() / "runs" / ".cache"


def _moved(variable: str) -> Path | None:
    """The absolute folder that an environment variable names, ``~`` standing for the home folder; None where it is unset.

    Raises ValueError where it names none: the home of an unknown user, or links that lead in a circle.
    """
    written = os.environ.get(variable)
    if not written:
        return None
    try:
        return Path(written).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{variable}={written} names no folder ({error}). Correct it, or unset it.") from error
