"""The command line, ``civilwar COMMAND``: what each command does stands in `civilwar.commands`, a file each."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from civilwar.commands import (
    book,
    compare,
    delete,
    export,
    lab,
    list,
    options,
    record,
    reproduce,
    serve,
    show,
    sweep,
    train,
)
from civilwar.commands.speaking import in_one_sentence

#: In the order of the help: what a reader does first stands first.
COMMANDS = (reproduce, serve, lab, train, list, show, compare, export, delete, record, sweep, book)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status, as `civilwar.commands.speaking.in_one_sentence` has it."""
    chosen = parser().parse_args(arguments)
    return in_one_sentence(lambda: chosen.command(chosen))


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    whole = argparse.ArgumentParser(
        prog="civilwar",
        description="Train runs, follow every attention head through them, and make a book of what they show.",
        epilog=f"`civilwar COMMAND --help` tells of one command.\n\n{options.explained()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=versions())
    commands = whole.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in COMMANDS:
        module.add(commands)
    return whole


def versions() -> str:
    """Of this package, and of what computes."""
    found = {}
    for name in ("civilwar", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a copy of the sources that nobody installed
            found[name] = "(not installed)"
    python = ".".join(map(str, sys.version_info[:3]))
    return f"civilwar {found['civilwar']}, torch {found['torch']}, Python {python}"


if __name__ == "__main__":
    sys.exit(main())
