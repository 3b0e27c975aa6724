"""Where text comes from: a source string in, documents with the module each stands in out.

Every text is material, never code: Python files are parsed and not imported, and control characters, markup or a
literal ``<|endoftext|>`` pass through as they are. What cannot be read exactly is an error and never patched up, since
a corpus that differs from machine to machine would make runs incomparable in silence. Everything is held in memory.
"""

import codecs
import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from civilwar.corpus.document import CorpusError, Document, cached, encodable, is_cached
from civilwar.corpus.packages import CODE_PACKAGES, PACKAGES, code, docstrings, prose
from civilwar.errors import CorpusWarning
from civilwar.files import UNPACKED, largest_unpacked

#: How much of a streamed data set is taken, about the size of the default corpus: enough for every preset.
HUB_CHARACTERS = 32_000_000
SUFFIXES = (".txt", ".jsonl", ".parquet")
#: What is compressed by its name, and what by its first bytes.
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz", ".lz4")
PARQUET = b"PAR1"
PACKED = {
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstandard",
    b"PK\x03\x04": "a zip archive",
    PARQUET: "parquet",
}
#: How many entries that are not read a warning and the manifest name.
NAMED = 20
ACCEPTED = (
    "docstrings, docstrings:PACKAGE,PACKAGE, source, source:PACKAGE,PACKAGE, prose, path:FOLDER_OR_FILE, hub:NAME or "
    "hub:NAME:CONFIG"
)


def read_documents(source: str, cache: Path) -> list[Document]:
    """The documents of a source, in a fixed order, without exact duplicates (the first stays) and without blank ones.

    Args:
        source: one of `ACCEPTED`.
        cache: folder in which documents that are slow to get (parsed or streamed) are kept.

    Raises CorpusError, or CacheDamaged (`civilwar.corpus.cache`).
    """
    kind, _, rest = source.partition(":")
    if kind == "docstrings" and (rest or source == "docstrings"):
        documents = docstrings(_names(rest) or list(PACKAGES), cache)
    elif kind == "source" and (rest or source == "source"):
        documents = code(_names(rest) or list(CODE_PACKAGES), cache)
    elif source == "prose":
        documents = list(prose())
    elif kind == "path" and rest:
        documents = list(_path_documents(_existing_path(rest)))
    elif kind == "hub" and rest:
        name, _, configuration = rest.partition(":")
        documents = cached("hub", _hub_key(source), cache, lambda: _hub_documents(name, configuration or None))
    else:
        raise CorpusError(f"unknown corpus {source!r}: expected {ACCEPTED}. Correct the `corpus` parameter.")
    documents = _without_duplicates(documents)
    if not documents:
        raise CorpusError(f"corpus {source!r} holds no text: expected at least one document. Name a source with text.")
    return documents


def is_streamed(source: str, cache: Path) -> bool:
    """Whether a data set of the hub was streamed before, so that it can be read here without the net."""
    return is_cached("hub", _hub_key(source), cache)


def _hub_key(source: str) -> list[Any]:
    return [source, HUB_CHARACTERS]


def _names(written: str) -> list[str]:
    return [name.strip() for name in written.split(",")] if written else []


def _without_duplicates(documents: Iterable[Document]) -> list[Document]:
    first: dict[str, Document] = {}
    for document in documents:
        if document.text.strip():
            first.setdefault(document.text, document)
    return list(first.values())


# Files and folders ----------------------------------------------------------------------------------------------------


def _existing_path(written: str) -> Path:
    try:
        path = Path(written).expanduser()
        there = path.exists()
    except (OSError, RuntimeError) as error:  # a name too long, a folder that is closed to us; a home that nobody has
        raise CorpusError(
            f"corpus path {written[:200]} cannot be opened ({str(error)[:200]}): expected a folder or a file. Correct "
            "what follows path:."
        ) from error
    if not there:
        raise CorpusError(
            f"corpus path {path} does not exist: expected a folder or a file. Correct what follows path:."
        )
    return path


def _path_documents(path: Path) -> Iterator[Document]:
    """Documents of one file, or of every text file of a folder (hidden ones left out), ordered by path.

    Warns (`CorpusWarning`) where the folder holds files that are not read.
    """
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise CorpusError(
                f"corpus file {path} is of an unsupported kind: expected {', '.join(SUFFIXES)}. Convert it, for "
                "instance to plain text in UTF-8; unpack it first where it is compressed."
            )
        files = {path.name: path}
    else:
        files, skipped = _text_files(path)
        if not files:
            beside = f" (not read: {_some(skipped)})" if skipped else ""
            raise CorpusError(
                f"corpus folder {path} holds no {', '.join(SUFFIXES)} file{beside}: expected at least one. Name another "
                "folder."
            )
        if skipped:
            warnings.warn(
                f"of corpus folder {path} {len(skipped)} {'entry is' if len(skipped) == 1 else 'entries are'} not read: "
                f"{_some(skipped)}. Unpack, convert or move what should be part of the corpus.",
                CorpusWarning,
                stacklevel=3,
            )
    readers = {".txt": _text_file, ".jsonl": _json_lines, ".parquet": _parquet}
    for name, file in sorted(files.items()):
        if not encodable(name):
            raise CorpusError(f"file {name!r} in {path}: expected a name in UTF-8, which orders the texts. Rename it.")
        for text in readers[file.suffix.lower()](file):
            yield Document(name, text)


def skipped_files(source: str) -> list[str]:
    """What a folder named by ``path:FOLDER`` holds and is not read, with the reason; at most `NAMED`, and how many more.

    Hidden files are meant to be left out and are not listed. Empty for sources of another kind.
    """
    kind, _, rest = source.partition(":")
    path = _existing_path(rest) if kind == "path" else None
    return _first(_text_files(path)[1]) if path is not None and path.is_dir() else []


def _text_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Files of a folder that are read, by their path in it, and what else is there but hidden files, with the reason."""
    files: dict[str, Path] = {}
    skipped: list[str] = []

    def closed(error: OSError) -> None:
        skipped.append(f"{Path(error.filename).relative_to(folder).as_posix()} ({error.strerror})")

    for parent, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*names, *folders]):
            entry = Path(parent, name)
            if name.startswith(".") or (name in folders and not entry.is_symlink()):
                continue
            written = entry.relative_to(folder).as_posix()
            reason = _why_skipped(entry)
            if reason is None:
                files[written] = entry
            else:
                skipped.append(f"{_shown(written)} ({reason})")
    return files, skipped


def _why_skipped(entry: Path) -> str | None:
    """Why a folder's entry is not read; None where it is."""
    if entry.is_dir():
        return "a link to a folder"
    if not entry.exists():
        return "a link that leads nowhere"
    if not entry.is_file():
        return "no file"
    if entry.suffix.lower() in PACKED_SUFFIXES:
        return "compressed"
    if entry.suffix.lower() not in SUFFIXES:
        return f"no {', '.join(SUFFIXES)} file"
    return None


def _shown(name: str) -> str:
    return name if encodable(name) else ascii(name)


def _first(entries: list[str]) -> list[str]:
    more = len(entries) - NAMED
    return [*entries[:NAMED], *([f"and {more:,} more"] if more > 0 else [])]


def _some(entries: list[str]) -> str:
    return ", ".join(_first(entries))


def _refuse_packed(file: Path, content: bytes) -> None:
    for mark, kind in PACKED.items():
        if content.startswith(mark):
            raise CorpusError(
                f"{file} is {kind} under another name: expected {file.suffix.lower()}. Unpack or convert it, or give it "
                "the name of what it is."
            )


def _text_file(file: Path) -> Iterator[str]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error}. Check that it is there and may be read.") from error
    mark = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    try:
        yield content[mark:].decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse_packed(file, content)
        raise CorpusError(
            f"{file} is not UTF-8 at byte {mark + error.start} ({error.reason}): expected text in UTF-8. Convert it, "
            "for instance `iconv -f ORIGINAL_ENCODING -t UTF-8`, or remove it."
        ) from error


def _json_lines(file: Path) -> Iterator[str]:
    for content in _text_file(file):
        # not splitlines(), which also cuts at characters that JSON allows inside a string
        for number, line in enumerate(content.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(
                    f"{file}, line {number}: not JSON ({error}). Expected one object with a `text` field per line. "
                    "Correct the line."
                ) from error
            yield _checked_text(row, f"{file}, line {number}")


def _checked_text(row: Any, where: str) -> str:
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise CorpusError(
            f"{where}: expected a `text` field that is a string. Add it, or rename the one with the text."
        )
    if not encodable(text):
        raise CorpusError(f"{where}: `text` holds half a surrogate pair, which is no character. Correct or remove it.")
    return text


def _parquet(file: Path) -> Iterator[str]:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
        if start[:4] != PARQUET:
            _refuse_packed(file, start)
        column = _text_column(file, pq.ParquetFile(file))
        # encoded as they are stored: a text that stands there once and is pointed at a million times stays one
        table = pq.ParquetFile(file, read_dictionary=["text"])
        limit = largest_unpacked(size)
        chunks = (table.metadata.row_group(group).column(column) for group in range(table.num_row_groups))
        # as the file says of itself, and then as it turns out
        _require_small(file, sum(chunk.total_uncompressed_size for chunk in chunks), limit)
        unpacked = 0
        for row, value in enumerate(_values(table)):
            text = _parquet_text(file, row, value)
            unpacked += len(text)
            _require_small(file, unpacked, limit)
            yield text
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{file} cannot be read as parquet: {error}. Write it again, or remove it.") from error


def _require_small(file: Path, unpacked: int, limit: int) -> None:
    if unpacked > limit:
        raise CorpusError(
            f"{file} has {file.stat().st_size:,} bytes and unpacks to more than {limit:,}: expected at most {UNPACKED} times "
            "as many, as text does. Repeated texts count once anyway: write each of them once, or split the file."
        )


def _values(table: pq.ParquetFile) -> Iterator[pa.Scalar]:
    for batch in table.iter_batches(batch_size=1024, columns=["text"]):
        yield from batch.column(0)


def _text_column(file: Path, table: pq.ParquetFile) -> int:
    """Which of the file's columns, counted in leaves, is ``text``. Raises CorpusError unless there is exactly one."""
    columns = table.schema_arrow.names
    found = columns.count("text")
    if found == 0:
        raise CorpusError(f"{file} has no `text` column, only {', '.join(columns)}. Rename the one with the text.")
    if found > 1:
        raise CorpusError(f"{file} has {found} columns named `text`: expected one. Rename or drop the others.")
    leaves = [table.schema.column(index).path for index in range(len(table.schema))]
    if "text" not in leaves:
        raise CorpusError(f"{file}: its `text` column holds no strings but {table.schema_arrow.field('text').type}.")
    return leaves.index("text")


def _parquet_text(file: Path, row: int, value: pa.Scalar) -> str:
    """One row's text. Raises CorpusError where there is none."""
    try:
        text = value.as_py()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file}, row {row}: not UTF-8 at byte {error.start} of `text` ({error.reason}). Correct the row."
        ) from error
    if text is None:
        raise CorpusError(f"{file}, row {row}: `text` is null, that is no text. Fill it in, or drop the row.")
    return _checked_text({"text": text}, f"{file}, row {row}")


# Hugging Face data sets -----------------------------------------------------------------------------------------------


def _hub_documents(name: str, configuration: str | None) -> Iterator[Document]:
    """Rows of the ``train`` split in stream order, whole ones, until `HUB_CHARACTERS` are reached."""
    try:
        datasets = importlib.import_module("datasets")  # late: an optional extra, and slow to import
    except ImportError as error:
        raise CorpusError(
            f"corpus hub:{name} needs the package `datasets`, which is not installed: `pip install 'civilwar[hub]'`."
        ) from error
    characters = 0
    try:
        for number, row in enumerate(datasets.load_dataset(name, configuration, split="train", streaming=True)):
            text = _checked_text(row, f"hub:{name}, row {number}")
            yield Document(f"{number:09d}", text)
            characters += len(text)
            if characters >= HUB_CHARACTERS:
                return
    except CorpusError:
        raise
    except Exception as error:  # whatever the library or the network raises, the reader needs the same sentence
        raise CorpusError(
            f"corpus hub:{name} cannot be streamed: {type(error).__name__}: {error}. Expected a public data set with a "
            "train split; check the name (hub:NAME:CONFIG where it has configurations) and the connection."
        ) from error
