"""Files that are either whole or not there: checksums, writing by renaming a finished copy into place, and JSON."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from civilwar.errors import RunDamaged


def sha256(file: Path) -> str:
    """Checksum of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


#: How many times its size a packed file may unpack to, and up to which number of bytes that does not matter.
UNPACKED, LARGEST_SMALL = 100, 64 * 2**20
WRITING, ASIDE = ".writing", ".replaced"
#: What `atomic_path` calls its temporary files and folders.
_PATTERN = re.compile(
    r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{6})-(?P<process>\d{1,10})-[0-9a-f]{8}\.(writing|replaced)", re.DOTALL
)
#: Seconds after which a folder that another machine moved aside, and has put nothing in the place of, was left by a kill: it
#: takes one renaming.
GIVEN_UP = 1.0
#: What a file system answers that cannot flush a folder.
CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)
#: Temporary paths of this very process that are in use, so that what an earlier process of the same number left is not.
_in_use: set[Path] = set()


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place only if the block ends well.

    The path is this call's own, so that two writers never share one. Of two files the later one wins; who writes folders takes
    a lock. A folder that is replaced is first moved aside, then the new one in, then the old one away: whenever the process is
    killed, one of the two is whole on disk, and `recover`, which this function begins with, puts it back.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    temporary, aside = _own_paths(target)
    _in_use.update((temporary, aside))
    try:
        yield temporary
        _flush_to_disk(temporary)
        if temporary.is_dir():
            _exchange(temporary, target, aside)
        else:
            os.replace(temporary, target)
            sync_folder(target.parent)
    finally:
        with contextlib.suppress(
            OSError
        ):  # what went wrong before is the thing to tell; the next writer clears this away
            remove(temporary)
        _in_use.difference_update((temporary, aside))


def recover(target: Path) -> None:
    """Mend what killed processes left beside ``target``: a copy moved aside comes back where there is no other; the rest goes.

    Left alone is what a living process still writes, and what another machine writes, of which this one cannot tell. But what
    another machine moved aside, and for `GIVEN_UP` seconds put nothing in the place of, comes back too: should it live after
    all, its renaming fails, with nothing lost.
    """
    found = sorted(path for path in target.parent.iterdir() if _is_left_over(path, target.name))
    # what was moved aside first: beside it lies the folder that was to come in its place
    for path in sorted(found, key=lambda path: path.suffix != ASIDE):
        if path.suffix == ASIDE and not target.exists():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.replace(path, target)
                sync_folder(target.parent)
        else:
            with contextlib.suppress(OSError):
                remove(path)
    if not target.exists():
        for path in _given_up(target):
            with contextlib.suppress(OSError):  # its owner lives, or another process was faster
                os.replace(path, target)
                sync_folder(target.parent)


def _given_up(target: Path) -> list[Path]:
    """What other machines moved aside from ``target`` and did not replace; the newest first, and no more than that one."""

    def aside() -> list[Path]:
        places = [(path, _PATTERN.fullmatch(path.name)) for path in target.parent.iterdir() if path.suffix == ASIDE]
        return [
            path for path, parts in places if parts and parts["name"] == target.name and parts["machine"] != _machine()
        ]

    before = aside()
    if not before:
        return []
    time.sleep(GIVEN_UP)
    still = [path for path in aside() if path in before]
    return [] if target.exists() else sorted(still, key=lambda path: path.stat().st_mtime_ns)[-1:]


def discard(target: Path) -> None:
    """Delete a file or folder, out of sight at once: a kill meanwhile leaves a temporary one, which `recover` clears away."""
    hidden, _ = _own_paths(target)
    os.replace(target, hidden)
    sync_folder(target.parent)
    remove(hidden)


def _own_paths(target: Path) -> tuple[Path, Path]:
    """Where a new ``target`` is written, and where the old one waits meanwhile."""
    own = f".{target.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(own + WRITING), target.with_name(own + ASIDE)


def is_temporary(name: str) -> bool:
    """Whether a folder entry's name is one that `atomic_path` gives while it writes."""
    return _PATTERN.fullmatch(name) is not None


def _is_left_over(path: Path, name: str) -> bool:
    """Whether a process of this machine that no longer runs left ``path`` while it wrote the file or folder ``name``."""
    parts = _PATTERN.fullmatch(path.name)
    if parts is None or parts["name"] != name or parts["machine"] != _machine():
        return False
    process = int(parts["process"])
    return path not in _in_use if process == os.getpid() else not _runs(process)


def _machine() -> str:
    """Six digits that stand for this machine; folders may be shared between several, which count processes each anew."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _runs(process: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _exchange(new: Path, target: Path, aside: Path) -> None:
    """Put the folder ``new`` in the place of ``target``, which may not be there."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.replace(target, aside)
        os.replace(new, target)
        sync_folder(target.parent)
    except BaseException:
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        raise
    remove(aside)


def _flush_to_disk(path: Path) -> None:
    inside = [] if path.is_file() else list(path.rglob("*"))
    for file in [path, *inside]:
        if file.is_dir():
            sync_folder(file)
        elif file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Have the disk keep a folder's entries: a file renamed into it is otherwise there, and after a power cut is not.

    File systems that cannot do that for a folder, as some of the network's cannot, do what they do. Raises OSError where the
    disk refuses.
    """
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that one may write to and not look into
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
    finally:
        os.close(opened)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; none need be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def largest_unpacked(size: int) -> int:
    """Bytes that a packed file of ``size`` bytes may unpack to before somebody means harm: `UNPACKED` times as many."""
    return max(LARGEST_SMALL, UNPACKED * size)


def content_sha256(content: Mapping[str, Any]) -> str:
    """Checksum of plain JSON content, hexadecimal, however it is indented."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def json_text(content: Mapping[str, Any]) -> str:
    """``content`` as sorted, indented JSON. NaN is refused: undefined values are null."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write `json_text`, atomically."""
    text = json_text(content)
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises RunDamaged where it is not one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # no UTF-8, no JSON, numbers or nesting beyond all measure
        raise RunDamaged(
            f"{file} cannot be read as JSON ({error}). Restore it from a copy, or train the run again."
        ) from error
    if not isinstance(content, dict):
        raise RunDamaged(f"{file} holds no JSON object. Restore it from a copy, or train the run again.")
    return content
