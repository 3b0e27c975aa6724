"""A run's manifest: what was run and how, the checksum of every file, and one of its own.

The other files of a complete run are vouched for by the manifest. The manifest vouches for itself, so that a single altered
bit is noticed in it too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from civilwar.errors import RunDamaged
from civilwar.files import content_sha256, read_json, write_json
from civilwar.runs.trust import Entries, checked_entries

MANIFEST = "manifest.json"
_OWN = "manifest_sha256"
#: What is kept of each sitting beside its first step, and of the first also at the top of the manifest.
PROVENANCE = ("started", "commit", "dirty", "versions", "device", "ways")


def read_manifest(run: Path) -> Entries:
    """The entries of a run folder's manifest. Raises RunDamaged where they are not those that were written."""
    file = run / MANIFEST
    entries = read_json(file)
    own = entries.pop(_OWN, None)
    if own is None:
        raise RunDamaged(
            f"{file} has no checksum of its own, so another version of civilwar wrote it. Read it with that version "
            f"(commit {entries.get('commit')}), or train the run again under a new name."
        )
    try:
        if own != content_sha256(entries):
            raise RunDamaged(
                f"{file} was altered since it was written: its own checksum does not fit. Restore it from a copy, or train "
                "the run again under a new name."
            )
        return checked_entries(entries, file)
    except RecursionError as error:
        raise RunDamaged(f"{file} is nested too deeply to be a manifest. Restore it from a copy.") from error


def signed(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries with their own checksum, as a manifest has them."""
    # as they will be read: JSON knows neither tuples nor numbers as keys
    plain = json.loads(json.dumps(entries, allow_nan=False))
    return plain | {_OWN: content_sha256(plain)}


def write_manifest(run: Path, entries: Mapping[str, Any]) -> None:
    """Write a run folder's manifest, atomically."""
    write_json(run / MANIFEST, signed(entries))


def sittings(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The processes that trained a run, in time order: of each the first step it did, and its commit, versions and device.

    A step was recorded by the last of them that began at it or before. Manifests written before sittings were kept tell the
    provenance of the last one only; of the others they know the first step.
    """
    if "sittings" in entries:
        return [dict(sitting) for sitting in entries["sittings"]]
    known = {name: entries[name] for name in PROVENANCE if name in entries}
    found: list[dict[str, Any]] = [{"from_step": step} for step in (0, *entries.get("resumed_at", []))]
    return [*found[:-1], found[-1] | known]
