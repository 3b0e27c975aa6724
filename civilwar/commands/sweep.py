"""``civilwar sweep``: runs of the plan, by default those that the verdicts rest on."""

import argparse

from civilwar.commands import options
from civilwar.recipe.config import PRESETS
from civilwar.recipe.plan import GROUPS


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "sweep", "train runs of the plan, by default those that the verdicts rest on")
    parser.add_argument(
        "--group", default="laptop", choices=list(GROUPS), help="which part of the plan (default: laptop)"
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help="runs whose name matches, as in '*-baseline-*'")
    parser.add_argument("--preset", choices=list(PRESETS), help="another size than the group's, for a trial")
    parser.add_argument("--corpus", help="another text than the group's, for a trial")
    parser.add_argument("--publish", action="store_true", help="record each run slim in data/, and drop its weights")
    options.add_machine(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """A line a run."""
    from civilwar.training.sweep import run_sweep

    lines = run_sweep(
        chosen.group,
        chosen.only,
        chosen.preset,
        chosen.corpus,
        chosen.device,
        chosen.accept_another_machine,
        publish=chosen.publish,
    )
    for line in lines:
        print(line, flush=True)
