"""Facts of the machine: devices, and the commit of this checkout or none."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

from civilwar import paths
from civilwar.training import machine
from civilwar.training.machine import DeviceError, choose_device, git_state


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: there)
        assert choose_device().type == expected
    assert choose_device("cpu").type == "cpu"
    for absent in ("cuda", "cuda:1", "mps", "tpu", ""):
        with pytest.raises(DeviceError, match=rf"device = '{absent}': expected auto or .* \(cpu\)"):
            choose_device(absent)


# ---------------------------------------------------------------- commit


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree, not yet a checkout, from which the package seems to run."""
    root = (tmp_path / "outer" / "project").resolve()
    for folder in ("civilwar", "notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "civilwar" / "paths.py").write_text("")
    (root / "pyproject.toml").write_text("")
    monkeypatch.setattr(paths, "__file__", str(root / "civilwar" / "paths.py"))
    for name in machine.GIT_PLACES:
        monkeypatch.delenv(name, raising=False)
    return root


def commit_all(folder: Path) -> str:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return git(folder, "rev-parse", "HEAD")


def test_a_checkout_has_its_commit_and_says_whether_the_code_differs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = commit_all(root)
    assert git_state() == (commit, False)
    (root / "prose.md").write_text("no code")
    assert git_state() == (commit, False)
    (root / "civilwar" / "paths.py").write_text("changed")
    assert git_state() == (commit, True)
    # as inside a hook of another repository
    other = root.parent / "other"
    other.mkdir()
    (other / "file").write_text("")
    assert commit_all(other) != commit
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert git_state() == (commit, True)


def test_outside_a_checkout_the_surrounding_repository_s_commit_is_not_ours(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state() == (None, None)
    commit = commit_all(root.parent)
    assert git_state() == (None, None)
    # installed among others' packages, called from inside somebody's repository
    monkeypatch.setattr(paths, "__file__", str(root.parent / "site-packages" / "civilwar" / "paths.py"))
    monkeypatch.chdir(root.parent)
    assert paths.repository() == root.parent
    assert git_state() == (None, None)
    assert git(root.parent, "rev-parse", "HEAD") == commit


def test_asking_git_writes_nothing(root: Path) -> None:
    commit_all(root)
    index = root / ".git" / "index"
    before = index.read_bytes()
    # its time no longer fits the index, which a status with locks would write down
    os.utime(root / "civilwar" / "paths.py", (1, 1))
    assert git_state()[1] is False
    assert index.read_bytes() == before
    git(root, "status")
    assert index.read_bytes() != before


# ---------------------------------------------------------------- sittings


@pytest.mark.parametrize(
    ("key", "changed", "said"),
    [
        ("device", {"type": "cuda", "name": "A", "threads": 2}, ["device: cpu before, cuda now"]),
        ("device", {"type": "cpu", "name": "B", "threads": 2}, ["device: A before, B now"]),
        ("device", {"type": "cpu", "name": "A", "threads": 64}, []),
        ("versions", {"torch": "3", "numpy": "1"}, ["torch: 2 before, 3 now"]),
        ("versions", {"torch": "2", "numpy": "2"}, []),
        ("commit", "b", []),
    ],
)
def test_sittings_differ_in_device_and_torch(key: str, changed: object, said: list[str]) -> None:
    facts = {
        "commit": "a",
        "device": {"type": "cpu", "name": "A", "threads": 2},
        "versions": {"torch": "2", "numpy": "1"},
    }
    assert machine.differences(facts, facts | {key: changed}) == said
    # of a sitting before sittings were kept nothing is known
    assert machine.differences({"from_step": 0}, facts) == []
