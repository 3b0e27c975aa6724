"""Folders of runs of one test alone."""

from pathlib import Path

import pytest

from civilwar import paths


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the repository's: ``runs``, ``build/runs`` and ``data`` below it hold nothing yet."""
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CIVILWAR_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "repository", lambda: tmp_path)
    return tmp_path
