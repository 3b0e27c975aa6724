"""The command line: a file a command, each with ``add``, which declares it, and what it does."""
