"""The README's commands work, and what it says of layout and size is so."""

import re
import shlex
import subprocess
import tomllib

import nbformat
import pytest
import yaml

from civilwar import paths
from civilwar.recipe.config import make_config

ROOT = paths.repository()
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)

#: How each command is tested.
TESTED = {
    "make reproduce": "its recipe below; its parts in training/test_loop, book/test_notebooks and book/test_book",
    "make test": "its recipe below; you are running it",
    "papermill notebooks/01_divergence.ipynb book/phases/01_divergence.ipynb": "below, word for word",
    "jupyter-book build book/": "book/test_book, through build_book",
    "jupyter lab": "below, as far as finding its notebooks' kernel; its pages in book/test_jupyterlab",
    "make book": "its recipe below; its parts in book/test_notebooks, pages/test_publish and book/test_book",
    "make sweep": "its recipe below; its parts in training/test_sweep",
    "make serve": "its recipe below; the address it serves, in book/test_book",
}


def test_what_is_named_is_there() -> None:
    named = re.findall(r"\w+/test_\w+", " ".join(TESTED.values()))
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / "tests" / f"{name}.py").is_file()] == []


def test_every_command_has_a_test() -> None:
    assert list(TESTED) == COMMANDS


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make")])
def test_make_knows_the_target(command: str) -> None:
    dry = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True, text=True)
    wanted = {"test": "-m pytest", "serve": "-m http.server"} | {
        name: f"civilwar.cli {name}" for name in ("book", "reproduce", "sweep")
    }
    assert wanted[command.split()[1]] in dry.stdout


def test_papermill_word_for_word(tmp_path: object) -> None:
    """In a copy of the repository's folders, so that the checkout stays as it is; the recorded run is found, not trained."""
    import shutil
    import sys
    from pathlib import Path

    folder = Path(str(tmp_path))
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    (folder / "book" / "phases").mkdir(parents=True)
    program, *arguments = shlex.split(next(command for command in COMMANDS if command.startswith("papermill")))
    program = str(Path(sys.executable).with_name(program))
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)
    executed = nbformat.read(folder / "book" / "phases" / "01_divergence.ipynb", as_version=4)
    assert any("cw-figure" in str(cell.get("outputs")) for cell in executed.cells)


def test_jupyter_finds_the_kernel_of_the_notebooks() -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    named = {nbformat.read(file, as_version=4).metadata.kernelspec.name for file in ROOT.glob("notebooks/*.ipynb")}
    assert named == {"python3"}
    assert "python3" in KernelSpecManager().find_kernel_specs()


def test_sizes_are_those_of_the_presets() -> None:
    paper, laptop = make_config("paper"), make_config("laptop")
    assert f"| {paper.model.n_parameters:,} | {paper.n_tokens / 1e6:.1f} million |" in README
    assert f"| {laptop.model.n_parameters / 1e6:.1f} million | {laptop.n_tokens / 1e6:.1f} million |" in README


def test_one_environment_for_pip_and_conda() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert "python=3.11" in conda["dependencies"]
    assert {"pip": ["-r requirements.lock", "-e ."]} in conda["dependencies"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", lock, re.MULTILINE))
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=]", requirement)[0].lower() for requirement in direct} <= set(pins)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
