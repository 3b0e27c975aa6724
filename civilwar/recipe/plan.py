"""Which run the published book shows, and which runs the verdicts are computed from.

The verdicts take the baseline with eight fresh seeds and every control with four. Seed 0 is not among them: it is
exploratory.
"""

from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import DEFAULT_CORPUS, RunConfig, make_config

#: Preset of the run that every page of the published book shows, seed 0 of the baseline: the report's own scale.
SHOWN = "paper"
BASELINE = "baseline"
BASELINE_SEEDS = tuple(range(1, 9))
CONTROL_SEEDS = tuple(range(1, 5))
#: At the report's scale one run takes hours: the sweep that stands beside it is a smaller preset's.
SWEPT_INSTEAD = {"paper": "laptop"}


def seeds_of(variant: str) -> tuple[int, ...]:
    """Confirmatory seeds of a variant."""
    return BASELINE_SEEDS if variant == BASELINE else CONTROL_SEEDS


def sweep(preset: str = "laptop", corpus: str = DEFAULT_CORPUS) -> list[RunConfig]:
    """Configurations of the sweep, seed by seed, so that a sweep cut short has whole seeds: baseline first in each."""
    return [
        make_config(preset, variant, seed, corpus)
        for seed in BASELINE_SEEDS
        for variant in VARIANTS
        if seed in seeds_of(variant)
    ]
