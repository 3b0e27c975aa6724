"""Tables of a run in, numbers and tidy frames out. One file per phase; no torch, no drawing."""
