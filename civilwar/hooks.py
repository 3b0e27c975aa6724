"""Watch the queries and keys of any model whose attention has modules named ``q_norm`` and ``k_norm``.

The model is not changed: forward hooks hand every layer's normalised queries and keys to a callback, and leave when the
context ends. Layers are counted in the order in which the modules stand in the model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

NORMS = ("q_norm", "k_norm")


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
