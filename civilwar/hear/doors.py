"""`hear`: every attention call of a model to a listener, through whichever door the model's attention goes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from civilwar.hear import compiled, mha_door, sdpa_door, transformers_door
from civilwar.hear.hearing import OPEN, Hearing, Listener


@contextmanager
def hear(
    model: nn.Module,
    listener: Listener,
    *,
    unheard: Literal["refuse", "ignore"] = "refuse",
    evaluation: bool = False,
) -> Iterator[Hearing]:
    """Hand every attention call of ``model`` to ``listener`` while the context is open; then leave no trace.

    The listener runs under ``no_grad`` and outside autocast. What activation checkpointing computes a second time is not
    heard twice.

    Args:
        model: any, in its wrappers or not.
        listener: called once a call, in the model's order, with a `civilwar.hear.heard.Heard`.
        unheard: ``refuse`` raises `civilwar.hear.hearing.Unheard` after a forward pass of which nothing was heard.
        evaluation: hear forward passes without gradients too.

    Raises Unheard after a forward pass of which nothing was heard.
    """
    hearing = Hearing(model, listener, evaluation=evaluation, refuse=unheard == "refuse")

    def begins(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        padding = kwargs.get("attention_mask")
        padding = padding if isinstance(padding, Tensor) and padding.ndim == 2 else None
        counted = evaluation or torch.is_grad_enabled()
        if torch.compiler.is_compiling():
            compiled.begin(compiled.CLOCK, hearing.number, counted, padding)
        elif torch._C._current_graph_task_id() == -1:
            hearing.begin(counted, padding)

    def ends(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_compiling():
            compiled.end(compiled.CLOCK, hearing.number)
        elif torch._C._current_graph_task_id() == -1:
            hearing.end()

    with ExitStack() as stack:
        OPEN[hearing.number] = hearing
        stack.callback(OPEN.pop, hearing.number)
        for handle in (
            hearing.root.register_forward_pre_hook(begins, with_kwargs=True),
            hearing.root.register_forward_hook(ends),
        ):
            stack.callback(handle.remove)
        stack.enter_context(transformers_door.opened(hearing.root))
        stack.enter_context(sdpa_door.opened(hearing.root))
        stack.enter_context(mha_door.opened(hearing.number))
        yield hearing
