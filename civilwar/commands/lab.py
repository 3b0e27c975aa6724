"""``civilwar lab``: the notebooks, to run and to change, in JupyterLab."""

import argparse
import os
import subprocess
import sys

from civilwar import paths
from civilwar.commands import options

EPILOG = """Lab saves what it executes into the file that is open. So it opens copies, in build/notebooks/: what you do there
changes no page of the book. A copy that you did not change follows its source. What stands after -- is for Lab."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "lab", "open copies of the notebooks in JupyterLab", EPILOG)
    parser.add_argument("rest", nargs="*", metavar="-- OPTION", help="of JupyterLab")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Bring the copies up to date and start Lab among them."""
    from civilwar.pages.notebooks import copies

    folder, changed = copies()
    # a kernel works where its notebook lies: runs are to be found and kept where they are from here
    for variable, place in (("RUNS", paths.runs()), ("CACHE", paths.cache()), ("DATA", paths.recorded())):
        os.environ.setdefault(f"CIVILWAR_{variable}", str(place))
    print(
        f"copies of the notebooks: {folder}" + (f" (as you left them: {', '.join(changed)})" if changed else ""),
        flush=True,
    )
    return subprocess.run([sys.executable, "-m", "jupyterlab", str(folder), *chosen.rest], check=False).returncode
