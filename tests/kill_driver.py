"""Train runs that are killed for good (SIGKILL) at chosen moments. A program of its own: training/test_loop.py starts it.

usage: kill_driver.py CONFIG.json PLANS.json

A plan is a run's name and a list of kills, one process each, all on the same run folder. A kill is ``["event", n]``: the
process kills itself right before it touches the run's folder for the n-th time (open, rename, remove, make a folder);
or ``["checkpoints", n]``: this program kills it as soon as n checkpoints have been written.
Prints one list of exit statuses per plan.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from civilwar import paths
from civilwar.recipe.config import RunConfig
from civilwar.training.loop import train


def die_at_event(folder: Path, n: int) -> None:
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if any(isinstance(a, str | Path) and str(a).startswith(str(folder)) for a in arguments):
            seen += 1
            if seen == n:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def run_and_kill(config: RunConfig, name: str, how: str, n: int) -> int:
    folder = paths.runs() / name
    child = os.fork()
    if child == 0:
        if how == "event":
            die_at_event(folder, n)
        train(config, name, device="cpu", checkpoint_every=3, progress=False)
        os._exit(0)
    written: set[str] = set()
    status = 0
    while how == "checkpoints" and not status:
        written |= {path.name for path in folder.glob("checkpoints/[0-9]*")}
        if len(written) >= n:
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(0.001)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    config = RunConfig.from_dict(json.loads(Path(sys.argv[1]).read_text()))
    plans = json.loads(Path(sys.argv[2]).read_text())
    print(json.dumps([[run_and_kill(config, name, how, n) for how, n in kills] for name, kills in plans]))


if __name__ == "__main__":
    main()
