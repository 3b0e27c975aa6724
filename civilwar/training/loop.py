"""The training loop: every head tracked at every step, and a killed run resumes from its checkpoint, bit for bit."""

import contextlib
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tqdm.auto import tqdm

from civilwar import paths
from civilwar.corpus.corpus import Batches, Corpus, load_corpus
from civilwar.corpus.identity import check_same_text, checksum_here
from civilwar.durations import TimeLeft, in_words
from civilwar.errors import RunMismatch, RunNotWritten
from civilwar.evidence import registration
from civilwar.files import atomic_path, write_json
from civilwar.measure.prober import Prober, ProbeTexts
from civilwar.measure.tracker import StepTracker
from civilwar.model.decoder import Decoder
from civilwar.model.loss import total_next_token_loss
from civilwar.model.optim import make_optimizers
from civilwar.recipe.config import RunConfig
from civilwar.runs.manifest import MANIFEST, PROVENANCE
from civilwar.runs.parts import check_parts, part_sums, up_to
from civilwar.runs.reader import Run, check_name, check_same_config
from civilwar.runs.records import Records
from civilwar.runs.schema import PROBE, WEIGHTS
from civilwar.runs.writer import SCAFFOLDING, RunWriter
from civilwar.training import choice, machine
from civilwar.training.allocator import keep_freed_memory
from civilwar.training.checkpoints import Checkpoints
from civilwar.training.ending import check_enough_text, experiment
from civilwar.training.finite import diverged, first_bad_step
from civilwar.training.machine import choose_device
from civilwar.training.signals import sigterm_interrupts, uninterrupted

CHECKPOINT_EVERY = 64
#: A step's texts pass through the model in groups of about so many tokens, whose gradients add up. More would not be
#: faster on a CPU, and would take more memory anywhere.
TOKENS_PER_PASS = 2048


def train(
    config: RunConfig,
    name: str | None = None,
    device: str = "auto",
    checkpoint_every: int = CHECKPOINT_EVERY,
    progress: bool = True,
    accept_another_machine: bool = False,
) -> Run:
    """Train a run, or finish one that was interrupted; a complete one is opened as it is, once its files were verified.

    Ctrl-C and SIGTERM leave a checkpoint, so that at most the step in hand is lost.

    Args:
        config: what to train.
        name: the run's folder under ``runs/``; by default preset, variant and seed.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        checkpoint_every: steps between checkpoints. Changes nothing that is recorded.
        progress: show a progress bar with loss, tokens per second and time left.
        accept_another_machine: go on with a run that another device or version of torch began. Its numbers are then those of
            neither alone; the manifest says which sitting did which steps.

    Raises RunBusy, RunMismatch (another configuration, text or machine), RunDamaged or RunNotWritten (`civilwar.errors`),
    CorpusError, CacheDamaged, DeviceError, or TrainingDiverged (`civilwar.training.finite`).
    """
    chosen = choose_device(device)
    keep_freed_memory()
    path = paths.runs() / check_name(name or config.default_name)
    # one that needs no more writing may lie on a disk that lets nobody write
    if not any((path / name).exists() for name in SCAFFOLDING) and (done := _complete(path, config)) is not None:
        return done
    with RunWriter(path, config) as writer:
        if (done := _complete(path, config)) is not None:
            # left where a kill came between the last line of the manifest and the end
            writer.remove_scaffolding()
            return done
        corpus = load_corpus(config.corpus, config.model.vocab_size)
        if (path / MANIFEST).is_file():
            check_same_text(config.corpus, Run(path).text_checksum, corpus.checksum, path)
        session = Session(writer, config, corpus, chosen, checkpoint_every, accept_another_machine)
        try:
            with sigterm_interrupts():
                return session.run(progress)
        except KeyboardInterrupt as stop:
            # what a terminal or a notebook then shows is this sentence
            raise type(stop)(
                f"{path.name} was interrupted; the same command or cell goes on {session.saved()}."
            ) from None
        except (OSError, SafetensorError) as error:
            raise RunNotWritten(
                f"{path} could not be written: {error}. What was written before is whole: make room or mend the disk, "
                f"then the same command goes on {session.saved()}."
            ) from error


def _complete(path: Path, config: RunConfig) -> Run | None:
    """The run, verified, if it is complete. Raises RunMismatch where it is of another configuration or text."""
    if not (path / MANIFEST).is_file():
        return None
    run = Run(path)
    check_same_config(run.config, config, path)
    if not run.complete:
        return None
    check_same_text(config.corpus, run.text_checksum, checksum_here(config.corpus), path)
    run.verify(weights=True)
    return run


class Session:
    """One process's work on one run: the model, what trains it, and what watches it.

    Args:
        writer: of the run's folder.
        config: what to train.
        corpus: its text.
        device: where to compute.
        checkpoint_every: steps between checkpoints.
        accept_another_machine: whether the sittings of a run may differ in device or torch.

    Raises CorpusError where the corpus is too small for the run.
    """

    def __init__(
        self,
        writer: RunWriter,
        config: RunConfig,
        corpus: Corpus,
        device: torch.device,
        checkpoint_every: int,
        accept_another_machine: bool = False,
    ) -> None:
        self.writer, self.config, self.corpus, self.device = writer, config, corpus, device
        self.checkpoints = Checkpoints(writer.path, config.hash)
        self.checkpoint_every, self.accept_another_machine = checkpoint_every, accept_another_machine
        #: Updates made so far, those of earlier sittings included: the model's state is that of this step.
        self.n_updates = 0
        self.batches: Batches = corpus.training_batches(
            config.seed, config.train.batch_size, config.model.context, config.train.steps, config.passes
        )
        check_enough_text(corpus, config)
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
        self.machine = machine.facts(device)
        self.tracker = StepTracker(self.model, separator_ids.to(device))
        self._compute(choice.choose(config, device, TOKENS_PER_PASS))
        self.snapshots: list[Records] = []
        self.seconds = {"wall": 0.0, "snapshots": 0.0, "experiments": 0.0}

    def _compute(self, ways: choice.Choice) -> None:
        self.ways = ways
        self.model.compute(ways.ways)
        self.prober = Prober(self.model, self.config, self.texts, ways.ways.probe_by_convolution)

    def autocast(self) -> torch.autocast:
        """bfloat16 matrix products where the run's precision says so."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.config.train.precision == "bf16-autocast"
        )

    def run(self, progress: bool) -> Run:
        """Do the steps that are left, then the experiments, and finish the run."""
        self.n_updates = first = self._resume()
        self._describe(first)
        try:
            self._steps(first, progress)
        except KeyboardInterrupt:
            self._keep()
            raise
        return self._finish()

    def _steps(self, first: int, progress: bool) -> None:
        """Every step from ``first`` to the end."""
        config, last = self.config, self.config.train.steps
        snapshots, left = set(config.snapshot_steps()), TimeLeft()
        bar = tqdm(
            total=config.n_tokens,
            initial=min(first, last) * config.tokens_per_step,
            unit="tok",
            unit_scale=True,
            desc=self.writer.path.name,
            # not the bar's own guess: it takes the first steps' snapshots for the rate of all
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} tok [{elapsed}, {rate_fmt}{postfix}]",
            disable=not progress,
        )
        begun, before = time.perf_counter(), self.seconds["wall"]
        with bar:
            for step in range(first, last + 1):
                if step in snapshots:
                    snapped = self.seconds["snapshots"]
                    self.snapshot(step)
                    left.snapshot(self.seconds["snapshots"] - snapped)
                started = time.perf_counter()
                loss = self.loss(step, with_gradient=step < last)
                if step < last:
                    self.update()
                    bar.update(config.tokens_per_step)
                    if step % 4 == 0:
                        self._check(loss, step)
                        bar.set_postfix_str(self._progress(step, float(loss), left))
                    left.step(time.perf_counter() - started)
                self.seconds["wall"] = before + time.perf_counter() - begun
                if step == last or (step + 1) % self.checkpoint_every == 0:
                    self._check(loss, step)
                    self.checkpoint(step)

    def _progress(self, step: int, loss: float, left: TimeLeft) -> str:
        """What the bar says beside itself: step, loss, and how long the rest takes, as soon as that is known."""
        later = sum(snapshot > step for snapshot in self.config.snapshot_steps())
        seconds = left.seconds(self.config.train.steps - step, later)
        known = "measuring its rate" if seconds is None else f"about {in_words(seconds)} left"
        return f"step={step}, loss={loss:.3f}, {known}"

    def loss(self, step: int, with_gradient: bool) -> torch.Tensor:
        """Mean loss of the step's batch, every head tracked; its gradient is left on the parameters where asked for."""
        inputs, targets = (part.to(self.device) for part in self.batches.batch(step))
        texts = max(1, TOKENS_PER_PASS // inputs.shape[1])
        loss = torch.zeros((), device=self.device)
        with torch.set_grad_enabled(with_gradient):
            for some, wanted in zip(inputs.split(texts), targets.split(texts), strict=True):
                with self.autocast():
                    hidden = self.tracker.hidden(some)
                    total = total_next_token_loss(hidden, self.model.embedding.weight, wanted, self.ways.ways.compiled)
                    part = total / targets.numel()
                if with_gradient:
                    part.backward()
                loss += part.detach()
        self.tracker.close_step(step, loss)
        return loss

    def update(self) -> None:
        """One step of every optimiser on the gradients that are there, which are zero afterwards."""
        # a checkpoint can be taken before it or after it, not amid it
        with uninterrupted():
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)
            self.n_updates += 1

    def snapshot(self, step: int) -> None:
        """Measure every head on the probe; ``step`` updates were made so far."""
        begun = time.perf_counter()
        self.snapshots.append(self.prober.measure(step, self.autocast()))
        self.seconds["snapshots"] += time.perf_counter() - begun

    # ------------------------------------------------------------ checkpoints

    def saved(self) -> str:
        """Where the newest checkpoint stands, in words."""
        steps = self.checkpoints.steps()
        return (
            f"from the checkpoint of step {steps[-1]}" if steps else "from the start, since there is no checkpoint yet"
        )

    def checkpoint(self, step: int) -> None:
        """Rows first, then the state they belong to: a checkpoint never promises rows that are not there.

        Raises TrainingDiverged, with the rows written and no state, where a row shows that the model is none any more.
        """
        with uninterrupted():
            self.writer.write_part(step, self._take_rows(step))
            state = {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers]}
            self.checkpoints.save(
                step,
                state,
                seconds=self.seconds,
                corpus_checksum=self.corpus.checksum,
                parts=part_sums(self.writer.path),
                ways=self.ways.facts(),
            )

    def _keep(self) -> None:
        """Take a checkpoint of the updates that an interrupted sitting made: only the step it was in is lost."""
        # the state after n updates and the rows of the steps before it
        step = self.n_updates - 1
        if step > max(self.checkpoints.steps(), default=-1):
            with contextlib.suppress(OSError, SafetensorError):
                self.checkpoint(step)

    def _check(self, loss: torch.Tensor, step: int) -> None:
        """Raise TrainingDiverged where the step's loss, or a key norm, is no number."""
        if not (math.isfinite(float(loss)) and self.tracker.finite()):
            self._take_rows(step, (step, float(loss)))

    def _take_rows(self, step: int, known: tuple[int, float] | None = None) -> Records:
        """Rows since the last checkpoint, up to ``step``.

        Raises TrainingDiverged, naming the first bad step, where a row is no number; a bad step that is ``known``, with its
        loss, where no row is.
        """
        rows = up_to(Records.concatenate([self.tracker.take(), *self.snapshots]), step)
        self.snapshots = []
        first = first_bad_step(rows)
        if first is not None:
            known = first, float(rows.tables["train"].set_index("step")["loss"][first])
        if known is None:
            return rows
        # the rows that show how it came about; a resumed run makes them again
        self.writer.write_part(step, rows)
        self.writer.write_manifest(status="diverged")
        raise diverged(self.writer.path, *known, step, self.checkpoints.steps())

    def _resume(self) -> int:
        """Load the newest checkpoint. Returns the first step still to do. Raises RunMismatch or RunDamaged."""
        newest = self.checkpoints.load_newest(self.device)
        if newest is None:
            self.writer.discard_parts_after(-1)
            return 0
        state, facts = newest
        # the checkpoint was taken after the forward pass and update of its step, so the next step is the first to do
        first = int(facts["step"]) + 1
        check_same_text(self.config.corpus, facts["corpus_checksum"], self.corpus.checksum, self.writer.path)
        if not self._on_another_machine(first) and "ways" in facts:
            self._compute(choice.follow(facts["ways"], self.writer.path))
        self.writer.discard_parts_after(first - 1)
        check_parts(self.writer.path, facts["parts"])
        self.model.load_state_dict(state["model"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.seconds |= facts["seconds"]
        return first

    def _on_another_machine(self, first: int) -> bool:
        """Whether the sitting that made the steps before ``first`` had another device or torch. Raises RunMismatch then."""
        # a sitting that was killed before its first checkpoint made none of them
        before = [sitting for sitting in Run(self.writer.path).sittings if sitting["from_step"] < first]
        changed = machine.differences(before[-1], self.machine) if before else []
        if changed and not self.accept_another_machine:
            raise RunMismatch(
                f"{self.writer.path} was begun on another machine ({'; '.join(changed)}), whose numbers differ in their "
                "last digits. Go on there, train under another name, or take both in one run with "
                "--accept-another-machine (accept_another_machine=True)."
            )
        return bool(changed)

    # ------------------------------------------------------------ manifest

    def _describe(self, first: int) -> None:
        sitting = {"from_step": first, "started": datetime.now(UTC).isoformat(timespec="seconds")} | self.machine
        sitting["ways"] = self.ways.facts()
        # a run that starts again from the beginning keeps nothing of what was before
        sittings = [*Run(self.writer.path).sittings, sitting] if first else [sitting]
        write_json(self.writer.path / PROBE, self._probe_description())
        self.writer.write_manifest(
            status="running",
            sittings=sittings,
            # of the first that is known, for readers who want one
            **{name: next((known[name] for known in sittings if name in known), None) for name in PROVENANCE},
            # a run is judged by the rules under which it began, whatever they are when it goes on; by none where unregistered
            rules=Run(self.writer.path).manifest.get("rules") if first else registration.in_force_hash(),
            corpus=self.corpus.facts(),
            dtype_policy={
                "parameters": str(next(self.model.parameters()).dtype).removeprefix("torch."),
                "compute": "float32" if self.config.train.precision == "float32" else "bfloat16",
                "precision": self.config.train.precision,
                "metrics": "float32",
            },
            n_parameters=self.config.model.n_parameters,
            resumed_at=[later["from_step"] for later in sittings[1:]],
        )

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
        begun = time.perf_counter()
        found = experiment(
            Run(self.writer.path),
            self.model,
            self.corpus,
            self.batches,
            self.texts,
            self.prober,
            self.autocast(),
        )
        # in a part of its own, made anew by a resumed run
        self.writer.write_part(self.config.train.steps + 1, found)
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
