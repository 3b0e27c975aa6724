"""The command line with one fault built in: ``python benchmarks/faulty.py FAULT ARGUMENT train ...``.

``none 0``; ``kill N``, SIGKILL right before the run's folder is touched for the N-th time; ``kill-checkpoint N``, the same,
counting only what touches a checkpoint that is being written; ``limit BYTES``, no file may be larger from step 12 on, as on a
full disk; ``nan STEP``, a weight becomes infinite after that many updates; ``interrupt STEP``, the terminal's Ctrl-C is waited
for there; ``hold SECONDS``, the run is kept open. Checkpoints are taken every three steps, so that each fault meets one.
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from civilwar import cli, paths
from civilwar.recipe.config import make_config
from civilwar.training import loop as training

CHECKPOINT_EVERY = 3


def kill_at(n: int, part: str) -> None:
    """Die right before the n-th event that concerns a path of the runs' folder with ``part`` in it."""
    folder, seen = str(paths.runs()), 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        names = [str(a) for a in arguments if isinstance(a, str | Path)]
        if any(name.startswith(folder) and part in name for name in names):
            seen += 1
            if seen == n:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def limit_files(size: int) -> None:
    """From the checkpoint of step 12 on, no file may grow larger."""
    write = training.Session.checkpoint

    def checkpoint(session: training.Session, step: int) -> None:
        if step >= 12:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        write(session, step)

    training.Session.checkpoint = checkpoint  # type: ignore[method-assign]


def after_updates(n: int, do: Any) -> None:
    """Call ``do(session)`` once, after the n-th update."""
    update, done = training.Session.update, 0

    def updating(session: training.Session) -> None:
        nonlocal done
        update(session)
        done += 1
        if done == n:
            do(session)

    training.Session.update = updating  # type: ignore[method-assign]


def spoil(session: training.Session) -> None:
    """One infinite weight: the next loss is not a number."""
    session.model.blocks[0].mlp.up.weight.data[0] = float("inf")


def wait(seconds: float, say: str) -> None:
    """Tell whoever started this that the moment has come, and wait."""
    print(say, flush=True)
    time.sleep(seconds)


def main() -> int:
    """Arrange the fault, then run the command line."""
    fault, argument = sys.argv[1], int(sys.argv[2])
    if fault == "kill":
        kill_at(argument, "")
    elif fault == "kill-checkpoint":
        kill_at(argument, "/checkpoints/.")
    elif fault == "limit":
        limit_files(argument)
    elif fault == "nan":
        after_updates(argument, spoil)
    elif fault == "interrupt":
        after_updates(argument, lambda session: wait(60, "READY"))
    elif fault == "hold":
        after_updates(8, lambda session: wait(argument, "READY"))

    def train(options: Any) -> None:
        config = make_config(options.preset, options.variant, options.seed, options.corpus)
        run = training.train(config, options.name, options.device, CHECKPOINT_EVERY, progress=False)
        print(f"{run.name}: {run.manifest['status']}")

    cli._train = train
    return cli.main(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
