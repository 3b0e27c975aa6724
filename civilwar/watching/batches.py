"""What passes into and out of a model while it trains: the batch, for its separators and for the end, and the loss."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from civilwar.corpus.tokenizer import is_separator
from civilwar.hear.heard import Heard
from civilwar.watching.texts import vocabulary_of


class Batches:
    """The forward passes of a model that is watched.

    Args:
        tokenizer: by which separators are known; None where there is none.
        model: whose embedding says how many tokens there are.
    """

    def __init__(self, tokenizer: Any, model: nn.Module) -> None:
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._losses: list[Tensor] = []
        self._told: list[Tensor] = []
        self._ids: Tensor | None = None
        self._given: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._is_separator = _separators(tokenizer, vocabulary_of(model))
        self._by_device: dict[torch.device, Tensor] = {}

    def follow(self, model: nn.Module) -> None:
        """Look at what passes into and out of ``model`` as it was handed over, wrappers and all."""
        self._handles = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
        ]

    def leave(self) -> None:
        """Look no more."""
        for handle in self._handles:
            handle.remove()
        self._given = None

    def begin(self) -> None:
        """A new step."""
        self._losses, self._told, self._ids = [], [], None

    def losses(self) -> list[Tensor]:
        """The step's losses, one a forward pass: what the user told, else what the model gave."""
        return self._told or self._losses

    def told(self, loss: Tensor | float) -> None:
        """A loss that the user computed."""
        self._told.append(loss.detach() if isinstance(loss, Tensor) else torch.tensor(float(loss)))

    @property
    def again(self) -> Callable[[nn.Module], Any] | None:
        """Runs a model on the last batch; None where none was seen."""
        if self._given is None:
            return None
        args, kwargs = self._given

        def run(model: nn.Module) -> Any:
            self._ids = _ids_in((*args, *kwargs.values()))
            out = model(*args, **kwargs)
            self._losses = [] if (loss := loss_in(out)) is None else [loss.detach()]
            return out

        return run

    def separators(self, heard: Heard) -> Tensor | None:
        """[batch, key], which keys of a call are separators; None where that cannot be told."""
        ids, known = self._ids, self._is_separator
        if known is None or ids is None or tuple(ids.shape) != (heard.key.shape[0], heard.key.shape[2]):
            return None
        device = heard.key.device
        if device not in self._by_device:
            self._by_device[device] = known.to(device)
        return self._by_device[device][ids.to(device).clamp(0, len(known) - 1)]

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        self._given = args, kwargs
        self._ids = _ids_in((*args, *kwargs.values()))

    def _after(self, model: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        loss = loss_in(out)
        if loss is not None:
            self._losses.append(loss.detach())


def _ids_in(values: tuple[Any, ...]) -> Tensor | None:
    """The first [batch, pos] of whole numbers."""
    for value in values:
        if (
            isinstance(value, Tensor)
            and value.ndim == 2
            and not value.is_floating_point()
            and value.dtype != torch.bool
        ):
            return value
    return None


def loss_in(out: Any) -> Tensor | None:
    """The loss in what a model gave: ``loss`` by name, or the one number in a tuple; None where there is none."""
    named = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    if isinstance(named, Tensor) and named.numel() == 1:
        return named.reshape(())
    parts = out if isinstance(out, tuple) else (out,)
    numbers = [x for x in parts if isinstance(x, Tensor) and x.ndim == 0 and x.is_floating_point()]
    return numbers[0] if len(numbers) == 1 else None


def _separators(tokenizer: Any, vocabulary: int | None) -> Tensor | None:
    """[token] which are separators; None without a tokenizer."""
    if tokenizer is None or not hasattr(tokenizer, "decode") or vocabulary is None:
        return None
    flags = []
    for index in range(vocabulary):
        try:
            flags.append(is_separator(tokenizer.decode([index])))
        except (IndexError, KeyError, OverflowError, TypeError, ValueError):
            # an embedding is often larger than its vocabulary
            flags.append(False)
    return torch.tensor(flags)
