"""The inspector in JupyterLab itself, with a live kernel: what a reader does Python can read, and the other way round."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import Browser

from civilwar.runs.reader import Run

# one worker starts JupyterLab
pytestmark = pytest.mark.xdist_group("jupyterlab")

CELLS = {
    "show": "from civilwar.runs.reader import Run\nfrom civilwar.inspector.widget import HeadInspector\n"
    "inspector = HeadInspector(Run({path!r}), layer=1, query_head=2)\ninspector",
    "set": "inspector.layer, inspector.query_head, inspector.step = 0, 3, 8",
    "read": "print('Python reads', inspector.layer, inspector.query_head, inspector.step, inspector.metric)",
    "refuse": "inspector.layer = 99",
}
OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",
    "--ServerApp.open_browser=False",
    "--LabApp.expose_app_in_browser=True",
    # what it would ask of other hosts
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)
RUN_CELL = """
const [index, done] = arguments;
const app = window.jupyterapp;
app.shell.currentWidget.content.activeCellIndex = index;
app.commands.execute("notebook:run-cell").then(() => done(null), error => done(String(error)));
"""
OUTPUT = "document.querySelectorAll('.jp-Notebook-cell')[{index}].querySelector('.jp-OutputArea')?.textContent ?? ''"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, smoke_run: Run) -> Iterator[str]:
    """Address of a notebook in a JupyterLab of our own, its token included."""
    home = tmp_path_factory.mktemp("lab")
    sources = (source.replace("{path!r}", repr(str(smoke_run.path))) for source in CELLS.values())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    shown = home / "shown"
    shown.mkdir()
    nbformat.write(notebook, shown / "heads.ipynb")
    # nobody's own settings
    places = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.root_dir={shown}"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **places, "HOME": str(home)})
    try:
        found = address(home / "JUPYTER_RUNTIME_DIR", server, home / "log")
        yield f"{found['url']}lab/tree/heads.ipynb?token={found['token']}"
    finally:
        server.terminate()
        server.wait()


def address(folder: Path, server: "subprocess.Popen[bytes]", log: Path) -> dict[str, Any]:
    """What the server says of itself once it answers."""
    while server.poll() is None:
        for file in folder.glob("jpserver-*.json"):
            try:
                found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
                urllib.request.urlopen(f"{found['url']}api?token={found['token']}").close()
            except (OSError, ValueError):
                continue
            return found
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab ended: {log.read_text(encoding='utf-8')}")


@pytest.fixture(scope="module")
def opened(chromium: Browser, lab: str) -> Browser:
    """The notebook, its kernel ready, and the inspector on the screen."""
    base, _, page = lab.partition("lab/tree")
    chromium.open(base, f"lab/tree{page}", prefers="light")
    chromium.wait_for("window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", 120)
    run(chromium, "show")
    chromium.wait_for("!!document.querySelector('.cw-inspector .cwi-said')?.textContent", 60)
    return chromium


def run(opened: Browser, cell: str) -> None:
    error = opened.driver.execute_async_script(RUN_CELL, list(CELLS).index(cell))
    assert error is None, error


def output(opened: Browser, cell: str) -> str:
    return str(opened.ask(OUTPUT.format(index=list(CELLS).index(cell))))


def said(opened: Browser) -> str:
    return str(opened.ask("document.querySelector('.cwi-said').textContent"))


def test_it_opens_with_every_view(opened: Browser) -> None:
    assert said(opened).startswith("Layer 1, query head 2 (KV head ")
    assert opened.ask("document.querySelectorAll('.cwi-panel svg').length") >= 5


def test_python_sets_what_the_reader_sees(opened: Browser) -> None:
    run(opened, "set")
    opened.wait_for("document.querySelector('.cwi-said').textContent.includes('at step 8:')")
    assert re.match(r"Layer 0, query head 3 \(KV head \d\) at step 8:", said(opened))


def test_python_reads_what_the_reader_chose(opened: Browser, smoke_run: Run) -> None:
    for name, value in {"layer": 1, "head": 1, "step": 4, "metric": "norm_mean"}.items():
        opened.choose(name, value)
    # a change waits in the page until the kernel has answered for the one before it
    for _ in range(50):
        run(opened, "read")
        if "1 1 4 norm_mean" in output(opened, "read"):
            break
    assert "Python reads 1 1 4 norm_mean" in output(opened, "read")


def test_patterns_come_from_the_kernel(opened: Browser) -> None:
    opened.choose("layer", 0)
    opened.wait_for("!document.querySelector('.cwi-waiting')")
    assert opened.ask("document.querySelectorAll('.cwi-pattern svg *').length") > 10


def test_it_takes_the_theme_s_colours(opened: Browser) -> None:
    """Ink is light on a dark theme and dark on a light one."""
    change = """const [theme, done] = arguments;
    window.jupyterapp.commands.execute("apputils:change-theme", {theme})
      .then(() => done(null), error => done(String(error)));"""
    for theme, dark in (("JupyterLab Dark", True), ("JupyterLab Light", False)):
        assert opened.driver.execute_async_script(change, theme) is None
        opened.wait_for(f"document.body.dataset.jpThemeName === '{theme}'")
        ink = opened.ask("getComputedStyle(document.querySelector('.cwi-said')).color")
        assert (max(map(int, re.findall(r"\d+", ink)[:3])) > 128) is dark, ink


def test_a_wrong_value_is_refused_in_one_sentence_and_nothing_moves(opened: Browser) -> None:
    before = said(opened)
    run(opened, "refuse")
    assert "layer = 99" in output(opened, "refuse")
    assert said(opened) == before
