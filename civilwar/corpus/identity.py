"""A text is known by its content, not by what it is called: checksums of documents, here and now, and as recorded."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from civilwar import paths
from civilwar.corpus.cache import CacheDamaged, CacheNotWritten
from civilwar.corpus.document import CorpusError, Document
from civilwar.corpus.sources import is_streamed, read_documents
from civilwar.errors import RunMismatch


def checksum(documents: Sequence[Document]) -> str:
    """SHA-256 over the documents and their module names, hexadecimal: the same wherever the same text was found."""
    digest = hashlib.sha256()
    for document in documents:
        for part in (document.module.encode(), document.text.encode()):
            digest.update(len(part).to_bytes(8, "big"))  # or moving a boundary would not show
            digest.update(part)
    return digest.hexdigest()


def checksum_here(source: str, cache: Path | None = None) -> str | None:
    """Checksum of the text that a source names on this machine now; None where it cannot be read.

    Of a data set from the hub it is that of what was streamed before; where nothing was, nothing is streamed for it.
    """
    cache = paths.cache() if cache is None else cache
    if source.startswith("hub:") and not is_streamed(source, cache):
        return None
    try:
        return checksum(read_documents(source, cache))
    except (CorpusError, CacheDamaged, CacheNotWritten, OSError):
        return None


def check_same_text(source: str, recorded: str | None, now: str | None, where: Path) -> None:
    """Raise RunMismatch, naming both, where two checksums of a source are known and differ.

    Args:
        source: what the corpus is called.
        recorded: checksum of the text that the run was trained on.
        now: checksum of the text of that name today.
        where: the run's folder, or a checkpoint of it.
    """
    if recorded is None or now is None or recorded == now:
        return
    why = " (another version of a package has other text)" if source.startswith(("docstrings", "source")) else ""
    raise RunMismatch(
        f"{where} was trained on another text: {source} had the checksum {recorded[:16]} there and has {now[:16]} "
        f"now{why}. Put the former text back, or train under another name."
    )
