"""The baseline at every scale: what has been recorded of it, from the smallest preset to the report's own."""

from collections.abc import Mapping, Sequence

from civilwar.recipe import plan
from civilwar.recipe.config import make_config
from civilwar.runs.reader import Run, check_same_config, find_run


def rungs(run: Run) -> dict[str, list[Run]]:
    """Complete runs of the baseline by preset, smallest first; of the seeds that decide, or else of the exploratory ones.

    The presets are those of the plan that ``run`` stands beside, as far as anything is recorded, on the text that it was
    trained on; never trains. Of the run's own preset it is at least the run itself. Raises RunMismatch where a run of a planned
    name has another configuration.
    """
    preset, corpus = run.config.preset, run.config.corpus
    found = {}
    for one in plan.RUNGS if preset in plan.RUNGS else (preset,):
        fresh = _complete(one, plan.seeds_of(plan.BASELINE, one), corpus)
        runs = fresh or _complete(one, plan.EXPLORATORY_SEEDS, corpus)
        if runs or one == preset:
            found[one] = runs or [run]
    return found


def _complete(preset: str, seeds: Sequence[int], corpus: str) -> list[Run]:
    runs = []
    for seed in seeds:
        config = make_config(preset, plan.BASELINE, seed, corpus)
        path = find_run(config.default_name)
        if path is not None and (run := Run(path)).complete:
            check_same_config(run.config, config, path)
            runs.append(run)
    return runs


def label(runs: Sequence[Run]) -> str:
    """A rung in a figure: its size and how many seeds stand for it."""
    n = len(runs)
    return f"{runs[0].config.model.n_parameters / 1e6:.3g}M ({n} seed{'s' if n > 1 else ''})"


def everything(scales: Mapping[str, Sequence[Run]]) -> list[Run]:
    """All runs of all rungs, in their order."""
    return [run for runs in scales.values() for run in runs]
