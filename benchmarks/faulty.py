"""``civilwar train`` with one fault built in: ``python benchmarks/faulty.py FAULT ARGUMENT CORPUS NAME``.

``none 0``; ``limit BYTES``, no file may be larger from step 12 on, as on a full disk; ``nan STEP``, a weight becomes infinite
after that many updates; ``interrupt STEP``, the terminal's Ctrl-C is waited for there; ``hold SECONDS``, the run is kept open.
Checkpoints are taken every three steps, so that each fault meets one.
"""

import resource
import sys
import time
from typing import Any

from civilwar.commands.speaking import in_one_sentence
from civilwar.recipe.config import make_config
from civilwar.training import loop as training

CHECKPOINT_EVERY = 3


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
    """Arrange the fault, then train the smoke preset."""
    fault, argument = sys.argv[1], int(sys.argv[2])
    if fault == "limit":
        limit_files(argument)
    elif fault == "nan":
        after_updates(argument, spoil)
    elif fault == "interrupt":
        after_updates(argument, lambda session: wait(60, "READY"))
    elif fault == "hold":
        after_updates(8, lambda session: wait(argument, "READY"))

    def train() -> None:
        config = make_config("smoke", corpus=sys.argv[3])
        run = training.train(config, sys.argv[4], "cpu", CHECKPOINT_EVERY, progress=False)
        print(f"{run.name}: {run.manifest['status']}")

    return in_one_sentence(train)


if __name__ == "__main__":
    sys.exit(main())
