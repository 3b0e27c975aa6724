"""``civilwar sweep``: every run that the verdicts are computed from."""

import argparse

from civilwar.commands import options


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "sweep", "train and record every run that the verdicts are computed from")
    options.add_preset(parser)
    options.add_corpus(parser)
    options.add_machine(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """A line a run."""
    from civilwar.training.sweep import run_sweep

    for line in run_sweep(chosen.preset, chosen.corpus, chosen.device, chosen.accept_another_machine):
        print(line, flush=True)
