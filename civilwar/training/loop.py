"""The training loop: every head tracked at every step, checkpoints that a killed run resumes from, bit for bit.

No other file of the package imports this one but the command line and the notebooks' door (`civilwar.cli`,
`civilwar.pages.door`).
"""

import contextlib
import json
import math
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tqdm.auto import tqdm

from civilwar import paths
from civilwar.analysis import taxonomy
from civilwar.corpus.corpus import Batches, Corpus, load_corpus
from civilwar.errors import RunDamaged, RunError, RunNotWritten
from civilwar.files import atomic_path, read_json, sha256, write_json
from civilwar.measure import experiments
from civilwar.measure.content import head_content
from civilwar.measure.prober import Prober, ProbeTexts
from civilwar.measure.tracker import StepTracker
from civilwar.model.decoder import Decoder
from civilwar.model.loss import total_next_token_loss
from civilwar.model.optim import make_optimizers
from civilwar.recipe.config import RunConfig
from civilwar.runs.manifest import MANIFEST, read_manifest
from civilwar.runs.reader import Run, check_name
from civilwar.runs.records import Records
from civilwar.runs.schema import PROBE, WEIGHTS
from civilwar.runs.writer import RunWriter
from civilwar.training.allocator import keep_freed_memory

CHECKPOINT_EVERY = 64
#: A step's texts pass through the model in groups of about so many tokens, whose gradients add up. More would not be
#: faster on a CPU, and would take more memory anywhere.
TOKENS_PER_PASS = 2048
#: A checkout counts as clean when these do not differ from its commit.
TRAINING_SOURCES = ("civilwar", "pyproject.toml", "requirements.lock")
PACKAGES = ("civilwar", "torch", "numpy", "pandas", "pyarrow", "tokenizers", "safetensors")


class DeviceError(ValueError):
    """The device asked for is unknown or not there."""


class TrainingDiverged(RunError):
    """The loss is no longer a number."""


def choose_device(wanted: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU. Raises DeviceError naming what this machine has."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available.get(wanted.partition(":")[0], False):
        there = ", ".join(name for name, there in available.items() if there)
        raise DeviceError(f"device = {wanted!r}: expected auto or one that this machine has ({there}).")
    return torch.device(wanted)


def train(
    config: RunConfig,
    name: str | None = None,
    device: str = "auto",
    checkpoint_every: int = CHECKPOINT_EVERY,
    progress: bool = True,
) -> Run:
    """Train a run, or finish one that was interrupted; a complete one is opened as it is.

    Args:
        config: what to train.
        name: the run's folder under ``runs/``; by default preset, variant and seed.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        checkpoint_every: steps between checkpoints. Changes nothing that is recorded.
        progress: show a progress bar with loss, tokens per second and time left.

    Raises RunBusy, RunMismatch, RunDamaged or RunNotWritten (`civilwar.errors`), CorpusError, CacheDamaged, DeviceError, or
    TrainingDiverged.
    """
    chosen = choose_device(device)
    keep_freed_memory()
    path = paths.runs() / check_name(name or config.default_name)
    with RunWriter(path, config) as writer:
        if (path / MANIFEST).is_file() and Run(path).complete:
            # left where a kill came between the last line of the manifest and the end
            writer.remove_scaffolding()
            return Run(path)
        corpus = load_corpus(config.corpus, config.model.vocab_size)
        session = _Session(writer, config, corpus, chosen, checkpoint_every)
        try:
            return session.run(progress)
        except KeyboardInterrupt:
            # what a terminal or a notebook then shows is this sentence
            raise KeyboardInterrupt(
                f"{path.name} was interrupted; the same command or cell goes on {session.saved()}."
            ) from None
        except (OSError, SafetensorError) as error:
            raise RunNotWritten(
                f"{path} could not be written: {error}. What was written before is whole: make room or mend the disk, "
                f"then the same command goes on {session.saved()}."
            ) from error


class _Session:
    """One process's work on one run."""

    def __init__(
        self, writer: RunWriter, config: RunConfig, corpus: Corpus, device: torch.device, checkpoint_every: int
    ) -> None:
        self.writer, self.config, self.corpus, self.device = writer, config, corpus, device
        self.checkpoint_every = checkpoint_every
        self.batches: Batches = corpus.training_batches(
            config.seed, config.train.batch_size, config.model.context, config.train.steps
        )
        # asked for at the end only, and a pity to learn of there
        corpus.validation_texts(max(config.probe.experiment_texts, config.probe.content_texts), config.model.context)
        model = Decoder(config.model, config.seed)
        if config.train.precision == "bf16-pure":
            model = model.to(torch.bfloat16)
        self.model = model.to(device)
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                # gradients keep their place: made anew at each step amid the activations, they would leave freed memory in
                # pieces too small to use again, a tenth of the peak on a CPU
                parameter.grad = torch.zeros_like(parameter)
        self.optimizers = make_optimizers(self.model, config.train)
        separator_ids = torch.from_numpy(corpus.separator_ids)
        self.texts = ProbeTexts(
            corpus.probe_texts(config.probe.n_texts, config.model.context),
            corpus.short_texts(config.probe.short_tokens),
            separator_ids,
            config,
            device,
        )
        self.tracker = StepTracker(self.model, separator_ids.to(device))
        self.prober = Prober(self.model, config, self.texts)
        self.snapshots: list[Records] = []
        self.seconds = {"wall": 0.0, "snapshots": 0.0, "experiments": 0.0}

    def autocast(self) -> torch.autocast:
        """bfloat16 matrix products where the run's precision says so."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.config.train.precision == "bf16-autocast"
        )

    def run(self, progress: bool) -> Run:
        config, path = self.config, self.writer.path
        first = self._resume()
        self._describe(first)
        last = config.train.steps
        snapshots = set(config.snapshot_steps())
        bar = tqdm(
            total=config.n_tokens,
            initial=min(first, last) * config.tokens_per_step,
            unit="tok",
            unit_scale=True,
            desc=path.name,
            disable=not progress,
        )
        begun, before = time.perf_counter(), self.seconds["wall"]
        with bar:
            for step in range(first, last + 1):
                if step in snapshots:
                    self._snapshot(step)
                loss = self._loss(step, with_gradient=step < last)
                if step < last:
                    self._update()
                    bar.update(config.tokens_per_step)
                    if step % 4 == 0:
                        bar.set_postfix(step=step, loss=f"{self._finite(loss, step):.3f}")
                self.seconds["wall"] = before + time.perf_counter() - begun
                if step == last or (step + 1) % self.checkpoint_every == 0:
                    self._finite(loss, step)
                    self._checkpoint(step)
        return self._finish()

    def _loss(self, step: int, with_gradient: bool) -> torch.Tensor:
        """Mean loss of the step's batch, every head tracked; its gradient is left on the parameters where asked for."""
        inputs, targets = (part.to(self.device) for part in self.batches.batch(step))
        texts = max(1, TOKENS_PER_PASS // inputs.shape[1])
        loss = torch.zeros((), device=self.device)
        with torch.set_grad_enabled(with_gradient):
            for some, wanted in zip(inputs.split(texts), targets.split(texts), strict=True):
                with self.autocast():
                    with self.tracker.watching(some):
                        hidden = self.model.hidden(some)
                    part = total_next_token_loss(hidden, self.model.embedding.weight, wanted) / targets.numel()
                if with_gradient:
                    part.backward()
                loss += part.detach()
        self.tracker.close_step(step, loss)
        return loss

    def _update(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

    def _finite(self, loss: torch.Tensor, step: int) -> float:
        value = float(loss)
        if not math.isfinite(value):
            # the rows that show how it came about; a resumed run makes them again
            self._write_rows(step)
            self.writer.write_manifest(status="diverged")
            raise TrainingDiverged(
                f"the loss is {value} at step {step} of {self.writer.path.name}. Its tables up to there are kept in "
                f"{self.writer.path}, and the state {self.saved()}; lower the learning rate or change the precision, and "
                "train under another name."
            )
        return value

    def _snapshot(self, step: int) -> None:
        begun = time.perf_counter()
        self.snapshots.append(self.prober.measure(step, self.autocast()))
        self.seconds["snapshots"] += time.perf_counter() - begun

    # ------------------------------------------------------------ checkpoints

    def saved(self) -> str:
        """Where the newest checkpoint stands, in words."""
        steps = [int(folder.name) for folder in (self.writer.path / "checkpoints").glob("[0-9]*")]
        return (
            f"from the checkpoint of step {max(steps)}" if steps else "from the start, since there is no checkpoint yet"
        )

    def _checkpoint(self, step: int) -> None:
        """Rows first, then the state they belong to: a checkpoint never promises rows that are not there."""
        self._write_rows(step)
        folder = self.writer.path / "checkpoints"
        with atomic_path(folder / f"{step:06d}") as temporary:
            temporary.mkdir()
            state = {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers]}
            _save(state, temporary / "state.pt")
            sidecar = {
                "step": step,
                "config_hash": self.config.hash,
                "sha256": sha256(temporary / "state.pt"),
                "seconds": self.seconds,
            }
            (temporary / "checkpoint.json").write_text(json.dumps(sidecar), encoding="utf-8")
        # keep one spare, so that a checkpoint damaged on disk does not cost the run
        for old in sorted(folder.glob("[0-9]*"))[:-2]:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()

    def _write_rows(self, step: int) -> None:
        self.writer.write_part(step, Records.concatenate([self.tracker.take(), *self.snapshots]))
        self.snapshots = []

    def _resume(self) -> int:
        """Load the newest checkpoint. Returns the first step still to do."""
        found = sorted((self.writer.path / "checkpoints").glob("[0-9]*"))
        if not found:
            self.writer.discard_parts_after(-1)
            return 0
        newest = found[-1]
        state_file = newest / "state.pt"
        spare = f"to go on from step {int(found[-2].name)}" if len(found) > 1 else "to start again"
        try:
            sidecar = read_json(newest / "checkpoint.json")
            good = sha256(state_file) == sidecar["sha256"] and sidecar["config_hash"] == self.config.hash
        except (RunDamaged, OSError, KeyError) as error:
            raise RunDamaged(f"checkpoint {newest} is damaged ({error}). Remove that folder {spare}.") from error
        if not good:
            raise RunDamaged(f"checkpoint {newest} is damaged: its checksum does not fit. Remove that folder {spare}.")
        state = torch.load(state_file, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.seconds |= sidecar["seconds"]
        step = int(sidecar["step"])
        self.writer.discard_parts_after(step)
        # the checkpoint was taken after the forward pass and update of its step, so the next step is the first to do
        return step + 1

    # ------------------------------------------------------------ manifest

    def _describe(self, first: int) -> None:
        commit, dirty = _git_state()
        write_json(self.writer.path / PROBE, self._probe_description())
        self.writer.write_manifest(
            status="running",
            commit=commit,
            dirty=dirty,
            versions={name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
            corpus=self.corpus.facts(),
            device=describe_device(self.device),
            dtype_policy={
                "parameters": str(next(self.model.parameters()).dtype).removeprefix("torch."),
                "compute": "float32" if self.config.train.precision == "float32" else "bfloat16",
                "precision": self.config.train.precision,
                "metrics": "float32",
            },
            n_parameters=self.config.model.n_parameters,
            resumed_at=([*self._earlier("resumed_at"), first] if first else []),
            started=self._earlier("started") or datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _earlier(self, key: str) -> Any:
        there = (self.writer.path / MANIFEST).is_file()
        return read_manifest(self.writer.path).get(key, []) if there else []

    def _probe_description(self) -> dict[str, Any]:
        texts = {}
        for kind, ids in (("short_texts", self.texts.short), ("texts", self.texts.long[:, :-1])):
            texts[kind] = [
                {
                    "tokens": self.corpus.token_strings(text.tolist()),
                    "separator": self.texts.separator_ids[text].cpu().tolist(),
                }
                for text in ids
            ]
        return texts | {"uniform_attention": self.texts.uniform_baselines()}

    def _experiment(self) -> None:
        """Ask the trained model what only its weights can tell; in a part of its own, made anew by a resumed run."""
        begun = time.perf_counter()
        config = self.config
        self.model.eval()
        bench = experiments.Bench(
            self.model,
            config,
            self.corpus.validation_texts(config.probe.experiment_texts, config.model.context).to(self.device),
            # the batch after the last update: training text that was not trained on
            self.batches.batch(config.train.steps)[0].to(self.device),
            self.texts.repeated,
            self.texts.separator_ids,
            self.autocast(),
        )
        kinds = taxonomy.heads_by_kind(taxonomy.labels(Run(self.writer.path), config.train.steps, draws=0))
        tables = {
            "capacity": experiments.capacity(bench),
            "ablation": experiments.ablation(bench, kinds),
            "key_energy": experiments.key_energy(bench),
            "shuffled_query_heads": self.prober.measure_shuffled(self.autocast()),
            "head_content": head_content(bench, self.corpus),
        }
        self.writer.write_part(config.train.steps + 1, Records(tables))
        self.seconds["experiments"] = time.perf_counter() - begun

    def _finish(self) -> Run:
        self._experiment()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        with atomic_path(self.writer.path / WEIGHTS) as temporary:
            save_file(weights, temporary)
        wall = self.seconds["wall"]
        return self.writer.finish(
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            timings={
                "wall_seconds": round(wall, 2),
                "snapshot_seconds": round(self.seconds["snapshots"], 2),
                "experiment_seconds": round(self.seconds["experiments"], 2),
                "tokens_per_second": round(self.config.n_tokens / wall, 1) if wall else None,
            },
        )


def _save(state: dict[str, Any], file: Path) -> None:
    try:
        with file.open("wb") as stream:
            torch.save(state, stream)
    except RuntimeError as error:
        # of a full disk torch says something that only its authors understand, right after the disk said what is wrong
        if not isinstance(error.__context__, OSError):
            raise
        raise OSError(f"{file.name} was refused ({error.__context__.strerror})") from error


def describe_device(device: torch.device) -> dict[str, Any]:
    """Kind and name of the hardware, and how many threads compute on a CPU."""
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device)}
    return {"type": device.type, "name": _processor_name(), "threads": torch.get_num_threads()}


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout and whether the training code differs from it; (None, None) outside git."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(paths.repository()), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # of what decides a run's numbers: prose, and runs recorded since, do not
        return ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain", "--", *TRAINING_SOURCES))
    except (OSError, subprocess.CalledProcessError):
        return None, None
