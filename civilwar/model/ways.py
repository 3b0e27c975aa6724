"""The ways in which a model can be computed: the same numbers but for rounding, at different speed.

What is compiled is the code that otherwise runs as it is written: `compiled` turns a function of tensors into one that does
what lies between the matrix products in a few passes over memory. A run keeps to the ways it was begun in, so that a
resumed one makes the same bits.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import nn

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Ways:
    """How a run is computed; these as plain JSON stand in its manifest and its checkpoints."""

    compiled: bool = False
    """Blocks of the decoder and the softmax of the loss are compiled."""
    attention_in_blocks: bool = False
    """Training attends by matrix products of a block of queries, rather than by the library's kernel."""
    probe_by_convolution: bool = False
    """Snapshots make attention logits by a convolution, rather than by a batched matrix product."""


@functools.cache
def compiled(function: Function) -> Function:
    """``function``, compiled when it is first called with tensors of a shape. Raises where there is no C++ compiler."""
    return cast(Function, torch.compile(function, dynamic=False, fullgraph=True))


def may_be_compiled(model: nn.Module) -> bool:
    """Whether a pass through ``model`` trains it and nobody listens.

    Compiled code would not call hooks that were put there since; and it is made for passes with a gradient.
    """
    listened = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return torch.is_grad_enabled() and not listened
