"""`hear`: every attention call of a model to a listener, through whichever door the model's attention goes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from civilwar.hear import compiled, mha_door, sdpa_door, transformers_door
from civilwar.hear.hearing import OPEN, Edit, Hearing, Listener, recomputing


@contextmanager
def hear(
    model: nn.Module,
    listener: Listener,
    *,
    unheard: Literal["refuse", "ignore"] = "refuse",
    evaluation: bool = False,
    edit: Edit | None = None,
) -> Iterator[Hearing]:
    """Hand every attention call of ``model`` to ``listener`` while the context is open; then leave no trace.

    The listener runs under ``no_grad`` and outside autocast. What activation checkpointing computes a second time is not
    heard twice.

    Args:
        model: any, in its wrappers or not.
        listener: called once a call, in the model's order, with a `civilwar.hear.heard.Heard`.
        unheard: ``refuse`` raises `civilwar.hear.hearing.Unheard` after a forward pass of which nothing was heard.
        evaluation: hear forward passes without gradients too.
        edit: what shall go on in the place of a layer's outputs, [batch, pos, query_head, d_value], by the layer's number;
            not in compiled graphs, and not in `torch.nn.MultiheadAttention`.

    Raises Unheard after a forward pass of which nothing was heard.
    """
    hearing = Hearing(model, listener, evaluation=evaluation, refuse=unheard == "refuse", edit=edit)

    def begins(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        padding = kwargs.get("attention_mask")
        padding = padding if isinstance(padding, Tensor) and padding.ndim == 2 else None
        counted = evaluation or torch.is_grad_enabled()
        if torch.compiler.is_compiling():
            compiled.begin(compiled.CLOCK, hearing.number, counted, padding)
        elif not recomputing():
            hearing.begin(counted, padding)

    def ends(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_compiling():
            compiled.end(compiled.CLOCK, hearing.number)
        elif not recomputing():
            hearing.end()

    with ExitStack() as stack:
        OPEN[hearing.number] = hearing
        stack.callback(OPEN.pop, hearing.number)
        stack.enter_context(transformers_door.opened(hearing.root))
        stack.enter_context(sdpa_door.opened(hearing.root))
        stack.enter_context(mha_door.opened(hearing.number))
        # last, so that a module that attends and is the whole model has been heard when its pass ends
        for handle in (
            hearing.root.register_forward_pre_hook(begins, with_kwargs=True),
            hearing.root.register_forward_hook(ends),
        ):
            stack.callback(handle.remove)
        yield hearing
