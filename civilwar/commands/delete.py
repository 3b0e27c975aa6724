"""``civilwar delete``: a run's folder, after a question."""

import argparse
import sys

from civilwar.commands import options
from civilwar.commands.list import in_megabytes
from civilwar.errors import RunError, one_line
from civilwar.files import recover
from civilwar.runs.glance import size_of
from civilwar.runs.listing import one_folder, roots
from civilwar.runs.reader import check_name
from civilwar.runs.removal import delete


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "delete", "delete a run and everything in its folder")
    parser.add_argument("name", help="of the run, or the path of its folder")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--publish", action="store_true", help="also where it is one of the recorded runs in data/")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """Ask, unless told not to, and delete."""
    if "/" not in chosen.name:
        # what a kill left of an earlier one is no run any more, and goes first
        for root in roots():
            if root.is_dir():
                recover(root / check_name(chosen.name))
    folder = one_folder(chosen.name)
    what = f"{folder} ({in_megabytes(size_of(folder))})"
    if not chosen.yes:
        if not sys.stdin.isatty():
            raise RunError(f"{what} stays: add --yes to delete it where nobody can be asked.")
        if input(f"Delete {one_line(what)}? Type yes: ").strip() != "yes":
            raise RunError(f"{what} stays, as you wished.")
    delete(folder, chosen.publish)
    print(f"deleted {one_line(what)}")
