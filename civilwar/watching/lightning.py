"""Watching Lightning's Trainer: a callback, nothing else to change."""

from pathlib import Path
from typing import Any

from torch import nn

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    from pytorch_lightning import Callback  # type: ignore[assignment]

from civilwar.runs.reader import Run
from civilwar.watching.batches import loss_in
from civilwar.watching.watch import Watch, watch


class LightningHeadCallback(Callback):
    """Every head of the model that Lightning's ``Trainer`` trains, recorded as a run.

    >>> L.Trainer(..., callbacks=[LightningHeadCallback("runs/mine", tokenizer, texts)])  # doctest: +SKIP

    Takes what `civilwar.watch` takes, but for the model: the LightningModule, or the part of it that ``part`` names, such as
    ``model``. Probe texts are run by it: ``forward`` says how, where it is not ``model(ids)``. Steps are the trainer's updates,
    however many batches each accumulates. After training ``run`` is the finished run.
    """

    def __init__(
        self, out: str | Path, tokenizer: Any = None, texts: Any = None, *, part: str = "", **options: Any
    ) -> None:
        super().__init__()
        self._asked = (out, tokenizer, texts, part, options)
        self._watch: Watch | None = None
        self._open = False
        #: The finished run; None before training ends.
        self.run: Run | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to listen."""
        out, tokenizer, texts, part, options = self._asked
        model: nn.Module = pl_module.get_submodule(part)
        self._watch = watch(model, out, tokenizer, texts, **options)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A batch, the first of an update or not."""
        if self._watch is not None and not self._open:
            self._watch.begin(trainer.global_step)
            self._open = True

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """All batches of the update were heard."""
        if self._watch is not None and self._open:
            self._watch.end()
            self._open = False

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """The batch's loss, as the module gave it."""
        found = loss_in(loss)
        if self._watch is not None and found is not None:
            self._watch.loss(found * trainer.accumulate_grad_batches)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Finish the run."""
        if self._watch is not None:
            if self._open:
                # batches that led to no update
                self._watch.drop()
            self.run = self._watch.finish()
            self._watch = None
