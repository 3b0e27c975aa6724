"""What the stages of `civilwar reproduce` take: `python benchmarks/stages.py`, some minutes on a quiet machine.

The smoke preset's book is made, whole, unless this folder did that already (``build/stages.json``); its notebooks and pages,
which are as many for every preset, stand for the others'. The default text is read and cut into tokens as the laptop preset
needs it. What training takes is read from the manifests of the recorded runs. Writes ``data/benchmarks/stages.json``, which
tells a reader what to expect before there is anything of their own to go by.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from civilwar import paths
from civilwar.corpus.corpus import load_corpus
from civilwar.files import read_json, write_json
from civilwar.pages.reproduce import TEXT, TOOK, TRAINING, reproduce
from civilwar.recipe.config import make_config
from civilwar.runs.glance import size_of
from civilwar.runs.reader import Run
from civilwar.training.machine import processor_name

#: Runs whose training was measured, and which lie in data/.
RECORDED = {"laptop": "laptop-baseline-seed0", "paper": "paper-baseline-seed0"}
CORPUS = "docstrings:networkx"


def text() -> dict[str, float]:
    """Seconds and megabytes of reading the default text anew and cutting it into the laptop's tokens."""
    config = make_config("laptop")
    with tempfile.TemporaryDirectory() as cache:
        begun = time.perf_counter()
        load_corpus(config.corpus, config.model.vocab_size, Path(cache))
        return measured(time.perf_counter() - begun, size_of(Path(cache)))


def training(name: str) -> dict[str, float]:
    """The same of a recorded run; its weights, which a recording lacks, are four bytes a parameter."""
    run = Run(paths.recorded() / name)
    timings = run.manifest["timings"]
    seconds = timings["wall_seconds"] + timings["experiment_seconds"]
    return measured(seconds, size_of(run.path) + 4 * run.config.model.n_parameters)


def measured(seconds: float, size: int) -> dict[str, float]:
    """As the file has it."""
    return {"seconds": round(seconds, 1), "megabytes": round(size / 1e6, 1)}


def main() -> int:
    """Measure what was not, and write all of it."""
    file = paths.built() / TOOK
    if not file.is_file() or "smoke" not in read_json(file)["presets"]:
        reproduce(make_config("smoke", corpus=CORPUS))
    smoke: dict[str, Any] = read_json(file)["presets"]["smoke"]
    machine = f"{processor_name()}, {torch.get_num_threads()} threads, {' '.join(sys.argv[1:]) or 'quiet'}"
    read = text()
    presets = {"smoke": smoke | {"machine": machine}} | {
        preset: {"machine": machine, "stages": smoke["stages"] | {TEXT: read, TRAINING: training(name)}}
        for preset, name in RECORDED.items()
    }
    write_json(paths.recorded() / "benchmarks" / TOOK, {"presets": presets})
    return 0


if __name__ == "__main__":
    os.environ.pop("CIVILWAR_RUNS", None)
    sys.exit(main())
