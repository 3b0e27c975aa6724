"""Where things lie. Standard library only; every other module asks here.

Folders that environment variables move, so that one checkout can serve several builds without them touching:

- ``CIVILWAR_RUNS``: runs that this machine trains (default ``runs/`` in the repository, ignored by git);
- ``CIVILWAR_CACHE``: tokenizers and token arrays, named by content hash (default ``runs/.cache``);
- ``CIVILWAR_DATA``: recorded runs, those the published book is built from (default ``data/``).

Where the package was installed without a checkout, from a wheel, the working directory stands in for the repository, and
notebooks and the book's pages are read from the package.
"""

import os
from pathlib import Path

#: What a wheel has of a checkout's folders, inside the package.
CARRIED = Path(__file__).resolve().parent / "carried"


def checkout() -> Path | None:
    """The checkout this package runs from; None where it was installed elsewhere."""
    source = Path(__file__).resolve().parents[1]
    return source if (source / "notebooks").is_dir() and (source / "pyproject.toml").is_file() else None


def repository() -> Path:
    """The checkout this package runs from, or the working directory when it was installed elsewhere."""
    return checkout() or Path.cwd()


def sources() -> Path:
    """The folder that has ``notebooks/``, ``book/`` and ``_config.yml``: the checkout, or what the wheel carried."""
    return checkout() or CARRIED


def recorded() -> Path:
    """``data/``: recorded runs, committed, read-only."""
    return _moved("CIVILWAR_DATA") or repository() / "data"


def measured() -> Path:
    """What ``benchmarks/`` wrote: beside the recorded runs, or as the wheel carried it."""
    here = recorded() / "benchmarks"
    return here if here.is_dir() else sources() / "data" / "benchmarks"


def built() -> Path:
    """``build/``: what commands make for a reader, ignored by git."""
    return repository() / "build"


def reproduced() -> Path:
    """Where ``civilwar reproduce`` keeps its runs."""
    return built() / "runs"


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
