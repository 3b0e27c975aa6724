"""Which runs may speak: at each rung of size the fresh ones that began under the rules in force, else the exploratory ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from civilwar.evidence.registration import began_under, in_force
from civilwar.recipe import plan
from civilwar.recipe.config import DEFAULT_CORPUS
from civilwar.runs.collection import Sweep, open_exploratory, open_fresh
from civilwar.runs.reader import Run


@dataclass(frozen=True)
class Rung:
    """The runs of one size."""

    preset: str
    fresh: Sweep
    """Planned runs that began under the rules in force, after these were registered."""
    exploratory: Sweep
    """Runs of seeds that were seen before the rules were written, and runs that began under other rules."""

    def speaking(self, variants: Sequence[str]) -> tuple[Sweep, bool, bool]:
        """(the runs that speak where these variants are needed, whether they are exploratory, whether runs are awaited).

        Fresh ones where all that are planned are there; else exploratory ones, if any; else what there is of the fresh.
        """
        whole = all(
            set(plan.seeds_of(variant, self.preset)) <= set(self.fresh.runs.get(variant, {})) for variant in variants
        )
        if whole and self.fresh.n_runs:
            return self.fresh, False, False
        if self.exploratory.baseline:
            return self.exploratory, True, False
        return self.fresh, False, True


Evidence = tuple[Rung, ...]
"""Rungs from the smallest to the report's own scale."""


def open_evidence(preset: str = "laptop", corpus: str = DEFAULT_CORPUS) -> Evidence:
    """Every rung's runs on that text, this machine's or recorded; of a preset that is no rung, its own. Never trains."""
    presets = plan.RUNGS if preset in plan.RUNGS else (preset,)
    now = in_force()
    return tuple(_divided(one, open_fresh(one, corpus), open_exploratory(one, corpus), now) for one in presets)


def of_sweep(sweep: Sweep) -> Evidence:
    """One rung of runs that are taken as they are."""
    none = replace(sweep, runs={}, missing=())
    fresh, exploratory = (none, sweep) if sweep.exploratory else (sweep, none)
    return (Rung(sweep.config.preset, fresh, exploratory),)


def _divided(preset: str, fresh: Sweep, exploratory: Sweep, registration: Mapping[str, Any] | None) -> Rung:
    """A rung whose fresh runs all began under the rules in force, after these were registered; others are exploratory."""
    counted: dict[str, dict[int, Run]] = {}
    other = {variant: dict(by_seed) for variant, by_seed in exploratory.runs.items()}
    for variant, by_seed in fresh.runs.items():
        for seed, run in by_seed.items():
            (counted if began_under(run.manifest, registration) else other).setdefault(variant, {})[seed] = run
    missing = tuple(
        run.default_name
        for run in plan.sweep(preset, fresh.config.corpus)
        if run.seed not in counted.get(run.variant, {})
    )
    return Rung(preset, replace(fresh, runs=counted, missing=missing), replace(exploratory, runs=other))
