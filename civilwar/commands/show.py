"""``civilwar show``: all that is known of one run without training or drawing anything."""

import argparse

from civilwar.commands import options
from civilwar.commands.list import in_megabytes, told
from civilwar.errors import one_line
from civilwar.runs.glance import INTERRUPTED, glance
from civilwar.runs.listing import folders_of
from civilwar.runs.reader import Run


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = options.command(commands, "show", "what one run is: its recipe, its text, its machine, its files")
    parser.add_argument("name", help="of the run, or the path of its folder")
    parser.add_argument("--verify", action="store_true", help="check every file against its checksum, the weights too")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> None:
    """A line a fact."""
    first, *others = folders_of(chosen.name)
    found = Run(first)
    if chosen.verify:
        found.verify(weights=True)
    for name, text in facts(found).items():
        print(f"{name:<12} {one_line(text)}")
    for other in others:
        print(f"{'also at':<12} {one_line(str(other))}")


def facts(found: Run) -> dict[str, str]:
    """What there is to say of a run, by a word for each."""
    seen, config, manifest = glance(found), found.stored_config, found.manifest
    model, corpus = config.model, manifest.get("corpus", {})
    loss = "" if seen.loss is None else f", training loss {seen.loss:.3f} nats"
    sizes = {
        relative: (found.path / relative).stat().st_size
        for relative in manifest.get("files", {})
        if (found.path / relative).is_file()
    }
    sittings = [
        f"from step {sitting['from_step']} on {sitting.get('device', {}).get('name', 'an unknown device')}, torch "
        f"{sitting.get('versions', {}).get('torch', 'unknown')}, commit {str(sitting.get('commit'))[:10]}"
        for sitting in found.sittings
    ]
    lines = {
        "run": found.name,
        "folder": str(found.path),
        "status": seen.status,
        "recipe": "another program's: training was watched"
        if found.watched
        else f"{config.preset}, {config.variant}, seed {told(lambda: config.seed)} (configuration {config.hash})",
        "model": f"{model.n_layers} layers, {model.n_query_heads} query heads and {model.n_kv_heads} KV heads of "
        f"{model.d_head} dimensions, {model.n_parameters:,} parameters",
        "step": f"{'none' if seen.step is None else seen.step}{'' if found.watched else f' of {config.train.steps}'}{loss}",
        "text": f"{told(lambda: config.corpus)}, checksum {str(corpus.get('checksum', 'unknown'))[:16]}",
        "date": f"{seen.date} UTC",
        "sittings": "; ".join(sittings),
        "size": f"{in_megabytes(seen.size)}, {in_megabytes(sum(sizes.values()))} of it in {len(sizes)} listed files",
        "lacks": ", ".join(seen.lacks) or "nothing",
    }
    if seen.status == INTERRUPTED:
        again = f"train on, and watch with out={str(found.path)!r}"
        lines["next"] = again if found.watched else f"civilwar resume {found.path}"
    return lines
