"""Which other recorded runs an inspector offers for comparison: a handful, each with one thing changed.

A control stands beside the baseline of its seed; a baseline beside its controls of the same seed, and beside one other seed,
which shows how much two runs differ with nothing changed at all.
"""

from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import ConfigError, make_config
from civilwar.recipe.plan import BASELINE
from civilwar.runs.reader import Run, find_run


def partners(run: Run) -> list[Run]:
    """Runs of the same preset and text that are there to be compared with ``run``; none for a run of another make."""
    config = run.config
    try:
        same = make_config(config.preset, config.variant, config.seed, config.corpus)
    except ConfigError:
        return []
    if same.hash != config.hash:
        return []
    if config.variant == BASELINE:
        wanted = [(BASELINE, config.seed + 1), *((v, config.seed) for v in VARIANTS if v != BASELINE)]
    else:
        wanted = [(BASELINE, config.seed)]
    found = []
    for variant, seed in wanted:
        other = make_config(config.preset, variant, seed, config.corpus)
        path = find_run(other.default_name)
        there = None if path is None else Run(path)
        # a folder of that name may hold something else
        if there is not None and there.config.hash == other.hash and there.text_checksum == run.text_checksum:
            found.append(there)
    return found
