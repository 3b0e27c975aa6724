"""Watch or replace what passes through any model whose attention has modules named ``q_norm`` and ``k_norm``.

The model is not changed: forward hooks hand every layer's normalised queries and keys to a callback, or put something
else in their place, and leave when the context ends. Layers are counted in the order in which the modules stand in the
model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

NORMS = ("q_norm", "k_norm")
#: Where a model lets each query head's output, [batch, pos, query_head, d_head], pass on its way to the residual stream.
HEAD_OUTPUTS = "head_outputs"

#: Takes a layer's number and what passes there, and returns what shall go on in its place. May return it unchanged.
Edit = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class QueriesKeys:
    """One layer's queries and keys in one forward pass, before RoPE, in float32 and outside autograd."""

    layer: int
    queries: Float[Tensor, "batch pos query_head d_head"]
    keys: Float[Tensor, "batch pos kv_head d_head"]
    keys_before_norm: Float[Tensor, "batch pos kv_head d_head"]


def norm_modules(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """(q_norm, k_norm) of every layer, in the model's order.

    Raises ValueError when the model has none, or when one of a pair lacks the other.
    """
    named = dict(model.named_modules(remove_duplicate=False))
    owners = {which: [n.removesuffix(which) for n in named if n.split(".")[-1] == which] for which in NORMS}
    if not owners["q_norm"] or set(owners["q_norm"]) != set(owners["k_norm"]):
        raise ValueError(
            f"{type(model).__name__} has {len(owners['q_norm'])} modules named q_norm and {len(owners['k_norm'])} "
            "named k_norm. Expected one of each in every layer, applied to [batch, pos, head, d_head] as in Qwen3 and "
            "this package's Decoder; give a model without such norms identities there."
        )
    return [(named[owner + "q_norm"], named[owner + "k_norm"]) for owner in owners["q_norm"]]


@contextmanager
def watch_queries_keys(model: nn.Module, callback: Callable[[QueriesKeys], None]) -> Iterator[None]:
    """Call ``callback`` once per layer in each forward pass, as soon as the layer's keys are there.

    The callback runs under ``no_grad`` and outside autocast, so that a measurement is made in float32 whatever the
    model's precision.
    """
    handles = []
    try:
        for layer, (q_norm, k_norm) in enumerate(norm_modules(model)):
            handles += _hook_layer(layer, q_norm, k_norm, callback)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook_layer(
    layer: int, q_norm: nn.Module, k_norm: nn.Module, callback: Callable[[QueriesKeys], None]
) -> list[torch.utils.hooks.RemovableHandle]:
    seen: dict[str, Tensor] = {}

    def hand_over() -> None:
        # whichever of the two norms the model calls last completes the layer
        if len(seen) < 3:
            return
        event = QueriesKeys(layer, **seen)
        seen.clear()
        with torch.no_grad(), torch.autocast(event.keys.device.type, enabled=False):
            callback(event)

    def on_queries(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen["queries"] = output.detach().float()
        hand_over()

    def on_keys(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen["keys"] = output.detach().float()
        seen["keys_before_norm"] = args[0].detach().float()
        hand_over()

    return [q_norm.register_forward_hook(on_queries), k_norm.register_forward_hook(on_keys)]


@contextmanager
def edit_keys(model: nn.Module, edit: Edit) -> Iterator[None]:
    """Replace every layer's keys, [batch, pos, kv_head, d_head], after their norm and before RoPE."""
    with _editing([k_norm for _, k_norm in norm_modules(model)], edit):
        yield


@contextmanager
def edit_head_outputs(model: nn.Module, edit: Edit) -> Iterator[None]:
    """Replace what every query head adds, [batch, pos, query_head, d_head], before the output projection.

    Raises ValueError for a model without modules named ``head_outputs``.
    """
    modules = [module for name, module in model.named_modules() if name.split(".")[-1] == HEAD_OUTPUTS]
    if not modules:
        raise ValueError(
            f"{type(model).__name__} has no modules named {HEAD_OUTPUTS}: expected one in every layer, such as an "
            "nn.Identity that [batch, pos, query_head, d_head] passes through before the output projection."
        )
    with _editing(modules, edit):
        yield


@contextmanager
def _editing(modules: list[nn.Module], edit: Edit) -> Iterator[None]:
    def hook_of(layer: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        # the dtype is the model's business: an edit computed in float32 leaves it alone
        return lambda module, args, output: edit(layer, output).to(output.dtype)

    handles = [module.register_forward_hook(hook_of(layer)) for layer, module in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
