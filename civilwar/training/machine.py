"""Facts of the machine that a run was trained on: device, processor, versions, and the state of the code."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from civilwar import paths

#: A checkout counts as clean when these do not differ from its commit.
TRAINING_SOURCES = ("civilwar", "pyproject.toml", "requirements.lock", "requirements.txt")
#: Packages whose versions are recorded, beside Python's own.
PACKAGES = ("civilwar", "torch", "numpy", "pandas", "pyarrow", "tokenizers", "safetensors")


#: Variables that tell git to look elsewhere than where it is called.
GIT_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


class DeviceError(ValueError):
    """The device asked for is unknown or not there."""


def choose_device(wanted: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU. Raises DeviceError naming what this machine has."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available.get(wanted.partition(":")[0], False):
        there = ", ".join(name for name, there in available.items() if there)
        raise DeviceError(f"device = {wanted!r}: expected auto or one that this machine has ({there}).")
    try:
        return torch.device(wanted)
    except RuntimeError as error:
        raise DeviceError(f"device = {wanted!r}: expected auto, cpu, mps, cuda or cuda:NUMBER.") from error


def describe_device(device: torch.device) -> dict[str, Any]:
    """Kind and name of the hardware, and how many threads compute on a CPU."""
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device)}
    return {"type": device.type, "name": processor_name(), "threads": torch.get_num_threads()}


def processor_name() -> str:
    """The processor's name as the system gives it, or its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that training and recording use."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout and whether the training code differs from it; (None, None) where this is no checkout."""
    root = paths.repository()
    # where git is called from a hook, these name that hook's repository
    environment = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    # or a status would take the index's lock, and a commit made meanwhile would fail
    environment["GIT_OPTIONAL_LOCKS"] = "0"

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    try:
        # a copy of the package inside another repository has no commit of its own, nor has an installed one
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != root or not _is_source(root):
            return None, None
        # of what decides a run's numbers: prose, and runs recorded since, do not
        return ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain", "--", *TRAINING_SOURCES))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _is_source(root: Path) -> bool:
    """Whether the package that runs lies in ``root``, rather than among the installed ones."""
    return Path(paths.__file__).resolve().parents[1] == root.resolve()


def facts(device: torch.device) -> dict[str, Any]:
    """Provenance of one sitting: commit, whether the code differs from it, versions, and the device."""
    commit, dirty = git_state()
    return {"commit": commit, "dirty": dirty, "versions": versions(), "device": describe_device(device)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two sittings' facts differ in, of what changes a run's numbers; in words, none where they agree or are unknown.

    The device's kind and name count, and the version of torch; the number of threads changes nothing.
    """
    found = []
    for what, key, field in (
        ("device", "device", "type"),
        ("device", "device", "name"),
        ("torch", "versions", "torch"),
    ):
        old, new = before.get(key, {}).get(field), now.get(key, {}).get(field)
        if old is not None and old != new:
            found.append(f"{what}: {old} before, {new} now")
    return found
