"""A run's manifest: what was run and how, the checksum of every file, and one of its own.

The other files of a complete run are vouched for by the manifest. The manifest vouches for itself, so that a single altered
bit is noticed in it too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from civilwar.errors import RunDamaged
from civilwar.files import read_json, write_json
from civilwar.runs.trust import checked_entries

MANIFEST = "manifest.json"
_OWN = "manifest_sha256"


def read_manifest(run: Path) -> dict[str, Any]:
    """The entries of a run folder's manifest. Raises RunDamaged where they are not those that were written."""
    file = run / MANIFEST
    entries = read_json(file)
    own = entries.pop(_OWN, None)
    if own is None:
        raise RunDamaged(
            f"{file} has no checksum of its own, so another version of civilwar wrote it. Read it with that version "
            f"(commit {entries.get('commit')}), or train the run again under a new name."
        )
    if own != _checksum(entries):
        raise RunDamaged(
            f"{file} was altered since it was written: its own checksum does not fit. Restore it from a copy, or train "
            "the run again under a new name."
        )
    return checked_entries(entries, file)


def write_manifest(run: Path, entries: Mapping[str, Any]) -> None:
    """Write a run folder's manifest, atomically."""
    # as they will be read: JSON knows neither tuples nor numbers as keys
    plain = json.loads(json.dumps(entries, allow_nan=False))
    write_json(run / MANIFEST, plain | {_OWN: _checksum(plain)})


def _checksum(entries: Mapping[str, Any]) -> str:
    """Of the content, however it is indented."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
