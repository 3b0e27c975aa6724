"""Files that are either whole or not there: checksums, writing by renaming a finished copy into place, and JSON."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from civilwar.errors import RunDamaged


def sha256(file: Path) -> str:
    """Checksum of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place only if the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.writing")
    remove(temporary)
    try:
        yield temporary
        _flush_to_disk(temporary)
        if temporary.is_dir():
            remove(target)
        os.replace(temporary, target)
    finally:
        remove(temporary)


def _flush_to_disk(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def remove(path: Path) -> None:
    """Delete a file or a whole folder; neither need be there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def content_sha256(content: Mapping[str, Any]) -> str:
    """Checksum of plain JSON content, hexadecimal, however it is indented."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as sorted, indented JSON, atomically. NaN is refused: undefined values are null."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_path(target) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises RunDamaged where it is not one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RunDamaged(
            f"{file} cannot be read as JSON ({error}). Restore it from a copy, or train the run again."
        ) from error
    if not isinstance(content, dict):
        raise RunDamaged(f"{file} holds no JSON object. Restore it from a copy, or train the run again.")
    return content
