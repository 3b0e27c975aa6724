"""Train live, execute the phase notebooks on that run, and build its book: all of it below ``build/``, in numbered stages."""

import functools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from civilwar import paths
from civilwar.corpus.sources import HUB_CHARACTERS
from civilwar.durations import in_words
from civilwar.errors import RunError, RunNotWritten
from civilwar.files import atomic_path, read_json, write_json
from civilwar.pages.made import ASSEMBLED_OF, assembled_of
from civilwar.pages.publish import build_book, execute, phase_notebooks
from civilwar.pages.stages import Stage, Stages, plan
from civilwar.recipe import cost
from civilwar.recipe.config import DEFAULT_CORPUS, RunConfig, make_config
from civilwar.runs.glance import size_of
from civilwar.runs.reader import Run

TEXT, TRAINING, NOTEBOOKS, BOOK = "text", "training", "notebooks", "book"
#: What stages took, preset by preset: of this folder's own last time, and as ``benchmarks/`` has it.
TOOK = "stages.json"
#: A line at once, wherever it goes.
SAY = functools.partial(print, flush=True)


def reproduce(
    config: RunConfig,
    device: str = "auto",
    accept_another_machine: bool = False,
    say: Callable[[str], None] = SAY,
) -> Path:
    """Train a run, or finish it; execute the notebooks on it and build its book. Returns the folder of the HTML pages.

    A book that was there before stays until the new one is whole.

    Args:
        config: the run.
        device: as for training.
        accept_another_machine: likewise.
        say: called with each line that tells how far it is.

    Raises what training raises; RunNotWritten, before anything is begun, where the disk has no room; RunError where the
    package has no notebooks.
    """
    build = paths.built()
    os.environ["CIVILWAR_RUNS"] = str(paths.reproduced())
    os.environ.setdefault("CIVILWAR_CACHE", str(build / "cache"))
    notebooks = phase_notebooks()
    if not notebooks:
        raise RunError(f"{paths.sources()} has no notebooks: install civilwar again from a wheel or a checkout.")
    planned, told = stages_of(config, len(notebooks))
    say(f"{config.default_name} and its book, below {build}; {told}")
    for line in plan(planned):
        say(line)
    say(_download(config))
    _require_room(build, planned)

    # torch is loaded only where there is something to train
    from civilwar.corpus.corpus import load_corpus
    from civilwar.training.loop import train

    stages = Stages(planned, say)
    with stages.stage(TEXT):
        load_corpus(config.corpus, config.model.vocab_size)
    with stages.stage(TRAINING, speaks=True):
        run = train(config, device=device, accept_another_machine=accept_another_machine)
    with atomic_path(build / "site") as site:
        assemble(site)
        with stages.stage(NOTEBOOKS) as tell:
            _execute_all(notebooks, site / "book" / "phases", parameters_of(config, device), tell)
        with stages.stage(BOOK):
            build_book(site / "book", quiet=True)
    _remember(config, run, stages)
    return build / "site" / "_build" / "html"


def parameters_of(config: RunConfig, device: str) -> dict[str, Any]:
    """What a notebook is given to open the run."""
    return {
        "preset": config.preset,
        "variant": config.variant,
        "seed": config.seed,
        "corpus": config.corpus,
        "device": device,
    }


def assemble(site: Path) -> None:
    """The book's sources without its executed notebooks, in a folder of their own."""
    sources = paths.sources()
    site.mkdir(parents=True)
    left_out = shutil.ignore_patterns("phases", "_build", "__pycache__")
    shutil.copytree(sources / "book", site / "book", ignore=left_out)
    shutil.copy2(sources / "_config.yml", site)
    (site / ASSEMBLED_OF).write_text(assembled_of(), encoding="ascii")


def _execute_all(notebooks: list[Path], target: Path, parameters: dict[str, Any], tell: Callable[[str], None]) -> None:
    begun = time.monotonic()
    for done, notebook in enumerate(notebooks):
        rate = (time.monotonic() - begun) / max(done, 1)
        left = f", about {in_words(rate * (len(notebooks) - done))} left" if done else ""
        tell(f"{done + 1} of {len(notebooks)}, {notebook.stem}{left}")
        execute(notebook, target / notebook.name, parameters)


# ---------------------------------------------------------------- what it will take


def stages_of(config: RunConfig, n_notebooks: int) -> tuple[list[Stage], str]:
    """The stages with what they took before, and in words where that was measured."""
    known, told = _measured(config.preset)
    size = f"{config.train.steps} steps, {config.n_tokens / 1e6:.2g} million tokens"
    does = {
        TEXT: f"{config.corpus}, cut into tokens",
        TRAINING: f"{size}, every head followed",
        NOTEBOOKS: f"{n_notebooks} phase notebooks, executed on the run",
        BOOK: "the pages",
    }
    if config.corpus != DEFAULT_CORPUS:  # of another length
        known = known | {TEXT: {}}
    return [Stage(name, what, **known.get(name, {})) for name, what in does.items()], told


def _measured(preset: str) -> tuple[dict[str, dict[str, float]], str]:
    """Seconds and megabytes of each stage, and where they were measured; of training in proportion to another preset's."""
    for file, where in ((paths.built() / TOOK, "as it took here before"), (paths.measured() / TOOK, "")):
        presets: dict[str, Any] = read_json(file)["presets"] if file.is_file() else {}
        if preset in presets:
            found = presets[preset]
            return found["stages"], f"times {where or 'as measured on ' + found['machine']}:"
        if presets:
            nearest = max(presets, key=lambda name: cost.flops(make_config(name)))
            found = presets[nearest]
            more = cost.flops(make_config(preset)) / cost.flops(make_config(nearest))
            scaled = found["stages"] | {TRAINING: {"seconds": found["stages"][TRAINING]["seconds"] * more}}
            return scaled, f"times in proportion to those of the {nearest} preset on {found['machine']}:"
    return {}, "times not measured yet:"


def _download(config: RunConfig) -> str:
    if config.corpus.startswith("hub:"):
        return f"  Downloads up to {HUB_CHARACTERS / 1e6:.0f} million characters of {config.corpus}, where they are not cached."
    return "  Downloads nothing."


def _require_room(build: Path, planned: list[Stage]) -> None:
    build.mkdir(parents=True, exist_ok=True)
    needed = 1e6 * sum(stage.megabytes or 0 for stage in planned)
    free = shutil.disk_usage(build).free
    # what is there already counts twice only where it is made again
    if free + size_of(build) < needed:
        raise RunNotWritten(
            f"{build} has room for {free / 1e6:.0f} MB and needs about {needed / 1e6:.0f}: make room, or work in a folder on "
            "another disk."
        )


def _remember(config: RunConfig, run: Run, stages: Stages) -> None:
    """Keep what the stages took, for the next time."""
    file, build = paths.built() / TOOK, paths.built()
    presets = read_json(file)["presets"] if file.is_file() else {}
    filled = {
        TEXT: size_of(paths.cache()),
        TRAINING: size_of(run.path),
        NOTEBOOKS: size_of(build / "site" / "book" / "phases"),
        BOOK: size_of(build / "site" / "_build"),
    }
    # a run that was there, or was finished now, took what its manifest says; of a text that was cached, what it took before
    timings = run.manifest["timings"]
    seconds = stages.took | {TRAINING: timings["wall_seconds"] + timings["experiment_seconds"]}
    before = presets.get(config.preset, {}).get("stages", {}).get(TEXT, {}).get("seconds", 0.0)
    seconds[TEXT] = max(seconds[TEXT], before)
    took = {name: {"seconds": round(seconds[name], 1), "megabytes": round(filled[name] / 1e6, 1)} for name in filled}
    device = run.sittings[-1].get("device", {})
    threads = f", {device['threads']} threads" if "threads" in device else ""
    presets[config.preset] = {"machine": f"{device.get('name', 'an unknown machine')}{threads}", "stages": took}
    write_json(file, {"presets": presets})
