"""Watching transformers' Trainer: a callback, nothing else to change."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from civilwar.runs.reader import Run
from civilwar.watching.watch import Watch, watch


class HeadCallback(TrainerCallback):
    """Every head of the model that transformers' ``Trainer`` trains, recorded as a run.

    >>> Trainer(..., callbacks=[HeadCallback("runs/mine", tokenizer, texts)])  # doctest: +SKIP

    Takes what `civilwar.watch` takes, but for the model, which the trainer hands over. Steps are the trainer's updates,
    however many batches each accumulates. After training ``run`` is the finished run.
    """

    def __init__(self, out: str | Path, tokenizer: Any = None, texts: Any = None, **options: Any) -> None:
        self._asked = (out, tokenizer, texts, options)
        self._watch: Watch | None = None
        #: The finished run; None before training ends.
        self.run: Run | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin to listen."""
        out, tokenizer, texts, options = self._asked
        tokenizer = tokenizer if tokenizer is not None else kwargs.get("processing_class")
        self._watch = watch(model, out, tokenizer, texts, **options)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An update begins, with all its batches."""
        if self._watch is not None:
            self._watch.begin(state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All its batches were heard."""
        if self._watch is not None:
            self._watch.end()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Finish the run."""
        if self._watch is not None:
            self.run = self._watch.finish()
            self._watch = None
