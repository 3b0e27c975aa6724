"""A process that forks one child a task, so that hundreds of interrupted commands need one start of Python and torch.

Started by `kills.Commands` with ``interrupts.c`` preloaded. Reads one JSON object a line: ``task`` (a key of `TASKS`),
``arguments``, ``environment``, ``output`` (a file for both streams), ``below``, ``n`` and ``full`` (`interrupts_arm`'s), and
``seconds``, after which the task is killed with all that it started (0: never). Answers with one: ``status`` as a shell shows
it, and ``seen``, the counted calls of a task that lived to its end.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import torch

from civilwar import cli, paths
from civilwar.commands.speaking import in_one_sentence
from civilwar.corpus.corpus import load_corpus
from civilwar.files import atomic_path
from civilwar.pages import publish
from civilwar.recipe import plan
from civilwar.recipe.config import make_config
from civilwar.runs.reader import Run
from civilwar.training import loop

CHECKPOINT_EVERY = 3


def train(name: str, corpus: str) -> int:
    """``civilwar train`` of the smoke preset, a checkpoint every three steps."""
    config = make_config("smoke", corpus=corpus)
    return said(lambda: loop.train(config, name, "cpu", CHECKPOINT_EVERY, progress=False))


def said(do: Callable[[], object]) -> int:
    """What the command line makes of an error, of something that it has no command for."""

    def quietly() -> None:
        do()

    return in_one_sentence(quietly)


def execute(source: str, target: str) -> int:
    """One notebook, through papermill."""
    publish.execute(Path(source), Path(target))
    return 0


def build(source: str) -> int:
    """A book, through jupyter-book."""
    publish.build_book(Path(source))
    return 0


def tokens(corpus: str) -> int:
    """Tokenizer and tokens of a corpus, made where the cache lacks them."""
    return said(lambda: load_corpus(corpus, 512))


def sweep(corpus: str) -> int:
    """``civilwar sweep --publish`` of a plan of two runs."""
    two = [make_config("smoke", variant, 1, corpus) for variant in ("baseline", "no_gain_decay")]
    plan.GROUPS = {"laptop": SimpleNamespace(planned=lambda *anything: two)}
    return cli.main(["sweep", "--publish", "--device", "cpu"])


def reproduce(folder: str, corpus: str, text: str) -> int:
    """``civilwar reproduce`` of the smoke preset, with pages of one line in the place of notebooks and book."""
    from civilwar.pages import reproduce as command

    sources = paths.sources()
    paths.repository, paths.sources = lambda: Path(folder), lambda: sources

    def execute(source: Path, target: Path, parameters: object) -> None:
        with atomic_path(target) as temporary:
            temporary.write_text(text)

    def build_book(source: Path, quiet: bool) -> Path:
        with atomic_path(source.parent / "_build") as temporary:
            (temporary / "html").mkdir(parents=True)
            for page in ("index.html", "searchindex.js"):
                (temporary / "html" / page).write_text(text)
        return source.parent / "_build" / "html"

    command.execute, command.build_book = execute, build_book
    return said(lambda: command.reproduce(make_config("smoke", corpus=corpus), "cpu"))


def verify(path: str) -> int:
    """Every file of a run against its manifest."""
    return said(lambda: Run(Path(path)).verify(weights=True))


TASKS = {
    "train": train,
    "tokens": tokens,
    "sweep": sweep,
    "verify": verify,
    "reproduce": reproduce,
    "execute": execute,
    "build": build,
    "cli": lambda *arguments: cli.main(list(arguments)),
}


def child(order: dict[str, object], library: ctypes.CDLL, answer: int) -> None:
    """Do the task and end; never returns."""
    os.setsid()
    output = os.open(str(order["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= dict(order["environment"])
    if "RECORDED" in os.environ:
        paths.recorded = lambda: Path(os.environ["RECORDED"])
    library.interrupts_arm(str(order["below"]).encode(), order["n"], order["full"])
    try:
        status = TASKS[str(order["task"])](*order["arguments"])
    except BaseException:
        traceback.print_exc()
        status = 70
    os.write(answer, str(library.interrupts_seen()).encode())
    sys.stdout.flush()
    os._exit(status)


def kill_group(process: int) -> None:
    """SIGKILL to a task and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def main() -> None:
    """One order after the other, until the input ends."""
    torch.set_num_threads(1)
    library = ctypes.CDLL(None)
    library.interrupts_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int)
    library.interrupts_seen.restype = ctypes.c_long
    for line in sys.stdin:
        order = json.loads(line)
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            child(order, library, write)
        os.close(write)
        with os.fdopen(read) as pipe:
            timer = threading.Timer(order["seconds"] or 3600, kill_group, [process])
            timer.start()
            _, status = os.waitpid(process, 0)
            timer.cancel()
            code = os.waitstatus_to_exitcode(status)
            seen = pipe.read()
        print(json.dumps({"status": 128 - code if code < 0 else code, "seen": int(seen or 0)}), flush=True)


if __name__ == "__main__":
    main()
