"""JupyterLab itself, with a live kernel: the inspector, which Python and the reader both move, and a phase notebook's prose."""

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

from civilwar.pages.publish import phase_notebooks
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
#: A phase notebook, opened and run as a reader does, as far as its opening goes.
PHASE, OPENING = "02_focus_law", 8
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
#: All cells in the page at once, whatever its height.
SETTINGS = {"@jupyterlab/notebook-extension/tracker.jupyterlab-settings": '{"windowingMode": "none"}'}
RUN_CELL = """
const [index, done] = arguments;
const app = window.jupyterapp;
app.shell.currentWidget.content.activeCellIndex = index;
app.commands.execute("notebook:run-cell").then(() => done(null), error => done(String(error)));
"""
OUTPUT = "document.querySelectorAll('.jp-Notebook-cell')[{index}].querySelector('.jp-OutputArea')?.textContent ?? ''"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, smoke_run: Run, smoke_parameters: dict[str, object]) -> Iterator[str]:
    """Address of a notebook in a JupyterLab of our own, its token included."""
    home = tmp_path_factory.mktemp("lab")
    sources = (source.replace("{path!r}", repr(str(smoke_run.path))) for source in CELLS.values())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    shown = home / "shown"
    shown.mkdir()
    nbformat.write(notebook, shown / "heads.ipynb")
    nbformat.write(opening(smoke_parameters), shown / f"{PHASE}.ipynb")
    # nobody's own settings
    places = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    places["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    for name, content in SETTINGS.items():
        setting = home / "settings" / name
        setting.parent.mkdir(parents=True)
        setting.write_text(content, encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.root_dir={shown}"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **places, "HOME": str(home)})
    try:
        found = address(home / "JUPYTER_RUNTIME_DIR", server, home / "log")
        yield f"{found['url']}lab/tree/heads.ipynb?token={found['token']}"
    finally:
        server.terminate()
        server.wait()


def opening(parameters: dict[str, object]) -> nbformat.NotebookNode:
    """The first cells of a phase notebook's source, its parameters set to those of the smoke run."""
    (source,) = (file for file in phase_notebooks() if file.stem == PHASE)
    notebook = nbformat.read(source, as_version=4)
    notebook.cells = notebook.cells[:OPENING]
    cell = notebook.cells[1]
    assert cell.metadata.tags[0] == "parameters"
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    return notebook


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


# a phase notebook's prose

RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
#: What a reader reads as text: rendered Markdown, and the code of cells that write it where that is in sight.
READ = """[...window.jupyterapp.shell.currentWidget.node.querySelectorAll('.jp-Notebook-cell')].map(cell => {
  const said = [...cell.querySelectorAll('.jp-RenderedMarkdown')].map(text => text.innerText);
  const code = cell.querySelector('.jp-InputArea-editor')?.innerText ?? '';
  return [...said, ...(code.includes('prose(') && !code.includes('import') ? [code] : [])].join(' ');
})"""
#: A role, a template's name, a directive, a brace.
MACHINERY = re.compile(r"[{}]|`|:class:|\bglue\b|\bprose\(")


def test_a_phase_notebook_s_prose_has_its_numbers_and_no_machinery(chromium: Browser, lab: str) -> None:
    base, _, page = lab.partition("lab/tree")
    chromium.open(base, f"lab/tree/{PHASE}.ipynb?{page.partition('?')[2]}", prefers="light")
    ready = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    # the inspector's notebook may be open in another tab
    here = f"window.jupyterapp.shell.currentWidget.context.path === '{PHASE}.ipynb'"
    chromium.wait_for(f"{ready} && {here} && ({READ}).length === {OPENING}", 120)
    before = chromium.ask(READ)
    assert "Phase 2" in before[0]
    assert not [text for text in before if MACHINERY.search(text)]
    # nothing that waits for numbers is said yet, and the code that will say it is folded
    folded = "window.jupyterapp.shell.currentWidget.node.querySelectorAll('.jp-InputPlaceholder').length"
    assert chromium.ask(folded) == 2
    chromium.driver.execute_script(RUN_ALL)
    chromium.wait_for(f"({READ}).some(text => text.includes('permutation p ='))", 120)
    after = chromium.ask(READ)
    assert not [text for text in after if MACHINERY.search(text)]
    assert re.search(r"rank correlation .* is \N{MINUS SIGN}?0\.\d\d for the attention", " ".join(after))
    assert len([text for text in after if text]) > len([text for text in before if text])
