"""Runs that belong together, as far as they are recorded: the sweep, and the variants beside the run shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from civilwar.names.variants import VARIANTS
from civilwar.recipe import plan
from civilwar.recipe.config import DEFAULT_CORPUS, RunConfig, make_config
from civilwar.runs.reader import Run, check_one_text, check_same_config, find_run


@dataclass(frozen=True)
class Sweep:
    """Complete runs of the plan by variant and seed, and the names of those that are not there."""

    runs: Mapping[str, Mapping[int, Run]]
    missing: tuple[str, ...]
    config: RunConfig = field(default_factory=make_config)
    """Of its first planned run: what all have in common but variant and seed."""
    exploratory: bool = False
    """Whether these are not the planned runs but those of the seeds that were seen before the rules were written."""

    def of(self, variant: str) -> list[Run]:
        """Runs of one variant, by seed. Empty where none is there."""
        return list(self.runs.get(variant, {}).values())

    @property
    def baseline(self) -> list[Run]:
        """Runs of the baseline, by seed."""
        return self.of(plan.BASELINE)

    def pairs(self, variant: str) -> list[tuple[Run, Run]]:
        """(baseline, control) of every seed that has both: same initialisation, same text in the same order."""
        base = self.runs.get(plan.BASELINE, {})
        return [(base[seed], run) for seed, run in self.runs.get(variant, {}).items() if seed in base]

    @property
    def variants(self) -> list[str]:
        """Variants of which at least one run is there, in the order of the configuration."""
        return [variant for variant in VARIANTS if self.runs.get(variant)]

    @property
    def all(self) -> list[Run]:
        """Runs that are there, by variant in the order of the configuration, then by seed."""
        return [run for variant in self.variants for run in self.of(variant)]

    @property
    def n_runs(self) -> int:
        """Runs that are there."""
        return sum(len(by_seed) for by_seed in self.runs.values())

    @property
    def n_planned(self) -> int:
        """Runs that the plan asks for."""
        return self.n_runs + len(self.missing)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    def statement(self) -> str:
        """One sentence on how much of the plan is there."""
        if self.exploratory:
            return (
                f"{len(self.missing)} planned runs are not recorded yet: shown are {self.n_runs} exploratory runs, whose seeds "
                "were seen before the rules were written."
            )
        if self.complete:
            return f"All {self.n_planned} runs of the sweep are recorded."
        return (
            f"{self.n_runs} of the {self.n_planned} runs of the sweep are recorded, so a claim whose runs are not all there "
            "has no verdict yet, and every number says how many seeds it rests on."
        )


def open_sweep(preset: str = "laptop", corpus: str = DEFAULT_CORPUS) -> Sweep:
    """The runs that stand beside a preset, this machine's or recorded; never trains.

    The fresh ones of the plan where all are there, or where there are no others; until then the exploratory ones, with the
    names of the fresh runs that are missing. Raises RunMismatch where a run of a planned name has another configuration, or
    where two read different texts.
    """
    beside = plan.SWEPT_INSTEAD.get(preset, preset)
    fresh = open_fresh(beside, corpus)
    if fresh.complete:
        return fresh
    exploratory = open_exploratory(beside, corpus)
    return replace(exploratory, missing=fresh.missing) if exploratory.n_runs else fresh


def open_fresh(preset: str = "laptop", corpus: str = DEFAULT_CORPUS) -> Sweep:
    """The complete runs of the plan for a preset, under whatever rules they began. Raises as `open_sweep` does."""
    planned = plan.sweep(preset, corpus)
    runs, missing = _opened(planned)
    return Sweep(runs, missing, planned[0])


def open_exploratory(preset: str = "laptop", corpus: str = DEFAULT_CORPUS) -> Sweep:
    """The complete runs of the seeds that were seen before the rules were written; none is missing. Raises as `open_sweep`."""
    seen = [make_config(preset, variant, seed, corpus) for variant in VARIANTS for seed in plan.EXPLORATORY_SEEDS]
    runs, _ = _opened(seen)
    return Sweep(runs, (), seen[0], exploratory=True)


def _opened(configs: Sequence[RunConfig]) -> tuple[dict[str, dict[int, Run]], tuple[str, ...]]:
    """(complete runs by variant and seed, names of those that are not there)."""
    runs: dict[str, dict[int, Run]] = {}
    missing: list[str] = []
    for config in configs:
        path = find_run(config.default_name)
        run = Run(path) if path is not None else None
        if run is None or not run.complete:
            missing.append(config.default_name)
            continue
        check_same_config(run.config, config, run.path)
        runs.setdefault(config.variant, {})[config.seed] = run
    check_one_text([run for by_seed in runs.values() for run in by_seed.values()])
    return runs, tuple(missing)


def open_variants(run: Run) -> Sweep:
    """The run itself and every complete variant with its preset, seed and corpus, this machine's or recorded; never trains.

    A variant that was trained on another text of that name does not belong here. Nothing was planned at this scale, so nothing
    is missing. Raises RunMismatch where a run of a variant's name has another
    configuration.
    """
    config = run.recipe
    runs: dict[str, dict[int, Run]] = {config.variant: {config.seed: run}}
    for variant in VARIANTS:
        wanted = make_config(config.preset, variant, config.seed, config.corpus)
        path = find_run(wanted.default_name) if variant != config.variant else None
        if path is not None and (other := Run(path)).complete:
            check_same_config(other.config, wanted, path)
            if other.text_checksum == run.text_checksum or None in (other.text_checksum, run.text_checksum):
                runs[variant] = {config.seed: other}
    return Sweep(runs, (), config)
