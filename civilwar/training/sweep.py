"""Train and record the runs that the verdicts are computed from, one after the other, skipping what is there already."""

from collections.abc import Iterator

from civilwar import paths
from civilwar.corpus.identity import check_same_text, checksum_here
from civilwar.recipe import plan
from civilwar.recipe.config import DEFAULT_CORPUS, RunConfig
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import Run
from civilwar.runs.recording import drop_weights, record
from civilwar.training.finite import TrainingDiverged
from civilwar.training.loop import train


def run_sweep(
    preset: str = "laptop",
    corpus: str = DEFAULT_CORPUS,
    device: str = "auto",
    accept_another_machine: bool = False,
) -> Iterator[str]:
    """Train, record (slim) and report every run of the plan; yields one line per run.

    A run that is recorded is not opened again; one that was interrupted is resumed. Only a run's tables stay, its weights
    go. A run that diverges is reported and left as it is, and the sweep goes on. ``accept_another_machine``: as for
    `civilwar.training.loop.train`.
    """
    configs = plan.sweep(preset, corpus)
    for number, config in enumerate(configs, 1):
        yield f"[{number:2}/{len(configs)}] {config.default_name}: {_one(config, device, accept_another_machine)}"


def _one(config: RunConfig, device: str, accept_another_machine: bool) -> str:
    if is_recorded(config):
        return "recorded already"
    try:
        run = train(config, device=device, accept_another_machine=accept_another_machine)
    except TrainingDiverged as error:
        return f"diverged ({error})"
    target = record(run.name, "slim")
    drop_weights(run)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    minutes = run.manifest["timings"]["wall_seconds"] / 60
    return f"trained in {minutes:.1f} min, recorded in {size / 1e6:.1f} MB"


def is_recorded(config: RunConfig) -> bool:
    """Whether ``data/`` has this very run, complete. Raises RunMismatch where its text has been edited since."""
    folder = paths.recorded() / config.default_name
    if not (folder / MANIFEST).is_file():
        return False
    run = Run(folder)
    if config.corpus.startswith(("path:", "hub:")):
        check_same_text(config.corpus, run.text_checksum, checksum_here(config.corpus), folder)
    return run.complete and run.config.hash == config.hash
