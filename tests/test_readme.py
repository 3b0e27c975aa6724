"""The README's commands work, and what it says of layout and size is so."""

import re
import shlex
import subprocess
import sys
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
    "make reproduce": "its recipe below; its stages in pages/test_reproduce, their parts in training/test_loop",
    "make test": "its recipe below; you are running it",
    "papermill notebooks/01_divergence.ipynb 01_divergence.ipynb": "below, word for word",
    "jupyter-book build book/": "book/test_book, through build_book",
    "make lab": "its recipe below; its copies in pages/test_notebooks, its pages in book/test_jupyterlab",
    "make serve": "its recipe below; what it serves, and where, in commands/test_serve",
    "civilwar list": "runs/test_listing",
    "make book": "its recipe below; its parts in book/test_notebooks, pages/test_publish and book/test_book",
    "make sweep": "its recipe below; its parts in training/test_sweep",
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
    wanted = {"test": "-m pytest"} | {
        name: f"civilwar.cli {name}" for name in ("book", "lab", "reproduce", "serve", "sweep")
    }
    assert wanted[command.split()[1]] in dry.stdout


def test_papermill_word_for_word(tmp_path: object) -> None:
    """In a copy of the repository's folders, so that the checkout stays as it is; the recorded run is found, not trained."""
    import shutil
    import sys
    from pathlib import Path

    folder = Path(str(tmp_path))
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    program, *arguments = shlex.split(next(command for command in COMMANDS if command.startswith("papermill")))
    program = str(Path(sys.executable).with_name(program))
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)
    executed = nbformat.read(folder / "01_divergence.ipynb", as_version=4)
    assert any("cw-figure" in str(cell.get("outputs")) for cell in executed.cells)
    # nothing that git would see: neither a page of the book nor a source was touched
    ignored = subprocess.run(["git", "check-ignore", "--no-index", "01_divergence.ipynb"], cwd=ROOT, check=False)
    assert ignored.returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["01_divergence.ipynb", "notebooks"]
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        assert (folder / "notebooks" / source.name).read_bytes() == source.read_bytes()


def test_jupyter_finds_the_kernel_of_the_notebooks() -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    named = {nbformat.read(file, as_version=4).metadata.kernelspec.name for file in ROOT.glob("notebooks/*.ipynb")}
    assert named == {"python3"}
    assert "python3" in KernelSpecManager().find_kernel_specs()


def test_sizes_are_those_of_the_presets() -> None:
    paper, laptop = make_config("paper"), make_config("laptop")
    assert f"| {paper.model.n_parameters:,} | {paper.n_tokens / 1e6:.1f} million |" in README
    assert f"| {laptop.model.n_parameters / 1e6:.1f} million | {laptop.n_tokens / 1e6:.1f} million |" in README


LOCK, VERSIONS = ((ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s+]+)", text, re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[]", requirement)[0].lower() for requirement in requirements}


def test_one_environment_for_pip_and_conda() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert "python=3.11" in conda["dependencies"]
    assert {"pip": ["-r requirements.txt", "-e ."]} in conda["dependencies"]
    extras = PROJECT["optional-dependencies"]
    direct = names(
        [
            *PROJECT["dependencies"],
            *extras["dev"],
            *extras["book"],
            *extras["corpus"],
            *extras["export"],
            *extras["slurm"],
        ]
    ) - {"civilwar"}
    assert direct <= set(pins(VERSIONS))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]


def test_the_lock_has_a_checksum_for_everything_but_torch() -> None:
    assert pins(LOCK) | {"torch": "2.13.0"} == pins(VERSIONS)
    assert "torch" not in pins(LOCK)
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(LOCK))
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    # what builds this package is in it too
    assert "setuptools" in pins(LOCK)


def test_the_environment_is_installed_by_checksum() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/.installed"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    installs = [line.split("pip install ")[1] for line in recipe.splitlines() if "pip install " in line]
    common = "--quiet --disable-pip-version-check "
    assert installs == [
        f"{common}--no-deps --require-hashes -r requirements.lock",
        f"{common}--constraint requirements.txt torch",
        f"{common}--no-deps --no-build-isolation --editable .",
    ]


def test_the_instrument_needs_neither_the_book_s_packages_nor_the_corpus_s() -> None:
    """Measuring, training, recording and showing load nothing that only an extra brings."""
    extras = PROJECT["optional-dependencies"]
    assert {"civilwar[book,corpus,export,slurm]"} <= set(extras["dev"])
    assert not names(PROJECT["dependencies"]) & names([*extras["book"], *extras["corpus"]])
    # packages by the name under which they are imported, where that is another
    imported = {"scikit-learn": "sklearn", "jupyter-book": "jupyter_book", "sphinxcontrib-bibtex": "sphinxcontrib"}
    # ipywidgets and ipykernel come with anywidget, networkx and sympy with torch, mpmath with sympy
    only = names([*extras["book"], *extras["corpus"]]) - {"ipywidgets", "ipykernel", "networkx", "sympy", "mpmath"}
    refused = sorted(imported.get(name, name.replace("-", "_")) for name in only)
    program = f"""
import sys
sys.modules |= dict.fromkeys({refused!r})
import civilwar, civilwar.cli, civilwar.inspector.of_model
for name in civilwar.__all__:
    getattr(civilwar, name)
print("loaded")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "loaded\n", done.stderr


def test_a_command_that_needs_an_extra_says_which() -> None:
    program = """
import sys
sys.modules["papermill"] = None
from civilwar.cli import main
sys.exit(main(["book"]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "civilwar: the package papermill is not installed: `pip install 'civilwar[book,corpus]'` has all there is.\n"
    )
