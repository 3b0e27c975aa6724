"""``civilwar list``: every run, a line each, whatever is wrong with one of them."""

import argparse
from collections.abc import Callable
from itertools import groupby

from civilwar.commands import options
from civilwar.errors import RunLacks, one_line
from civilwar.recipe.watched import WATCHED
from civilwar.runs.glance import THINNED
from civilwar.runs.listing import Listed, list_folders, roots

COLUMNS = ("run", "status", "step", "of", "loss", "preset", "variant", "seed", "date (UTC)", "size", "lacks")
#: In the place of what is not known.
UNKNOWN = "–"
EPILOG = """A run that is "interrupted" goes on with `civilwar resume RUN`; one that is "running" is being written now.
Exit status 1 where a folder cannot be read."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "list", "list runs: what each is, how far it is, and what it lacks", EPILOG)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """A table for every folder of runs; status 1 where one cannot be read."""
    found = list(list_folders())
    for root, here in groupby(found, key=lambda one: one.path if one.path in roots() else one.path.parent):
        print(f"{root}:")
        print("\n".join(_aligned([COLUMNS, *map(_cells, here)])))
        print()
    if not found:
        looked = ", ".join(str(root) for root in roots())
        print(f"no runs yet in {looked}.\n`civilwar train` makes one, `civilwar reproduce` one and the book of it.")
    return int(any(one.status == "unreadable" for one in found))


def _cells(one: Listed) -> tuple[str, ...]:
    """One row's words; in the place of the last, what is wrong with a folder that cannot be read."""
    name = one_line(one.path.name)
    if one.glance is None or one.config is None:
        return (name, one.status, *[""] * (len(COLUMNS) - 3), one_line(one.problem))
    config, seen = one.config, one.glance
    return (
        name,
        one_line(one.status),
        UNKNOWN if seen.step is None else str(seen.step),
        told(lambda: config.train.steps if config.variant != WATCHED else None),
        UNKNOWN if seen.loss is None else f"{seen.loss:.3f}",
        one_line(config.preset),
        one_line(config.variant),
        told(lambda: config.seed),
        one_line(seen.date),
        in_megabytes(seen.size),
        one_line(_in_short(seen.lacks)),
    )


def told(ask: Callable[[], object]) -> str:
    """What a run's configuration says; of a run that was only watched, a dash where nobody told."""
    try:
        found = ask()
    except RunLacks:
        found = None
    return UNKNOWN if found is None else one_line(str(found))


def _in_short(lacks: tuple[str, ...]) -> str:
    """What a run lacks, tables and arrays that were thinned counted and not named: `civilwar show` names them."""
    thinned = [what for what in lacks if what.startswith(THINNED)]
    others = [what for what in lacks if what not in thinned]
    return ", ".join([*others, *([f"steps of {len(thinned)} tables and arrays"] if thinned else [])]) or "nothing"


def in_megabytes(size: int) -> str:
    """Bytes in the unit of all sizes here, to three digits."""
    return f"{size / 1e6:.3g} MB"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows with their columns below one another, two spaces between them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
