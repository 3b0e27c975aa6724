"""What a text is, what is wrong with one, and where texts that are slow to get are kept."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from civilwar.corpus.cache import open_entry

#: Part of the name of a cached extraction; raised whenever the code below finds other documents in the same files.
EXTRACTION_VERSION = 1


class CorpusError(ValueError):
    """The text cannot be used. The message says what was wrong, what was expected, and what to do."""


@dataclass(frozen=True)
class Document:
    """One text, and the module (a Python module, a file, a streamed row) it comes from."""

    module: str
    text: str


def cached(kind: str, key: list[Any], cache: Path, read: Callable[[], Iterable[Document]]) -> list[Document]:
    """What ``read`` gives, kept under ``cache`` by the hash of ``key``."""

    def build(folder: Path) -> None:
        # ASCII, so that no character can be mistaken for the end of a line
        lines = [json.dumps([document.module, document.text]) for document in read()]
        (folder / "documents.jsonl").write_text("\n".join(lines), encoding="ascii")

    entry = open_entry(_folder(kind, key, cache), build)
    stored = (entry / "documents.jsonl").read_text(encoding="ascii")
    return [Document(*json.loads(line)) for line in stored.splitlines()]


def is_cached(kind: str, key: list[Any], cache: Path) -> bool:
    """Whether `cached` would read nothing anew."""
    return _folder(kind, key, cache).is_dir()


def _folder(kind: str, key: list[Any], cache: Path) -> Path:
    name = hashlib.sha256(json.dumps([EXTRACTION_VERSION, *key]).encode()).hexdigest()[:16]
    return cache / f"documents-{kind}-{name}"


def encodable(text: str) -> bool:
    """Whether the text is Unicode proper: an escape such as D800 (hexadecimal) is half a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
