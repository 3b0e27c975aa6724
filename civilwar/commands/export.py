"""``civilwar export``: a run for somebody else, or its tables for another program."""

import argparse
from pathlib import Path

from civilwar.commands import options
from civilwar.runs.listing import one_folder
from civilwar.runs.reader import Run

EPILOG = """A run that was exported is opened where it lies: unpack it into the other machine's folder of runs, or name its
path.
Tables as CSV hold text and numbers only: what a spreadsheet would compute is made inert."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(
        commands, "export", "copy a complete run out of here, checked: a folder, or one zip file", EPILOG
    )
    parser.add_argument("name", help="of the run, or the path of its folder")
    parser.add_argument("target", type=Path, help="a folder that is not there yet, or a file that ends in .zip")
    parser.add_argument("--weights", action="store_true", help="with the trained weights, where the run has them")
    parser.add_argument("--csv", action="store_true", help="the tables as CSV, and nothing else")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """Copy it, or write its tables."""
    from civilwar.pages.export import export

    print(f"exported {export(Run(one_folder(chosen.name)), chosen.target, weights=chosen.weights, as_csv=chosen.csv)}")
