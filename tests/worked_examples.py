"""Apply a worked example of CONTRIBUTING.md to a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from civilwar import paths

ROOT = paths.repository()
#: What a copy needs: everything a command of the package reads, but no runs.
PARTS = ("civilwar", "notebooks", "tests", "book", "pyproject.toml", "README.md", "CONTRIBUTING.md", "_config.yml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "_build", ".*_cache")


def diff_of(title: str) -> str:
    """The diffs below a heading of CONTRIBUTING.md, joined. Raises KeyError where there is no such heading."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    return "".join(re.findall(r"^```diff\n(.*?)^```", sections[title], re.MULTILINE | re.DOTALL))


def files_in(diff: str) -> set[str]:
    """Which files a diff touches."""
    return set(re.findall(r"^\+\+\+ b/(\S+)", diff, re.MULTILINE))


def apply(title: str, folder: Path) -> Path:
    """A copy of the repository under ``folder`` with the example applied; returns the copy."""
    copy = folder / "repository"
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=LEFT_OUT)
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    # git apply works outside a checkout too, and refuses a diff whose context has gone stale
    command = ["git", "apply", "--recount", "-"]
    subprocess.run(command, cwd=copy, input=diff_of(title), check=True, text=True, capture_output=True)
    return copy


def python(copy: Path, code: str) -> str:
    """What ``code`` prints when it is run with the copy's package."""
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
