"""Shared by all tests: runtime checks of shapes, one CPU thread, own folders, one trained smoke run, one built book."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

# before torch is imported, so that subprocesses and this process compute with the same number of threads
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# before they are imported: the annotations of every module with tensors are checked at run time, here and nowhere else
PACKAGE = Path(__file__).parents[1] / "civilwar"
TYPE_CHECKED = [
    ".".join(("civilwar", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in sorted(PACKAGE.rglob("*.py"))
    if re.search(r"^(import|from) (jaxtyping|torch)", file.read_text(encoding="utf-8"), re.MULTILINE)
]
install_import_hook(TYPE_CHECKED, "runtime_types.check")

import browser  # noqa: E402

from civilwar import paths  # noqa: E402
from civilwar.recipe.config import RunConfig, make_config  # noqa: E402
from civilwar.runs.reader import Run  # noqa: E402

torch.set_num_threads(1)
# the same examples every time, and no verdict that hangs on the machine's speed
settings.register_profile("civilwar", derandomize=True, deadline=None, database=None, max_examples=20)
settings.load_profile("civilwar")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and this machine has none")


@pytest.fixture(scope="session", autouse=True)
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where this session's runs go, so that no test reads or writes the checkout's own; the cache lies beside it."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIVILWAR_RUNS", str(folder))
        patch.setenv("CIVILWAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield folder


@pytest.fixture(scope="session")
def smoke_corpus() -> str:
    """A corpus of one package's docstrings: real text, tokenised in about a second, then cached for the session."""
    return "docstrings:networkx"


@pytest.fixture(scope="session")
def smoke_config(smoke_corpus: str) -> RunConfig:
    """The baseline of the smoke preset, seed 0."""
    return make_config("smoke", corpus=smoke_corpus)


@pytest.fixture(scope="session")
def smoke_run(runs_dir: Path, smoke_config: RunConfig) -> Run:
    """A complete run of ``smoke_config``, trained without interruption. Read it, never write to it."""
    from civilwar.training.loop import train

    return train(smoke_config, "smoke-run", device="cpu", progress=False)


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the committed book, built strictly from a copy: nothing was run for it. Read them, never write.

    Tests that use it belong to the group "book", so that one worker builds it for all.
    """
    from civilwar.pages.publish import build_book

    site = tmp_path_factory.mktemp("site")
    shutil.copytree(paths.repository() / "book", site / "book", ignore=shutil.ignore_patterns("_build"))
    shutil.copy2(paths.repository() / "_config.yml", site)
    return build_book(site / "book")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    """A real browser that reaches no other host; its tests are skipped, or fail on CI, where there is none."""
    opened = browser.Browser(browser.find_or_skip(), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
