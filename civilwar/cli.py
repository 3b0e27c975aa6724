"""The command line: ``civilwar train | list | compare | record | sweep | book | reproduce``."""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from civilwar.errors import CorpusWarning, RunError, Terminated, one_line
from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import DEFAULT_CORPUS, PRESETS, make_config
from civilwar.recipe.plan import GROUPS
from civilwar.runs.listing import list_folders
from civilwar.runs.reader import open_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status, as `in_one_sentence` has it."""
    options = _parser().parse_args(arguments)
    return in_one_sentence(lambda: options.command(options))


def in_one_sentence(do: Callable[[], int | None]) -> int:
    """Call ``do``; what goes wrong and names its remedy is said in one line on the error stream.

    Returns what ``do`` returned, or 0; 1 after an error; 130 or 143 after Ctrl-C or SIGTERM, as shells count signals.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return int(do() or 0)
        except KeyboardInterrupt as stop:
            _say(str(stop) or "interrupted; the same command does what is left.")
            return 143 if isinstance(stop, Terminated) else 130
        except ModuleNotFoundError as error:
            _say(f"the package {error.name} is not installed: `pip install 'civilwar[book,corpus]'` has all there is.")
        except subprocess.CalledProcessError as error:
            _say(f"{Path(error.cmd[0]).name} failed with status {error.returncode}; what it said stands above.")
        except RecursionError:
            _say("a file holds data nested too deeply to be read. Restore it from a copy, or remove it.")
        except (RunError, ValueError, ArithmeticError, OSError) as error:
            _say(str(error))
    return 1


def _say(text: str) -> None:
    # names of files are other people's: no escape of theirs reaches the terminal
    print(f"civilwar: {one_line(text)}", file=sys.stderr)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning about the corpus as one sentence, any other as Python shows it."""
    if issubclass(category, CorpusWarning):
        _say(str(message))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="civilwar", description="Train, record and publish runs of the Attention Civil War."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a run, or finish an interrupted one")
    train.add_argument("--preset", default="laptop", choices=list(PRESETS))
    train.add_argument("--variant", default="baseline", choices=list(VARIANTS))
    train.add_argument("--seed", type=int, default=0)
    train.add_argument(
        "--corpus", default=DEFAULT_CORPUS, help="docstrings, source, prose, path:FOLDER_OR_FILE or hub:NAME[:CONFIG]"
    )
    train.add_argument("--steps", type=int, help="updates, where they should be others than the preset's")
    train.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    train.add_argument("--name", help="folder of the run; by default preset, variant and seed")
    train.add_argument(
        "--accept-another-machine",
        action="store_true",
        help="go on with a run that another device or version of torch began",
    )
    train.set_defaults(command=_train)

    runs = commands.add_parser("list", help="list runs")
    runs.set_defaults(command=_list)

    compare = commands.add_parser("compare", help="how far the numbers of two runs differ, measure by measure")
    compare.add_argument("one")
    compare.add_argument("other")
    compare.set_defaults(command=_compare)

    record = commands.add_parser("record", help="copy a complete run without its weights to data/")
    record.add_argument("name")
    record.add_argument(
        "--form",
        default="whole",
        choices=["whole", "light", "slim"],
        help="light: energies at fewer steps; slim: without what no verdict needs",
    )
    record.add_argument("--replace", action="store_true", help="let a form that holds less replace one that holds more")
    record.set_defaults(command=_record)

    sweep = commands.add_parser("sweep", help="train runs of the plan, by default those that the verdicts rest on")
    sweep.add_argument("--group", default="laptop", choices=list(GROUPS), help="which part of the plan")
    sweep.add_argument("--only", default="*", metavar="PATTERN", help="runs whose name matches, as in '*-baseline-*'")
    sweep.add_argument("--preset", choices=list(PRESETS), help="another preset than the group's, for a trial")
    sweep.add_argument("--corpus", help="another text than the group's, for a trial")
    sweep.add_argument("--publish", action="store_true", help="record each run slim in data/ and drop its weights")
    sweep.add_argument("--device", default="auto")
    sweep.set_defaults(command=_sweep)

    book = commands.add_parser("book", help="rebuild the published book from the recorded run, no training")
    book.set_defaults(command=_book)

    reproduce = commands.add_parser("reproduce", help="train live and build the book of that run under build/")
    reproduce.add_argument("--preset", default="laptop", choices=list(PRESETS))
    reproduce.add_argument("--seed", type=int, default=0)
    reproduce.add_argument("--device", default="auto")
    reproduce.set_defaults(command=_reproduce)
    return parser


# torch and papermill are slow to load: each command imports what it needs


def _train(options: argparse.Namespace) -> None:
    from civilwar.training.loop import train

    config = make_config(options.preset, options.variant, options.seed, options.corpus, options.steps)
    run = train(config, options.name, options.device, accept_another_machine=options.accept_another_machine)
    print(f"{run.name}: {run.manifest['status']}, {run.path}")


def _list(options: argparse.Namespace) -> int:
    """A line for every folder; status 1 where one cannot be read."""
    damaged = 0
    for found in list_folders():
        print(f"{one_line(found.path.name)}\t{one_line(found.status)}\t{one_line(found.problem or str(found.path))}")
        damaged += found.status == "unreadable"
    return int(damaged > 0)


def _compare(options: argparse.Namespace) -> None:
    from civilwar.analysis.compare import as_text, compare

    print(as_text(compare(open_run(options.one), open_run(options.other))))


def _record(options: argparse.Namespace) -> None:
    from civilwar.runs.recording import record

    print(f"recorded {record(options.name, options.form, options.replace)}")


def _sweep(options: argparse.Namespace) -> None:
    from civilwar.training.sweep import run_sweep

    lines = run_sweep(
        options.group, options.only, options.preset, options.corpus, options.device, publish=options.publish
    )
    for line in lines:
        print(line, flush=True)


def _book(options: argparse.Namespace) -> None:
    from civilwar.pages.publish import publish_recorded

    print(f"the book is at {publish_recorded() / 'index.html'}")


def _reproduce(options: argparse.Namespace) -> None:
    from civilwar.pages.publish import reproduce

    print(f"the book of your run is at {reproduce(options.preset, options.seed, options.device) / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
