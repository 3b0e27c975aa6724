"""`watch`: every head of somebody else's model at every step of somebody else's training loop, recorded as a run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.hearing import Unheard
from civilwar.hear.modes import evaluating
from civilwar.hear.observing import observe
from civilwar.hear.statistics import statistics
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.watching.alarms import Alarm, alarms_of, as_table, checked
from civilwar.watching.batches import Batches
from civilwar.watching.folder import Folder
from civilwar.watching.layers import Layers
from civilwar.watching.probe import Forward, Probe
from civilwar.watching.rows import records_of
from civilwar.watching.schedule import Schedule
from civilwar.watching.setting import config_of, describe, device_of, gains_of, listen_once, probe_of, runnable
from civilwar.watching.sums import Step, is_first, n_processes, reduced
from civilwar.watching.texts import Text, read_texts

#: Measured steps from one part on disk to the next: what a kill costs at most.
FLUSH_EVERY = 64


def watch(
    model: nn.Module,
    out: str | Path,
    tokenizer: Any = None,
    texts: Sequence[Any] | None = None,
    *,
    every: int = 1,
    full_every: int = 8,
    snapshots: "str | int | Sequence[int] | None" = "log",
    alarms: Mapping[str, float] | None = None,
    on_alarm: Callable[[Alarm], None] | None = None,
    flush_every: int = FLUSH_EVERY,
    forward: Forward | None = None,
    notes: Mapping[str, Any] | None = None,
) -> "Watch":
    """Listen to a model's attention while it trains, and record what its heads do as a run.

    >>> watch = civilwar.watch(model, "runs/mine", tokenizer, texts)  # doctest: +SKIP
    >>> with watch.step(step):  # doctest: +SKIP
    ...     loss = model(batch, labels=batch).loss
    >>> run = watch.finish()  # doctest: +SKIP

    Args:
        model: any PyTorch model, wrapped for its training or not. Nothing about it is changed.
        out: folder of the run. One that was not finished is gone on with, from the first step that is watched now.
        tokenizer: of transformers or tokenizers, or anything with ``encode`` and ``decode``; None where texts are ids.
        texts: strings, or sequences of token ids, on which every head is measured at snapshots, each cut to 256 tokens;
            None for no snapshots.
        every: steps from one measured step to the next.
        full_every: steps from one full measurement to the next; the others have lengths and largest logits.
        snapshots: when the probe texts are measured: ``log``, a number of steps, the steps, or None.
        alarms: thresholds by name: ``max_logit`` (above), ``entropy`` (normalised, below), ``sink_share`` (of all heads,
            above), ``loss`` (above).
        on_alarm: called with a `civilwar.watching.alarms.Alarm` for each, when the steps are written.
        flush_every: measured steps from one part on disk to the next. Between two, nothing waits for the device.
        forward: how to run the model on token ids [1, n]; by default ``model(ids)``.
        notes: whatever shall stand in the run's configuration.

    Under torch.distributed every process does the same calls; the first writes what all of them heard together.

    Raises ValueError, in one sentence, where an argument is none, or where a layer's attention cannot be told from what was
    heard; Unheard where nothing was; RunBusy or RunMismatch where ``out`` has another run.
    """
    return Watch(
        model,
        Path(out),
        tokenizer,
        texts,
        Schedule(every, full_every, snapshots),
        checked(alarms),
        on_alarm,
        flush_every,
        forward or (lambda given, ids: given(ids)),
        dict(notes or {}),
    )


class Watch:
    """A training that is being watched: see `watch`."""

    def __init__(
        self,
        model: nn.Module,
        out: Path,
        tokenizer: Any,
        texts: Sequence[Any] | None,
        schedule: Schedule,
        alarms: dict[str, float],
        on_alarm: Callable[[Alarm], None] | None,
        flush_every: int,
        forward: Forward,
        notes: dict[str, Any],
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(f"model is {type(model).__name__}: expected a torch.nn.Module.")
        if not isinstance(flush_every, int) or flush_every < 1:
            raise ValueError(f"flush_every = {flush_every!r}: expected a number of steps, at least 1.")
        self._model, self._inner, self._out, self._notes = model, runnable(model), out, notes
        self._schedule, self._alarms, self._on_alarm, self._flush_every = schedule, alarms, on_alarm, flush_every
        self._forward = forward
        self._device = device_of(model)
        self._texts: list[Text] = [] if texts is None else read_texts(tokenizer, texts, self._inner)
        self._batches = Batches(tokenizer, self._inner)
        self._layers: Layers | None = None
        self._probe: Probe | None = None
        self._folder: Folder | None = None
        self._now: Step | None = None
        self._heard_here: list[Heard] = []
        self._steps: list[Step] = []
        self._snapshots: list[Records] = []
        self._last = -1
        self._doors = ExitStack()
        #: Alarms so far.
        self.alarms: list[Alarm] = []
        if self._texts:
            heard = listen_once(self._inner, self._texts[0], forward)
            if heard:
                self._open(heard)
        self._batches.follow(model)
        self._hearing = self._doors.enter_context(hear(model, self._listen, unheard="ignore"))
        self._hearing.live = self._listen_for_gradients

    # ------------------------------------------------------------ a step

    @contextmanager
    def step(self, step: int) -> Iterator["Watch"]:
        """Hear the training forward passes inside; ``step`` updates were made before them.

        Raises ValueError for a step that does not come after the last one, and Unheard where nothing was heard.
        """
        self.begin(step)
        try:
            yield self
        except BaseException:
            self.drop()
            raise
        self.end()

    def begin(self, step: int) -> None:
        """What entering `step` does, for loops that have no place for a ``with``."""
        if not isinstance(step, int) or isinstance(step, bool) or step <= self._last:
            raise ValueError(f"step = {step!r}: expected a whole number above the last step, which is {self._last}.")
        if self._last < 0 and self._folder is not None:
            self._folder.begin(step)
        if len(self._steps) >= self._flush_every:
            self.flush()
        self._last = step
        level = self._schedule.level(step)
        if level is None:
            return
        self._now = Step(step, level == "full")
        self._batches.begin()
        if self._schedule.is_snapshot(step):
            self._snapshot(step)

    def end(self) -> None:
        """What leaving `step` does."""
        now, self._now = self._now, None
        if now is None:
            return
        if self._layers is None and self._heard_here:
            self._open(self._heard_here)
            self._heard_here = []
        if not now.heads:
            raise Unheard(
                f"step {now.step}: no attention was heard of a forward pass with gradients. Run the model inside "
                "`with watch.step(step)`; if you do, " + self._hearing.silence()
            )
        now.loss += self._batches.losses()
        if now.full:
            now.gain = self._gains()
        self._steps.append(now)

    def drop(self) -> None:
        """Forget the step that has begun and not ended."""
        self._now = None

    def loss(self, loss: Tensor | float) -> None:
        """The step's loss, where the model does not give it itself: of one pass; several are averaged."""
        if self._now is not None:
            self._batches.told(loss)

    def observe(self, q: Tensor, k: Tensor, *, layer: int, **more: Any) -> None:
        """Hand over one attention call that nothing can hear, from the model's own code.

        Args:
            q: [batch, query_head, pos, d_head], as used, after norm and RoPE.
            k: [batch, kv_head, pos, d_head], likewise.
            layer: its number.
            more: scaling, window, mask and the rest of what `civilwar.hear.observing.observe` takes.

        Raises ValueError for other shapes.
        """
        observe(q, k, layer=layer, **more)

    # ------------------------------------------------------------ what is heard

    def _listen(self, heard: Heard) -> None:
        now = self._now
        if now is None:
            return
        if self._layers is None:
            # the first step of a model of which no text could be heard tells what its layers are
            self._heard_here.append(heard)
            layer = heard.layer
        elif self._layers.knows(heard):
            layer = self._layers.number(heard)
        else:
            return
        now.add(
            layer,
            statistics(heard, "full" if now.full else "logits", self._batches.separators(heard)),
            len(heard.query),
        )

    def _listen_for_gradients(self, heard: Heard, query: Tensor, key: Tensor) -> None:
        now = self._now
        if now is None or not now.full or (self._layers is not None and not self._layers.knows(heard)):
            return
        layer = heard.layer if self._layers is None else self._layers.number(heard)
        now.listen_for_gradients(layer, query, key, 1 / n_processes())

    def _gains(self) -> dict[str, Tensor]:
        assert self._layers is not None
        with evaluating(self._inner):
            return gains_of(self._inner, self._layers)

    def _snapshot(self, step: int) -> None:
        if self._probe is None:
            return
        now, self._now = self._now, None
        records, energy = self._probe.measure(self._inner, step)
        self._now = now
        config = self._probe._layers
        if energy:
            heads = np.full((1, config.n_layers, config.n_kv_heads, config.d_head), np.nan, np.float32)
            for layer, of_layer in energy.items():
                heads[0, layer, : len(of_layer), : of_layer.shape[-1]] = of_layer
            records.arrays["energy"] = {"step": np.array([step], np.int32), "energy": heads}
        self._snapshots.append(records)

    def _open(self, heard: Sequence[Heard]) -> None:
        """Now that the layers are known, the folder can be."""
        self._layers = Layers(heard)
        if self._texts:
            self._probe = probe_of(self._inner, self._texts, self._layers, self._forward)
        config = config_of(self._inner, self._layers, self._probe, self._schedule, self._notes)
        if is_first():
            self._folder = Folder(self._out, config, self._device, describe(self._probe))
            if self._last >= 0:
                self._folder.begin(self._last)

    # ------------------------------------------------------------ on disk

    def flush(self) -> None:
        """Write what was heard so far; under torch.distributed every process has to call it at the same step."""
        if not self._steps and not self._snapshots:
            return
        steps, self._steps = self._steps, []
        snapshots, self._snapshots = self._snapshots, []
        reduced(steps)
        if self._folder is None or self._layers is None:
            return
        records = Records.concatenate([records_of(steps, self._layers), *snapshots])
        alarms = alarms_of(records, self._alarms) if self._alarms else []
        if alarms:
            records.tables["alarms"] = as_table(alarms)
        self._folder.write(self._last, records)
        self.alarms += alarms
        for alarm in alarms:
            if self._on_alarm is not None:
                self._on_alarm(alarm)

    def finish(self) -> Run:
        """Measure once more what the last update made of the model, write the rest, and open the run.

        For that the last batch is run once more, without gradients and with the model in evaluation. Raises ValueError where
        no step was watched.
        """
        if self._layers is None:
            self.close()
            raise ValueError("nothing was watched: run the model inside `with watch.step(step)` before watch.finish().")
        self._last_moment()
        self.flush()
        self._doors.close()
        self._batches.leave()
        if self._folder is None:
            return Run(self._out)
        return self._folder.finish()

    def close(self) -> None:
        """Stop listening; what was written can be opened, and gone on with."""
        self._doors.close()
        self._batches.leave()
        if self._folder is not None:
            self._folder.close()

    def _last_moment(self) -> None:
        """The state after the last update, as the state before every other step was measured."""
        again = self._batches.again
        if again is None:
            return
        step = self._last + 1
        final = Step(step, full=True)
        layers = self._layers
        assert layers is not None

        def listen(heard: Heard) -> None:
            if layers.knows(heard):
                final.add(
                    layers.number(heard), statistics(heard, "full", self._batches.separators(heard)), len(heard.query)
                )

        self._batches.begin()
        with evaluating(self._inner), hear(self._inner, listen, evaluation=True, unheard="ignore"):
            again(self._inner)
        final.loss = self._batches.losses()
        if not final.heads:
            return
        final.gain = self._gains()
        self._last = step
        self._steps.append(final)
        if self._schedule.snapshots is not None:
            self._snapshot(step)
