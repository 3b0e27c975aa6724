"""Books that were built here: which one last, and whether it is still what its sources say."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from civilwar import paths
from civilwar.files import sha256

#: In a folder of built pages: the fingerprint of the sources they were made of.
MADE_OF = "made_of.sha256"
#: In the folder of a reader's own book: the fingerprint of the notebooks and pages that it was assembled from.
ASSEMBLED_OF = "assembled_of.sha256"
#: What Sphinx writes last: without it a build was broken off, and its pages are no book.
LAST_WRITTEN = "html/searchindex.js"


@dataclass(frozen=True)
class Book:
    """One built book."""

    folder: Path
    """Which has ``book/``, the sources, and ``_build/``."""

    @property
    def pages(self) -> Path:
        """The folder of the HTML pages."""
        return self.folder / "_build" / "html"

    @property
    def built(self) -> float:
        """When it was finished, in seconds since 1970."""
        return (self.folder / "_build" / LAST_WRITTEN).stat().st_mtime

    @property
    def published(self) -> bool:
        """Whether it is the book of the recorded runs, rather than a reader's own."""
        return self.folder == paths.repository()

    @property
    def stale(self) -> bool:
        """Whether its sources have changed since."""
        made, assembled = self.folder / "_build" / MADE_OF, self.folder / ASSEMBLED_OF
        if made.is_file():
            changed = made.read_text(encoding="ascii") != fingerprint(self.folder / "book")
        else:  # by jupyter-book itself, which leaves no word of what it read
            changed = any(file.stat().st_mtime > self.built for file in _files(self.folder / "book", ("_build",)))
        return changed or (assembled.is_file() and assembled.read_text(encoding="ascii") != assembled_of())


def books() -> list[Book]:
    """Every built book of this folder, the last one first."""
    places = [paths.repository(), *sorted(paths.built().glob("*/"))]
    found = [Book(place) for place in places if (place / "_build" / LAST_WRITTEN).is_file()]
    return sorted(found, key=lambda book: book.built, reverse=True)


def fingerprint(*folders: Path, leave_out: tuple[str, ...] = ("_build",)) -> str:
    """SHA-256 over names and contents of all files below folders, hexadecimal; folders named in ``leave_out`` not looked into.

    The book's own configuration, which stands beside its sources, counts with them.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for file in [*_files(folder, leave_out), folder.parent / "_config.yml"]:
            if file.is_file():
                digest.update(f"{file.relative_to(folder.parent).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def assembled_of() -> str:
    """Fingerprint of what a reader's own book is assembled from: the notebooks, and the pages around them."""
    sources = paths.sources()
    return fingerprint(sources / "notebooks", sources / "book", leave_out=("_build", "phases"))


def _files(folder: Path, leave_out: tuple[str, ...]) -> list[Path]:
    """Files below a folder in a fixed order, but for hidden ones and what Python compiled."""

    def counts(relative: Path) -> bool:
        hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        return not hidden and relative.parts[0] not in leave_out

    return sorted(file for file in folder.rglob("*") if file.is_file() and counts(file.relative_to(folder)))
