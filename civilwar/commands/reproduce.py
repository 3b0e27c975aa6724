"""``civilwar reproduce``: a run of one's own, and the book of it."""

import argparse

from civilwar.commands import options
from civilwar.recipe.config import make_config

EPILOG = """Says first what each stage will take in time and disk, then trains with a progress bar. Stopped, it goes on where it
was. Everything lies below build/; `civilwar serve` opens the book."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    epilog = f"{EPILOG}\n\n{options.explained()}"
    parser = options.command(commands, "reproduce", "train live, and build the book of that run under build/", epilog)
    options.add_run(parser)
    options.add_machine(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """Train, execute, build; then say where the book is."""
    from civilwar.pages.reproduce import reproduce

    config = make_config(chosen.preset, chosen.variant, chosen.seed, chosen.corpus)
    pages = reproduce(config, chosen.device, chosen.accept_another_machine)
    print(f"The book of your run is at {(pages / 'index.html').as_uri()}\n`civilwar serve` opens it in a browser.")
