"""Checkpoints of somebody's run, one after another, as a run: what `watch` would have recorded of the same texts.

One checkpoint is in memory at a time. Each is known by a checksum of its weights: servers have been seen to give the last
weights under every step's name, and a series of one model repeated would look like a training in which nothing happens.
"""

import fnmatch
import gc
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from civilwar import paths
from civilwar.errors import RunDamaged, RunError, RunMismatch
from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.modes import evaluating
from civilwar.hear.statistics import statistics
from civilwar.recipe.watched import WatchedConfig
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.watching.folder import Folder
from civilwar.watching.layers import Layers
from civilwar.watching.probe import Forward, Probe, next_token_loss
from civilwar.watching.rows import records_of
from civilwar.watching.schedule import Schedule
from civilwar.watching.setting import config_of, describe, device_of, gains_of, listen_once, probe_of
from civilwar.watching.sums import Step
from civilwar.watching.texts import read_texts

#: Loads the checkpoint that stands behind a step: a path, a revision or whatever the series was given.
Load = Callable[[Any], nn.Module]


def weights_checksum(model: nn.Module) -> str:
    """SHA-256 over every weight and buffer of a model by name, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            whole = tensor.detach().cpu().contiguous()
            digest.update(whole.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def steps_named(names: Iterable[str], pattern: str = r"(?:step|checkpoint)[-_]?(\d+)") -> dict[int, str]:
    """Checkpoints by the step in their names, such as ``step1000`` or ``checkpoint-500``, rising; others are left out.

    >>> steps_named(["main", "step2000", "step1000"])
    {1000: 'step1000', 2000: 'step2000'}
    """
    found = {int(match.group(1)): name for name in names if (match := re.search(pattern, str(name)))}
    return dict(sorted(found.items()))


def folders_of(root: str | Path) -> dict[int, str]:
    """The checkpoints in a folder by step, as Trainer and most loops name them: ``checkpoint-500``, ``step_500``."""
    named = steps_named(entry.name for entry in Path(root).iterdir())
    return {step: str(Path(root) / name) for step, name in named.items()}


def series(
    checkpoints: Mapping[int, Any] | str | Path,
    load: Load | nn.Module,
    tokenizer: Any = None,
    texts: Sequence[Any] = (),
    *,
    out: str | Path | None = None,
    revisions: str = "",
    expected: Iterable[int] = (),
    forward: Forward | None = None,
    progress: bool = True,
    notes: Mapping[str, Any] | None = None,
) -> Run:
    """Measure every head on ``texts`` in one checkpoint after another, and record it as a run.

    >>> run = civilwar.series({0: "step0", 512: "step512"}, load, tokenizer, texts)  # doctest: +SKIP

    Args:
        checkpoints: step -> what ``load`` takes: a path, a revision; or a folder of checkpoints that are named by their steps;
            or, with ``revisions``, a model's name on the Hugging Face hub.
        load: gives the model of a checkpoint, such as ``lambda revision: AutoModelForCausalLM.from_pretrained(name,
            revision=revision)``; or a model into which each checkpoint, a ``.safetensors`` file, is loaded.
        tokenizer: as `civilwar.watch` takes it.
        texts: as `civilwar.watch` takes them; at least one.
        out: folder of the run, by default one in the folder of runs, named after the checkpoints. A series that was interrupted
            is gone on with after its last checkpoint; one that is finished is opened as it is.
        revisions: which of the hub's revisions, by a pattern such as ``step*``.
        expected: steps that should be there; those that are not are named in the run's configuration as gaps.
        forward: how to run a model on token ids [1, n]; by default ``model(ids)``.
        progress: show a bar.
        notes: whatever shall stand in the run's configuration.

    Raises ValueError where there is no checkpoint or no text, RunMismatch where two steps have the same weights, or where a
    checkpoint's heads are not those of the first.
    """
    given = _given(checkpoints, revisions)
    if not given or not all(isinstance(step, int) and step >= 0 for step in given):
        raise ValueError(f"checkpoints = {list(given)[:4]}: expected one or more, each by its step, from 0 on.")
    steps = sorted(given)
    gaps = sorted(set(expected) - set(steps))
    content = hashlib.sha256(repr([given[step] for step in steps]).encode()).hexdigest()[:8]
    place = Path(out) if out is not None else paths.runs() / f"series-{content}"
    if (done := _finished(place, steps)) is not None:
        return done
    loading = _into(load) if isinstance(load, nn.Module) else load
    reading = _Reading(
        place, tokenizer, texts, forward or (lambda model, ids: model(ids)), steps, gaps, dict(notes or {})
    )
    try:
        for step in tqdm(steps, desc=place.name, unit="checkpoint", disable=not progress):
            if not reading.has(step):
                model = loading(given[step])
                reading.read(step, model)
                # the next one shall find its place free
                del model
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        return reading.finish()
    except BaseException:
        reading.close()
        raise


def _given(checkpoints: Mapping[int, Any] | str | Path, revisions: str) -> dict[int, Any]:
    """Checkpoints by step, whichever way they were named."""
    if isinstance(checkpoints, Mapping):
        return dict(checkpoints)
    if not revisions:
        return dict(folders_of(checkpoints))
    from huggingface_hub import list_repo_refs

    refs = list_repo_refs(str(checkpoints))
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    return dict(steps_named(fnmatch.filter(names, revisions)))


def _finished(place: Path, steps: Sequence[int]) -> Run | None:
    """The series, if it is there whole. Raises RunMismatch where a finished run of other steps is."""
    if not (place / MANIFEST).is_file() or not (run := Run(place)).complete:
        return None
    if list(run.table("train")["step"]) != list(steps):
        raise RunMismatch(f"{place} has a finished run of other steps: give the series another name by out=...")
    return run


def _into(model: nn.Module) -> Load:
    """Loads a safetensors file into the one model there is."""

    def load(file: Any) -> nn.Module:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(file))
        return model

    return load


class _Reading:
    """A series so far: opened by its first checkpoint."""

    def __init__(
        self,
        out: Path,
        tokenizer: Any,
        texts: Sequence[Any],
        forward: Forward,
        steps: Sequence[int],
        gaps: Sequence[int],
        notes: dict[str, Any],
    ) -> None:
        self._out, self._tokenizer, self._texts, self._forward = out, tokenizer, texts, forward
        self._steps, self._gaps, self._notes = steps, gaps, notes
        self._folder: Folder | None = None
        self._layers: Layers | None = None
        self._probe: Probe | None = None
        self._done: dict[int, str] = {}
        self._known = self._recorded()

    def _recorded(self) -> dict[int, str]:
        """Checksums of the checkpoints that were read before, by step."""
        if not (self._out / MANIFEST).is_file():
            return {}
        run = Run(self._out)
        try:
            read = set(run.table("train")["step"])
        except RunDamaged:
            raise
        except RunError:
            # killed before its first checkpoint was whole
            read = set()
        known = run.manifest.get("weights", {})
        return {int(step): checksum for step, checksum in known.items() if int(step) in read}

    def has(self, step: int) -> bool:
        """Whether a checkpoint was read before."""
        return step in self._known

    def read(self, step: int, model: nn.Module) -> None:
        """Measure one checkpoint and write it."""
        checksum = weights_checksum(model)
        for other, theirs in (self._known | self._done).items():
            if theirs == checksum:
                raise RunMismatch(
                    f"steps {other} and {step} have the same weights, so one of them is not what its name says: leave it "
                    "out, or load it from another source."
                )
        texts = read_texts(self._tokenizer, self._texts, model)
        heard = listen_once(model, texts[0], self._forward)
        layers = Layers(heard)
        if self._layers is not None and (layers.names, layers.d_head) != (self._layers.names, self._layers.d_head):
            raise RunMismatch(
                f"the checkpoint of step {step} has other layers than the one before: one series, one model."
            )
        self._layers = layers
        self._probe = probe_of(model, texts, layers, self._forward)
        if self._folder is None:
            self._open(model)
        assert self._folder is not None
        records, energy = self._probe.measure(model, step)
        now = self._listened(step, model)
        records = Records.concatenate([records_of([now], layers), records])
        if energy:
            heads = np.full((1, layers.n_layers, layers.n_kv_heads, layers.d_head), np.nan, np.float32)
            for layer, of_layer in energy.items():
                heads[0, layer, : len(of_layer), : of_layer.shape[-1]] = of_layer
            records.arrays["energy"] = {"step": np.array([step], np.int32), "energy": heads}
        self._folder.write(step, records)
        self._done[step] = checksum
        self._folder.note(weights={str(at): one for at, one in (self._known | self._done).items()})

    def _listened(self, step: int, model: nn.Module) -> Step:
        """What training batches show elsewhere, here of the probe texts: a series has no batches."""
        assert self._layers is not None
        assert self._probe is not None
        layers, device = self._layers, device_of(model)
        now = Step(step, full=True)
        separator = torch.zeros(0)

        def listen(heard: Heard) -> None:
            if layers.knows(heard):
                flags = separator[None].to(heard.key.device) if len(separator) == heard.key.shape[2] else None
                now.add(layers.number(heard), statistics(heard, "full", flags), len(heard.query))

        with evaluating(model), hear(model, listen, evaluation=True, unheard="ignore"):
            for text in self._probe.texts:
                separator = text.separator if text.read else torch.zeros(0)
                ids = text.ids.to(device)
                loss = next_token_loss(self._forward(model, ids), ids)
                now.loss += [] if loss is None else [torch.tensor(loss)]
        with evaluating(model):
            now.gain = gains_of(model, layers)
        return now

    def _open(self, model: nn.Module) -> None:
        assert self._layers is not None
        notes = self._notes | {"series": True, "checkpoints": list(self._steps), "gaps": list(self._gaps)}
        schedule = Schedule(1, 1, tuple(self._steps))
        config = config_of(model, self._layers, self._probe, schedule, notes)
        self._folder = Folder(self._out, config, device_of(model), describe(self._probe))
        if self._known:
            self._folder.begin(max(self._known) + 1)

    def finish(self) -> Run:
        """Join what was read."""
        if self._folder is None:
            # killed between its last checkpoint and its end
            config = Run(self._out).stored_config
            assert isinstance(config, WatchedConfig)
            self._folder = Folder(self._out, config, torch.device("cpu"), Run(self._out).probe)
        return self._folder.finish()

    def close(self) -> None:
        """Let others write; what was read stays."""
        if self._folder is not None:
            self._folder.close()
