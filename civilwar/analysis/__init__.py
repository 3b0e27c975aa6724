"""Tables of a run in, numbers and tidy frames out. A file or two per phase; no torch, no drawing."""
