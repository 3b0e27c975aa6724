"""What tracking every head costs: `python benchmarks/training.py`, half an hour on a machine that does nothing else.

Four ways of doing the same step of a preset take turns in one process, on the same batches: plain PyTorch, this package
without and with its tracker, and the usual way with a Python loop over heads (`benchmarks/usual.py`); a snapshot takes its
turn with them, and so does a large matrix product, the machine's limit. Before that the peak memory of a process that only
trains, and after it how the cost grows with layers, context and heads. Prints a table and writes
``data/benchmarks/training.json``, from which the book's page is made. Ratios are of medians of alternating repetitions;
nothing of this is a test.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import usual

from civilwar import paths
from civilwar.analysis import speed
from civilwar.corpus.corpus import load_corpus
from civilwar.files import write_json
from civilwar.model.ways import Ways as ModelWays
from civilwar.recipe.config import RunConfig, make_config
from civilwar.recipe.cost import flops_per_step
from civilwar.runs.writer import RunWriter
from civilwar.training import loop as training
from civilwar.training.allocator import keep_freed_memory
from civilwar.training.machine import choose_device, describe_device

RESULT = "benchmarks/training.json"


def matrix_rate(repetitions: int) -> list[float]:
    """Floating-point operations a second of a large bfloat16 matrix product."""
    n = 4096
    a, b = torch.randn(n, n).bfloat16(), torch.randn(n, n).bfloat16()
    F.linear(a, b)
    rates = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        F.linear(a, b)
        rates.append(2 * n**3 / (time.perf_counter() - begun))
    return rates


@contextlib.contextmanager
def session(config: RunConfig) -> Iterator[training.Session]:
    """A run's model, optimisers, batches and tracker, as training makes them, in a folder that goes again."""
    with tempfile.TemporaryDirectory() as folder, RunWriter(Path(folder) / "run", config) as writer:
        corpus = load_corpus(config.corpus, config.model.vocab_size)
        yield training.Session(writer, config, corpus, choose_device("cpu"), training.CHECKPOINT_EVERY)


class Ways:
    """The same step, done in four ways, each of which leaves a gradient on the parameters; and a snapshot."""

    def __init__(self, of: training.Session) -> None:
        self.of, self.rows = of, list[dict[str, float]]()

    def plain(self, step: int) -> None:
        """The library's attention, the whole batch at once, all logits in memory; no tracking."""
        inputs, targets = self.of.batches.batch(step)
        with library_attention(self.of):
            usual.loss(self.of.model, inputs, targets, "bf16-autocast").backward()

    def untracked(self, step: int) -> None:
        """The package's step without its tracker."""
        with without_tracker(self.of):
            self.of.loss(step, with_gradient=True)

    def tracked(self, step: int) -> None:
        """The package's step."""
        self.of.loss(step, with_gradient=True)
        # as a checkpoint would, seldom; the copy of a step's rows is small beside the step
        self.of.tracker.take()

    def snapshots(self, step: int) -> None:
        """The package's snapshot."""
        self.of.snapshot(step)
        self.of.snapshots.clear()

    def loops(self, step: int) -> None:
        """Float32, a Python loop over heads, a host copy for every number."""
        inputs, targets = self.of.batches.batch(step)
        separator = self.of.texts.separator_ids[inputs]
        with library_attention(self.of), usual.tracking(self.of.model, separator, self.rows):
            loss = usual.loss(self.of.model, inputs, targets, "float32")
        loss.backward()
        self.rows.clear()


@contextlib.contextmanager
def library_attention(of: training.Session) -> Iterator[None]:
    """Everything as it is written, and every text attended to by the library's kernel."""
    of.model.compute(ModelWays())
    try:
        yield
    finally:
        of.model.compute(of.ways.ways)


@contextlib.contextmanager
def without_tracker(of: training.Session) -> Iterator[None]:
    """Watch nothing, keep nothing."""
    tracker = of.tracker

    class Nothing:
        hidden = staticmethod(of.model.hidden)
        close_step = staticmethod(lambda step, loss: None)

    of.tracker = Nothing()  # type: ignore[assignment]
    try:
        yield
    finally:
        of.tracker = tracker


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun


def compare_ways(config: RunConfig, repetitions: int) -> dict[str, Any]:
    """Seconds of each way's gradient, of a snapshot and of the optimisers, taking turns after one each that do not count.

    And ``matrix_rate``, measured at each turn.
    """
    found: dict[str, list[float]] = defaultdict(list)
    with session(config) as of:
        ways = Ways(of)
        for repetition in range(repetitions + 1):
            # the snapshot after the step that a run would have done before it
            for name in ("plain", "untracked", "tracked", "snapshots", "loops"):
                spent = {name: seconds(getattr(ways, name), repetition)}
                if name != "snapshots":  # which leaves no gradient
                    spent["optimisers"] = seconds(of.update)
                if repetition:
                    for what, value in spent.items():
                        found[what].append(value)
                    print("  " + ", ".join(f"{what} {value:.2f} s" for what, value in spent.items()), flush=True)
            if repetition:
                found["matrix_rate"] += matrix_rate(3)
    return found


def grow(config: RunConfig, repetitions: int) -> list[dict[str, Any]]:
    """Tracked and untracked steps of models that differ from the preset in one thing."""
    model, batch = config.model, config.train.batch_size
    shapes: list[tuple[str, int, dict[str, int], int]] = []
    shapes += [
        ("layers", n, {"n_layers": n}, batch)
        for n in (max(1, model.n_layers // 4), model.n_layers // 2, model.n_layers)
    ]
    # as many tokens a step whatever the context
    shapes += [("context", model.context // by, {"context": model.context // by}, batch * by) for by in (4, 2, 1)]
    # as many numbers in all heads together: more of them, and smaller
    shapes += [
        (
            "query heads of a layer",
            model.n_query_heads * by,
            {
                "n_query_heads": model.n_query_heads * by,
                "n_kv_heads": model.n_kv_heads * by,
                "d_head": model.d_head // by,
            },
            batch,
        )
        for by in (1, 2, 4)
    ]
    rows = []
    for axis, value, changes, batch_size in shapes:
        changed = dataclasses.replace(
            config,
            model=dataclasses.replace(model, **changes),
            train=dataclasses.replace(config.train, batch_size=batch_size),
            # what fits the smallest model; no snapshot is taken of these
            probe=dataclasses.replace(
                config.probe, capacity_ranks=(1,), report_tokens=16, short_tokens=16, sink_horizons=(16,)
            ),
        )
        with session(changed) as of:
            ways = Ways(of)
            untracked, tracked = [], []
            for repetition in range(repetitions + 1):
                for times, way in ((untracked, ways.untracked), (tracked, ways.tracked)):
                    spent = seconds(way, repetition)
                    of.update()
                    if repetition:
                        times.append(spent)
        rows.append({"axis": axis, "value": value, "untracked": untracked, "tracked": tracked})
        print(f"  {axis} {value}: {statistics.median(tracked):.2f} s tracked", flush=True)
    return rows


def peak_memory(config: RunConfig) -> float:
    """Bytes a process needed at most that did three tracked steps, a snapshot and nothing else."""
    command = [sys.executable, __file__, "--preset", config.preset, "--only-memory"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return float(done.stdout.split()[-1])


def _measure_memory(config: RunConfig) -> None:
    with session(config) as of:
        for step in range(3):
            of.loss(step, with_gradient=True)
            of.update()
        of.snapshot(3)
    # kilobytes on Linux, bytes on macOS
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def report(result: dict[str, Any]) -> str:
    """The machine, the tables, and the numbers that the book's page quotes."""
    machine = f"{result['machine']['name']}, {result['machine']['threads']} threads"
    numbers = (
        f"{name:<28}{value:>12.2f}" for name, value in speed.summary(result).items() if not isinstance(value, str)
    )
    tables = (speed.ways(result), speed.growth(result))
    return "\n\n".join([machine, *(table.round(3).to_string(index=False) for table in tables), "\n".join(numbers)])


def main() -> None:
    """Measure, print, and write the numbers."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--preset", default="paper")
    options.add_argument("--repetitions", type=int, default=5)
    options.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    config = make_config(chosen.preset)
    keep_freed_memory()
    if chosen.only_memory:
        _measure_memory(config)
        return
    memory = peak_memory(config)
    ways = compare_ways(config, chosen.repetitions)
    result = {
        "preset": chosen.preset,
        "machine": describe_device(torch.device("cpu")),
        "versions": {"python": platform.python_version(), "torch": torch.__version__.partition("+")[0]},
        "repetitions": chosen.repetitions,
        "tokens_per_step": config.tokens_per_step,
        "n_steps": config.train.steps,
        "n_snapshots": len(config.snapshot_steps()),
        "flops_per_step": flops_per_step(config),
        "matrix_rate": ways.pop("matrix_rate"),
        "peak_memory": memory,
        "snapshots": ways.pop("snapshots"),
        "ways": ways,
        "growth": grow(config, 3),
    }
    print(report(result))
    if chosen.preset == "paper":
        write_json(paths.recorded() / RESULT, json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
