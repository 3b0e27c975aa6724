"""Folders that environment variables move."""

from collections.abc import Callable
from pathlib import Path

import pytest

from civilwar import paths

MOVED = [("CIVILWAR_RUNS", paths.runs), ("CIVILWAR_CACHE", paths.cache)]


@pytest.mark.parametrize(("variable", "folder"), MOVED)
def test_a_tilde_is_the_home_folder(
    variable: str, folder: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/moved")
    assert folder() == tmp_path.resolve() / "moved"
    monkeypatch.setenv(variable, "~nobody-of-that-name/moved")
    with pytest.raises(ValueError, match=rf"{variable}=~nobody-of-that-name/moved names no folder .*Correct it"):
        folder()


@pytest.mark.parametrize(("variable", "folder"), MOVED)
def test_links_in_a_circle_are_named(
    variable: str, folder: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    monkeypatch.setenv(variable, str(tmp_path / "a"))
    with pytest.raises(ValueError, match=f"{variable}=.* names no folder"):
        folder()


@pytest.mark.parametrize(("variable", "folder"), MOVED)
def test_an_unset_or_empty_variable_leaves_them_in_the_repository(
    variable: str, folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    assert folder().is_relative_to(paths.repository() / "runs")
