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
    moved = os.environ.get("CIVILWAR_RUNS")
    return Path(moved).resolve() if moved else repository() / "runs"


def cache() -> Path:
    """Where tokenizers and tokens are kept between runs."""
    moved = os.environ.get("CIVILWAR_CACHE")
    return Path(moved).resolve() if moved else repository() / "runs" / ".cache"
