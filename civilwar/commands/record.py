"""``civilwar record``: a run's tables without its weights, in the folder that is published or in one that is ignored."""

import argparse

from civilwar import paths
from civilwar.commands import options


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(
        commands, "record", "copy a complete run without its weights to build/recorded/, or to data/"
    )
    parser.add_argument("name")
    parser.add_argument(
        "--form",
        default="whole",
        choices=["whole", "light", "slim"],
        help="light: energies at fewer steps; slim: without what no verdict needs",
    )
    parser.add_argument("--replace", action="store_true", help="let a form that holds less replace one that holds more")
    parser.add_argument("--publish", action="store_true", help="to data/, of which the published book is made")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """Copy it."""
    from civilwar.runs.recording import record

    root = paths.recorded() if chosen.publish else paths.built() / "recorded"
    print(f"recorded {record(chosen.name, chosen.form, chosen.replace, root)}")
