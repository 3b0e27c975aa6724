"""``civilwar train``, and ``resume`` for a run by its name."""

import argparse
import os

from civilwar.commands import options
from civilwar.errors import RunError
from civilwar.recipe.config import make_config
from civilwar.runs.listing import one_folder
from civilwar.runs.reader import Run


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare both."""
    train = options.command(commands, "train", "train a run, or finish an interrupted one", options.explained())
    options.add_run(train)
    options.add_machine(train)
    train.add_argument("--steps", type=int, help="updates, where they should be others than the preset's")
    train.add_argument("--name", help="folder of the run; by default preset, variant and seed")
    train.set_defaults(command=run)
    again = options.command(commands, "resume", "finish an interrupted run, whatever it is made of")
    again.add_argument("name", help="of the run, as `civilwar list` shows it, or the path of its folder")
    options.add_machine(again)
    again.set_defaults(command=resume)


# torch is slow to load: only what trains loads it


def run(chosen: argparse.Namespace) -> None:
    """Train what the options describe."""
    from civilwar.training.loop import train

    config = make_config(chosen.preset, chosen.variant, chosen.seed, chosen.corpus, chosen.steps)
    done = train(config, chosen.name, chosen.device, accept_another_machine=chosen.accept_another_machine)
    print(f"{done.name}: {done.manifest['status']}, {done.path}")


def resume(chosen: argparse.Namespace) -> None:
    """Train what the folder's own manifest describes, in that folder."""
    found = Run(one_folder(chosen.name))
    if found.complete:
        raise RunError(
            f"{found.path} is complete: there is nothing to resume. `civilwar show {found.name}` tells of it."
        )
    from civilwar.training.loop import train

    os.environ["CIVILWAR_RUNS"] = str(found.path.parent)
    done = train(found.recipe, found.name, chosen.device, accept_another_machine=chosen.accept_another_machine)
    print(f"{done.name}: {done.manifest['status']}, {done.path}")
