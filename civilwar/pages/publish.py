"""From a recorded run to pages: execute the phase notebooks in order, then let jupyter-book render them.

The book itself never executes anything. Executed notebooks are stripped of time stamps and random ids, so that the same
run gives the same files and a difference in git means a difference in content.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import papermill

from civilwar import paths
from civilwar.analysis import divergence
from civilwar.files import atomic_path
from civilwar.pages.made import MADE_OF, fingerprint
from civilwar.plots import divergence as draw_divergence
from civilwar.plots import style
from civilwar.recipe import plan
from civilwar.recipe.config import make_config
from civilwar.runs.reader import Run, open_run

#: What jupyter_client says of a kernel at every start is for kernels that a network reaches; ours listens on this machine only.
QUIET_KERNEL = ["--log-level=ERROR"]
#: Lines of a failed build that are shown.
LAST_LINES = 40
#: How a notebook says that an output is a live widget.
WIDGET = "application/vnd.jupyter.widget-view+json"


def phase_notebooks() -> list[Path]:
    """Source notebooks in reading order."""
    return sorted((paths.sources() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def execute(source: Path, target: Path, parameters: Mapping[str, Any] | None = None) -> None:
    """Run one notebook with papermill and write it, without time stamps, to ``target``, once it is whole.

    Raises papermill.PapermillExecutionError where a cell fails; what stood at ``target`` then stays.
    """
    executed = papermill.execute_notebook(
        str(source),
        None,
        parameters=dict(parameters or {}),
        progress_bar=False,
        cwd=str(paths.repository()),
        extra_arguments=QUIET_KERNEL,
    )
    with atomic_path(target) as temporary:
        nbformat.write(without_kernel(without_timestamps(executed)), temporary)


def without_timestamps(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what differs between two executions of the same thing."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = f"injected-parameters-{number}"
    return notebook


def without_kernel(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what needs a live kernel: widgets' state, and outputs' widget form where they have another."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data and data.pop(WIDGET, None) is not None:
                # the widget's text names its address in memory
                data["text/plain"] = "HeadInspector"
    return notebook


def build_book(source: Path, quiet: bool = False) -> Path:
    """``jupyter-book build`` from scratch, warnings as errors. Returns the folder of the HTML pages.

    The pages take the place of earlier ones when all are there; beside them stands what they were made of.
    Raises subprocess.CalledProcessError where the build fails; its output, or with ``quiet`` the end of it, has been shown by
    then.
    """
    build, made_of = source.parent / "_build", fingerprint(source)
    program = Path(sys.executable).with_name("jupyter-book")
    with atomic_path(build) as temporary:
        # from scratch: incremental builds do not notice changed static files
        command = [
            str(program),
            "build",
            str(source),
            "--path-output",
            str(temporary),
            "--warningiserror",
            "--keep-going",
        ]
        _run(command, quiet)
        # it adds a folder of that name
        for part in (temporary / "_build").iterdir():
            part.rename(temporary / part.name)
        (temporary / "_build").rmdir()
        (temporary / MADE_OF).write_text(made_of, encoding="ascii")
    return build / "html"


def _run(command: list[str], quiet: bool) -> None:
    if not quiet:
        subprocess.run(command, check=True)
        return
    try:
        subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.CalledProcessError as error:
        print("\n".join(error.stdout.splitlines()[-LAST_LINES:]), file=sys.stderr)
        raise


def publish_recorded() -> Path:
    """Rebuild the published book from the recorded run in ``data/``, whatever this machine trained itself."""
    root = paths.repository()
    # a folder without runs: the notebooks then find the recorded ones
    os.environ["CIVILWAR_RUNS"] = str(root / "build" / "no-runs")
    for notebook in phase_notebooks():
        print(f"executing {notebook.name}", flush=True)
        execute(notebook, root / "book" / "phases" / notebook.name)
    write_cover(open_run(make_config(plan.SHOWN).default_name), root / "book" / "_static" / "cover.png")
    return build_book(root / "book")


def write_cover(run: Run, target: Path) -> None:
    """The README's picture, from the run: the key norms of the middle layer's heads."""
    style.use_style()
    norms = divergence.key_norms(run)
    layer = divergence.middle_layer(run.config)
    figure, ax = style.single()
    draw_divergence.head_norms(norms[norms["layer"] == layer], divergence.decay_only_curve(run), ax)
    n_heads = run.config.model.n_kv_heads
    ax.set_title(f"Layer {layer}: key norms of its {n_heads} KV heads over training")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    plt.close(figure)
