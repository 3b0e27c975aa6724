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


class RunNotWritten(RunError):
    """The disk refused a file of the run; what was written before is whole."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM)."""
