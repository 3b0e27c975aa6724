"""The wheel works alone: built here, installed where nothing of the checkout is, and used from an empty folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from civilwar import paths
from civilwar.runs.reader import Run

ROOT = paths.repository()
QUIET = ("--quiet", "--disable-pip-version-check", "--no-deps")
#: What somebody does first: look at a run of their own, and at a page of the book, in an empty folder.
USED = """
import json, sys
from pathlib import Path
import civilwar
from civilwar import cli, paths
from civilwar.pages import reproduce
from civilwar.pages.publish import execute, phase_notebooks
from civilwar.recipe.config import make_config

here, corpus = Path.cwd(), sys.argv[1]
assert cli.main(["train", "--preset", "smoke", "--corpus", corpus, "--device", "cpu"]) == 0
config = make_config("smoke", corpus=corpus)
run = civilwar.open_run(config.default_name)
inspector = civilwar.HeadInspector(run, layer=1, query_head=2)
notebooks = phase_notebooks()
last = next(notebook for notebook in notebooks if notebook.stem == "11_cost_and_faults")
execute(last, here / "page.ipynb", reproduce.parameters_of(config, "cpu"))
reproduce.assemble(here / "site")
stages, told = reproduce.stages_of(config, len(notebooks))
assert cli.main(["serve"]) == 1
assert cli.main(["record", run.name]) == 0
print(json.dumps({
    "package": str(Path(civilwar.__file__).parent), "checkout": paths.checkout(), "run": str(run.path),
    "head": [inspector.layer, inspector.query_head], "notebooks": [notebook.name for notebook in notebooks],
    "entries": sorted(entry.name for entry in here.iterdir()),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``make wheel`` builds it, from a copy of what git has, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in tracked.split("\0"):
        if name and not name.startswith(("data/laptop", "data/paper", "tests/", "book/phases/")):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", *QUIET, "--no-build-isolation", "--wheel-dir", str(folder), "."]
    subprocess.run(command, cwd=folder / "source", check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_carries_what_a_book_is_made_of_and_no_recorded_run(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        carried = {
            name.removeprefix("civilwar/carried/"): packed.read(name)
            for name in packed.namelist()
            if name.startswith("civilwar/carried/")
        }
    patterns = ("notebooks/*.ipynb", "book/*.md", "book/_ext/*.py", "book/_static/*", "data/benchmarks/*")
    sources = [file for pattern in patterns for file in ROOT.glob(pattern)]
    sources += [ROOT / "_config.yml", ROOT / "book" / "_toc.yml", ROOT / "book" / "references.bib"]
    assert {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in sources} == carried


def test_it_trains_shows_and_makes_pages_in_an_empty_folder(
    wheel: Path, tmp_path: Path, smoke_corpus: str, shared: Path
) -> None:
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    install = [sys.executable, "-m", "pip", "install", *QUIET, "--target", str(installed), str(wheel)]
    subprocess.run(install, check=True)
    empty.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CIVILWAR_")} | {
        "PYTHONPATH": str(installed),
        "CIVILWAR_CACHE": str(shared / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", USED, smoke_corpus],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["package"] == str(installed / "civilwar")
    assert found["checkout"] is None
    assert found["head"] == [1, 2]
    # every notebook is a phase but the one for machines that have nothing installed
    notebooks = {file.name for file in (ROOT / "notebooks").glob("*.ipynb")} - {"elsewhere.ipynb"}
    assert found["notebooks"] == sorted(notebooks)
    assert found["entries"] == ["build", "page.ipynb", "runs", "site"]
    Run(Path(found["run"])).verify(weights=True)
    assert "`civilwar reproduce` makes one." in done.stderr
    page = (empty / "page.ipynb").read_text(encoding="utf-8")
    assert "cw-figure" in page
    assert "over TCP" not in page + done.stderr
    for name in ("index.md", "_toc.yml", "_ext/civilwar_numbers.py"):
        assert (empty / "site" / "book" / name).read_bytes() == (ROOT / "book" / name).read_bytes()
