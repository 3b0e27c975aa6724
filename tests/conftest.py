"""Shared by all tests: runtime checks of shapes, one CPU thread, own folders.

What takes long is made once for all workers: trained runs, executed notebooks, the built book.
"""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# before torch is imported, so that subprocesses and this process compute with the same number of threads
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# compiling takes longer than most tests; those of compiled code ask for it, and share what was compiled
os.environ["CIVILWAR_COMPILE"] = "0"

import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from jaxtyping import install_import_hook

# before they are imported: the annotations of every module with tensors are checked at run time, here and nowhere else
PACKAGE = Path(__file__).parents[1] / "civilwar"
# torch.compile looks into the doors as it compiles a model that is heard, and cannot look into what checks types
DOORS = ("call", "telling", "transformers_door", "sdpa_door", "mha_door", "observing", "doors")
TYPE_CHECKED = [
    ".".join(("civilwar", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in sorted(PACKAGE.rglob("*.py"))
    if re.search(r"^(import|from) (jaxtyping|torch)", file.read_text(encoding="utf-8"), re.MULTILINE)
    and not (file.parent.name == "hear" and file.stem in DOORS)
]
install_import_hook(TYPE_CHECKED, "runtime_types.check")

import browser  # noqa: E402

from civilwar import paths  # noqa: E402
from civilwar.recipe.config import RunConfig, make_config  # noqa: E402
from civilwar.runs.reader import Run  # noqa: E402

torch.set_num_threads(1)
# what a shell runs in the background ignores Ctrl-C, and the tests of interrupts would test nothing
signal.signal(signal.SIGINT, signal.default_int_handler)
# the same examples every time, and no verdict that hangs on the machine's speed
settings.register_profile("civilwar", derandomize=True, deadline=None, database=None, max_examples=20)
settings.load_profile("civilwar")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and this machine has none")


#: Tests that take longest, longest first: begun early, or one worker would be at them when the others have nothing left to do.
LONGEST = (
    "training/test_loop.py::test_a_killed_run_resumes_to_the_same_bits",
    "test_types.py",
    "test_readme.py::test_papermill_word_for_word",
    "book/test_notebooks.py::test_controls_and_capacity_on_part_of_a_sweep",
    "book/test_browser.py::test_a_page_is_whole_for_every_reader",
    "training/test_loop.py::test_a_disk_that_refuses_to_write_costs_nothing_recorded",
    "book/test_notebooks.py",
    "pages",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups come first by themselves, largest first; the rest is given out in this order."""

    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(LONGEST) if item.nodeid.startswith(f"tests/{name}")), len(LONGEST))

    items.sort(key=place)


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """``folder`` as ``make`` filled it, in whichever worker asked first; the others wait for it. Read it, never write to it."""
    done = folder.with_name(f"{folder.name}.done")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not done.exists():
            # what a failed attempt left
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this session see, and no other session."""
    own = tmp_path_factory.getbasetemp()
    # a worker's own folder lies in the session's
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def runs_dir(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Path]:
    """Where this worker's runs go, so that no test reads or writes the checkout's own. The cache of tokens is all workers'."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIVILWAR_RUNS", str(folder))
        patch.setenv("CIVILWAR_CACHE", str(shared / "cache"))
        yield folder


@pytest.fixture(scope="session")
def smoke_corpus() -> str:
    """A corpus of one package's docstrings: real text, tokenised in about a second, then cached for the session."""
    return "docstrings:networkx"


@pytest.fixture(scope="session")
def smoke_config(smoke_corpus: str) -> RunConfig:
    """The baseline of the smoke preset, seed 0."""
    return make_config("smoke", corpus=smoke_corpus)


Trained = Callable[[RunConfig, str], Run]


@pytest.fixture(scope="session")
def trained_once(shared: Path) -> Trained:
    """A complete run of a configuration, under a name in the current folder of runs: trained by one worker, copied by all."""
    from civilwar.training.loop import train

    def trained(config: RunConfig, name: str) -> Run:
        def make(folder: Path) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CIVILWAR_RUNS", str(folder))
                train(config, "run", device="cpu", progress=False)

        made = made_once(shared / f"trained-{config.hash}", make)
        shutil.copytree(made / "run", paths.runs() / name)
        return Run(paths.runs() / name)

    return trained


@pytest.fixture(scope="session")
def smoke_run(runs_dir: Path, smoke_config: RunConfig, trained_once: Trained) -> Run:
    """A complete run of ``smoke_config``, trained without interruption. Read it, never write to it."""
    return trained_once(smoke_config, "smoke-run")


@pytest.fixture(scope="session")
def smoke_parameters(smoke_run: Run, smoke_corpus: str) -> dict[str, object]:
    """What a notebook is given to open ``smoke_run``."""
    return {"run": smoke_run.name, "preset": "smoke", "corpus": smoke_corpus, "device": "cpu"}


@pytest.fixture(scope="session")
def executed(shared: Path, smoke_parameters: dict[str, object]) -> Callable[[str], Path]:
    """Give the name of a phase notebook, get it as published, executed on ``smoke_run``. Read it, never write to it."""
    from civilwar.pages.publish import execute, phase_notebooks

    sources = {source.stem: source for source in phase_notebooks()}

    def of(name: str) -> Path:
        file = f"{name}.ipynb"
        return made_once(shared / name, lambda made: execute(sources[name], made / file, smoke_parameters)) / file

    return of


@pytest.fixture(scope="session")
def html(shared: Path) -> Path:
    """The pages of the committed book, built strictly from a copy: nothing was run for it. Read them, never write."""
    from civilwar.pages.publish import build_book

    def build(site: Path) -> None:
        shutil.copytree(paths.repository() / "book", site / "book", ignore=shutil.ignore_patterns("_build"))
        shutil.copy2(paths.repository() / "_config.yml", site)
        build_book(site / "book")

    return made_once(shared / "site", build) / "_build" / "html"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    """A real browser that reaches no other host; its tests are skipped, or fail on CI, where there is none."""
    opened = browser.Browser(browser.find_or_skip(), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
