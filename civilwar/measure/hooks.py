"""Watch or replace what passes through a model's attention: normalised queries and keys before RoPE, and heads' outputs.

The model is not changed: forward hooks hand every layer's normalised queries and keys to a callback, or put something
else in their place, and leave when the context ends; so do outputs of heads of models that `civilwar.hear` hears. Layers
are counted in the order in which the modules stand in the model. Compiled models run uncompiled meanwhile, since a graph
that was made before knows of no hook.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from civilwar.hear.doors import hear
from civilwar.hear.gains import heads_first
from civilwar.hear.heard import Heard
from civilwar.hear.hearing import Unheard, recomputing
from civilwar.hear.names import unwrapped
from civilwar.model.decoder import Decoder

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
    model = unwrapped(model)
    if not owners["q_norm"] or set(owners["q_norm"]) != set(owners["k_norm"]):
        raise ValueError(
            f"{type(model).__name__} has {len(owners['q_norm'])} modules named q_norm and {len(owners['k_norm'])} "
            "named k_norm. Expected one of each in every layer, applied to [batch, pos, head, d_head] as in Qwen3 and "
            "this package's Decoder; give a model without such norms identities there."
        )
    pairs = [(named[owner + "q_norm"], named[owner + "k_norm"]) for owner in owners["q_norm"]]
    # a layer that the model names twice is one layer
    return list(dict.fromkeys(pairs))


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Compiled models run as they were written. Where no compiler is loaded, which takes seconds, there is none."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def watch_queries_keys(model: nn.Module, callback: Callable[[QueriesKeys], None]) -> Iterator[None]:
    """Call ``callback`` once per layer in each forward pass, as soon as the layer's keys are there.

    The callback runs under ``no_grad`` and outside autocast, so that a measurement is made in float32 whatever the
    model's precision. What activation checkpointing computes a second time is not called for again.
    """
    handles = []
    try:
        for layer, (q_norm, k_norm) in enumerate(norm_modules(model)):
            handles += _hook_layer(layer, q_norm, k_norm, callback)
        with _uncompiled():
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
        if recomputing():
            return
        seen["queries"] = output.detach().float()
        hand_over()

    def on_keys(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if recomputing():
            return
        seen["keys"] = output.detach().float()
        seen["keys_before_norm"] = args[0].detach().float()
        hand_over()

    return [q_norm.register_forward_hook(on_queries), k_norm.register_forward_hook(on_keys)]


@contextmanager
def edit_keys(model: nn.Module, edit: Edit) -> Iterator[None]:
    """Replace every layer's keys, [batch, pos, kv_head, d_head], after their norm and before RoPE.

    Raises Unheard, a ValueError, where a model's norms see heads before positions, and where no key passed at all.
    """
    pairs = norm_modules(model)
    edited: dict[int, Tensor] = {}

    def edit_and_keep(layer: int, keys: Tensor) -> Tensor:
        edited[layer] = edit(layer, keys).to(keys.dtype)
        return edited[layer]

    def look(heard: Heard) -> None:
        after = edited.get(heard.layer)
        if after is not None and heads_first(after, heard.key):
            raise Unheard(
                f"{heard.name}: its k_norm sees [batch, kv_head, pos, d_head], heads before positions, so this edit would take "
                "one for the other; edit the keys of a model whose norms see [batch, pos, kv_head, d_head], as Qwen3's do."
            )

    with ExitStack() as stack:
        if not isinstance(unwrapped(model), Decoder):
            stack.enter_context(hear(model, look, evaluation=True, unheard="ignore"))
        stack.enter_context(_editing([k_norm for _, k_norm in pairs], edit_and_keep))
        yield


@contextmanager
def edit_head_outputs(model: nn.Module, edit: Edit) -> Iterator[None]:
    """Replace what every query head adds, [batch, pos, query_head, d_head], before the output projection.

    At modules named ``head_outputs`` where the model has them, else where `civilwar.hear` hears its attention; a gate that
    the model puts on heads afterwards acts on what was put in. Raises Unheard, a ValueError, where no output passed at all.
    """
    modules = [module for name, module in model.named_modules() if name.split(".")[-1] == HEAD_OUTPUTS]
    if modules:
        with _editing(modules, edit):
            yield
        return
    called: list[int] = []

    def edit_one(layer: int, output: Tensor) -> Tensor:
        called.append(layer)
        return edit(layer, output).to(output.dtype)

    with hear(model, lambda heard: None, evaluation=True, edit=edit_one), _uncompiled():
        yield
    _check_edited(model, called)


@contextmanager
def _editing(modules: list[nn.Module], edit: Edit) -> Iterator[None]:
    called: list[int] = []

    def hook_of(layer: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            called.append(layer)
            # the dtype is the model's business: an edit computed in float32 leaves it alone
            return edit(layer, output).to(output.dtype)

        return hook

    handles = [module.register_forward_hook(hook_of(layer)) for layer, module in enumerate(modules)]
    try:
        with _uncompiled():
            yield
    finally:
        for handle in handles:
            handle.remove()
    _check_edited(modules[0], called)


def _check_edited(model: nn.Module, called: list[int]) -> None:
    """A pass that no edit reached would make every head look useless."""
    if not called:
        raise Unheard(
            f"{type(model).__name__}: nothing passed while it was to be edited, so an effect of 0 would mean nothing; call "
            "the model itself inside the context."
        )
