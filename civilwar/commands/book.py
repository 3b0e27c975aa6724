"""``civilwar book``: the published book, from the recorded runs."""

import argparse

from civilwar.commands import options


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "book", "rebuild the published book from the recorded runs, no training")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """Execute the notebooks, build the pages."""
    from civilwar.pages.publish import publish_recorded

    print(f"the book is at {publish_recorded() / 'index.html'}")
