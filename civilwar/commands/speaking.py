"""What a command says when something goes wrong: one sentence on the error stream, and an exit status as shells count."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from civilwar.errors import CorpusWarning, RunError, Terminated, one_line

#: Of a command whose reader has gone: 128 and SIGPIPE's number.
NOBODY_READS = 141


def in_one_sentence(do: Callable[[], int | None]) -> int:
    """Call ``do``; what goes wrong and names its remedy is said in one line on the error stream.

    Returns what ``do`` returned, or 0; 1 after an error; 130 or 143 after Ctrl-C or SIGTERM, as shells count signals; 141, with
    nothing said, where whoever read the output has closed it, as ``head`` does.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status = int(do() or 0)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt as stop:
            say(str(stop) or "interrupted; the same command does what is left.")
            return 143 if isinstance(stop, Terminated) else 130
        except BrokenPipeError:
            # or Python would complain at its end, when it writes what is still waiting
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOBODY_READS
        except ModuleNotFoundError as error:
            say(f"the package {error.name} is not installed: `pip install 'civilwar[book,corpus]'` has all there is.")
        except subprocess.CalledProcessError as error:
            say(f"{Path(error.cmd[0]).name} failed with status {error.returncode}; what it said stands above.")
        except RecursionError:
            say("a file holds data nested too deeply to be read. Restore it from a copy, or remove it.")
        except (RunError, ValueError, ArithmeticError, OSError) as error:
            say(str(error))
    return 1


def say(text: str) -> None:
    """One line on the error stream."""
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
        say(str(message))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
