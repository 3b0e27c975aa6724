"""``civilwar compare``: how far two runs differ."""

import argparse

from civilwar.commands import options
from civilwar.runs.reader import open_run


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "compare", "how far the numbers of two runs differ, measure by measure")
    parser.add_argument("one")
    parser.add_argument("other")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """A table, a row a measure."""
    from civilwar.analysis.compare import as_text, compare

    print(as_text(compare(open_run(chosen.one), open_run(chosen.other))))
