"""What can go wrong with a run. Every message says which run, what was expected, and what to do."""


class RunError(RuntimeError):
    """A run cannot be read or written."""


class RunNotFound(RunError):
    """No run of that name."""


class RunBusy(RunError):
    """Another process writes this run."""


class RunMismatch(RunError):
    """The folder holds a run of another configuration, of another text, or from another machine."""


class RunDamaged(RunError):
    """A file of the run is missing, truncated or altered."""


class RunLacks(RunError):
    """The run never recorded what is asked for: nothing is wrong with it, and what rests on it is left out."""


class RunNotWritten(RunError):
    """The disk refused a file of the run; what was written before is whole."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM)."""


class SchemaMismatch(RunError):
    """What is to be written is not what `civilwar.runs.schema` declares: a mistake in the code that measures."""


class CorpusWarning(UserWarning):
    """Not all of a corpus is read."""


def one_line(text: str) -> str:
    """``text`` fit for a terminal: what is no printable character, an escape or a newline, is written as Python would."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
