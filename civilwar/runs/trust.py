"""What stands in a manifest, as far as it can be trusted: kinds of its entries, and files that lie where it says.

A checksum tells that nothing changed since the manifest was written, not that a friend wrote it. So a run that came from
elsewhere may lack entries, name files outside its folder, or have links where files should be.
"""

import stat
from pathlib import Path, PurePosixPath
from typing import Any

from civilwar.errors import RunDamaged

_KINDS: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "config_hash": str,
    "commit": (str, type(None)),
    "rules": (str, type(None)),
    "versions": dict,
    "corpus": dict,
    "device": dict,
    "ways": dict,
    "timings": dict,
    "files": dict,
    "left_out": dict,
    "resumed_at": list,
    "sittings": list,
}


class Entries(dict[str, Any]):
    """Entries of a manifest. Asked for one that is not there it raises RunDamaged, as do the dictionaries inside."""

    def __init__(self, file: Path, entries: dict[str, Any]) -> None:
        super().__init__(
            (key, Entries(file, value) if type(value) is dict else value) for key, value in entries.items()
        )
        self.file = file

    def __missing__(self, key: str) -> Any:
        raise RunDamaged(
            f"{self.file} has no entry {key!r}, so another version of civilwar wrote it, or it was altered. Restore it "
            "from a copy, or train the run again under a new name."
        )


def checked_entries(entries: dict[str, Any], file: Path) -> Entries:
    """The entries of a manifest at ``file``. Raises RunDamaged for one of the wrong kind.

    A complete run has a list of its files. Each is named by a path inside the run's folder, and has a SHA-256.
    """
    for key, kind in _KINDS.items():
        if key in entries and not isinstance(entries[key], kind):
            raise _not_as_written(file, f"its entry {key!r} is of the wrong kind")
    for sitting in entries.get("sittings", []):
        if not isinstance(sitting, dict) or not isinstance(sitting.get("from_step"), int):
            raise _not_as_written(file, "one of its sittings has no first step")
        if not all(isinstance(sitting.get(name, {}), dict) for name in ("versions", "device", "ways")):
            raise _not_as_written(
                file, "the versions, the device or the ways of one of its sittings are of the wrong kind"
            )
    checked = Entries(file, entries)
    if checked.get("status") == "complete":
        _ = checked["files"]
    for relative, checksum in checked.get("files", {}).items():
        if not is_inside(relative):
            raise _not_as_written(file, f"it lists {relative!r}, which is no file inside the run's folder")
        if not isinstance(checksum, str):
            raise _not_as_written(file, f"its checksum of {relative!r} is none")
    return checked


def _not_as_written(file: Path, why: str) -> RunDamaged:
    return RunDamaged(
        f"{file} is not as civilwar writes it: {why}. Restore it from a copy, or train the run again under a new name."
    )


def is_inside(relative: str) -> bool:
    """Whether a path, written with slashes, leads to something below the folder that it starts from, links aside."""
    parts = PurePosixPath(relative).parts
    good = bool(parts) and ".." not in parts and not relative.startswith("/")
    return good and not any(character in relative for character in "\\\0:") and relative == "/".join(parts)


def plain_file(folder: Path, relative: str) -> Path:
    """The file of that name inside ``folder``. Raises RunDamaged unless it is one, reached without following a link.

    The folder itself may be a link: where runs lie is for their owner to say.
    """
    file = folder / relative
    if not is_inside(relative):
        raise RunDamaged(f"{folder} lists {relative!r}, which is no file inside it. Remove the run, or get it anew.")
    steps = [folder.joinpath(*Path(relative).parts[: n + 1]) for n in range(len(Path(relative).parts))]
    for step in steps:
        try:
            mode = step.lstat().st_mode
        except OSError as error:
            raise RunDamaged(
                f"{file} is missing. Restore it from a copy, or remove the run's folder and train it again."
            ) from error
        if stat.S_ISLNK(mode):
            raise RunDamaged(
                f"{step} is a link, and what a link leads to is no part of the run. Put the file itself in its place, or "
                "get the run anew."
            )
    if not stat.S_ISREG(mode):
        raise RunDamaged(f"{file} is no plain file. Put the recorded file in its place, or get the run anew.")
    return file
