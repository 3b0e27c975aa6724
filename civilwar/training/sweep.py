"""Train runs of the plan, one after the other, skipping what is there already; and record them, where that is asked for."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from civilwar import paths
from civilwar.corpus.identity import check_same_text, checksum_here
from civilwar.recipe import plan
from civilwar.recipe.config import RunConfig
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import Run
from civilwar.runs.recording import drop_weights, record
from civilwar.training.finite import TrainingDiverged
from civilwar.training.loop import train


def run_sweep(
    group: str = "laptop",
    only: str = "*",
    preset: str | None = None,
    corpus: str | None = None,
    device: str = "auto",
    accept_another_machine: bool = False,
    publish: bool = False,
) -> Iterator[str]:
    """Train and report the runs of one group of the plan; yields one line per run.

    An interrupted run is resumed. A run that diverges is reported and left as it is, and the sweep goes on.

    Args:
        group: of `civilwar.recipe.plan.GROUPS`. Raises KeyError for another.
        only: a pattern of names, such as ``*-baseline-*``.
        preset: another than the group's.
        corpus: another than the group's.
        device: to train on.
        accept_another_machine: as for `civilwar.training.loop.train`.
        publish: record each run in ``data/`` (slim), after which its weights go; what is recorded there is not trained again.
            Otherwise nothing is written but under ``runs/``, and a run that is complete there is not trained again.
    """
    configs = [c for c in plan.GROUPS[group].planned(preset, corpus) if fnmatchcase(c.default_name, only)]
    for number, config in enumerate(configs, 1):
        yield f"[{number:2}/{len(configs)}] {config.default_name}: {_one(config, device, accept_another_machine, publish)}"


def _one(config: RunConfig, device: str, accept_another_machine: bool, publish: bool) -> str:
    if publish and is_recorded(config):
        return "recorded already"
    if not publish and _is_trained(config):
        return "trained already"
    try:
        run = train(config, device=device, accept_another_machine=accept_another_machine)
    except TrainingDiverged as error:
        return f"diverged ({error})"
    said = f"trained in {run.manifest['timings']['wall_seconds'] / 60:.1f} min"
    if not publish:
        return said
    target = record(run.name, "slim")
    drop_weights(run)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return f"{said}, recorded in {size / 1e6:.1f} MB"


def is_recorded(config: RunConfig) -> bool:
    """Whether ``data/`` has this very run, complete. Raises RunMismatch where its text has been edited since."""
    return _is_there(config, paths.recorded())


def _is_trained(config: RunConfig) -> bool:
    return _is_there(config, paths.runs())


def _is_there(config: RunConfig, root: Path) -> bool:
    folder = root / config.default_name
    if not (folder / MANIFEST).is_file():
        return False
    run = Run(folder)
    if config.corpus.startswith(("path:", "hub:")):
        check_same_text(config.corpus, run.text_checksum, checksum_here(config.corpus), folder)
    return run.complete and run.config.hash == config.hash
