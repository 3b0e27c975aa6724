"""`torch.nn.MultiheadAttention`, whose attention may be one fused call: its own projections, made once more from its inputs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from civilwar.hear.call import Allowed, Call
from civilwar.hear.hearing import OPEN, Unheard
from civilwar.hear.telling import INSIDE, tell

#: What follows the module in a call.
GIVEN = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")


@contextmanager
def opened(number: int) -> Iterator[None]:
    """Listen at every such module of an open hearing's model.

    With hooks on it, torch's encoder layers take the way through their modules in evaluation too.
    """
    hearing = OPEN[number]
    with ExitStack() as stack:
        for module in hearing.modules.values():
            if isinstance(module, nn.MultiheadAttention):
                for handle in _hooks(number, hearing.names[id(module)], module):
                    stack.callback(handle.remove)
        yield


def _hooks(number: int, place: str, module: nn.MultiheadAttention) -> list[Any]:
    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        INSIDE.n += 1

    def left(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        INSIDE.n -= 1

    def after(module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = {**kwargs, **dict(zip(GIVEN, args, strict=False))}
        with torch.no_grad():
            tell(number, place, _call(place, module, given))

    return [
        module.register_forward_pre_hook(before),
        module.register_forward_hook(left, always_call=True),
        module.register_forward_hook(after, with_kwargs=True),
    ]


def _call(place: str, module: nn.MultiheadAttention, given: dict[str, Any]) -> Call:
    if module.bias_k is not None or module.add_zero_attn:
        raise Unheard(
            f"{place}: keys of its own (add_bias_kv, add_zero_attn) are not heard; make the module without them, or hear the "
            "model with unheard='ignore'."
        )
    weight = module.in_proj_weight
    weights = (
        weight.chunk(3) if weight is not None else (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    )
    biases = module.in_proj_bias.chunk(3) if module.in_proj_bias is not None else (None,) * 3
    inputs = [given["query"], given["key"], given["value"]]
    if inputs[0].ndim == 2:
        inputs = [x[None] for x in inputs]
    elif not module.batch_first:
        inputs = [x.transpose(0, 1) for x in inputs]
    query, key, value = (
        F.linear(x.detach(), w, b).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
        for x, w, b in zip(inputs, weights, biases, strict=True)
    )
    return Call(query, key, value, None, module.head_dim**-0.5, Allowed(mask=_mask(given, query), real=_real(given)))


def _mask(given: dict[str, Any], query: Tensor) -> Tensor | None:
    """What this module is given says where a query may NOT look, or what is added."""
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if mask is not None and mask.ndim == 3:
        mask = mask.view(query.shape[0], -1, *mask.shape[1:])
    masks = [x for x in (mask, None if padding is None else padding.reshape(len(query), 1, 1, -1)) if x is not None]
    if not masks:
        return None
    if all(x.dtype == torch.bool for x in masks):
        hidden = masks[0]
        for x in masks[1:]:
            hidden = hidden | x
        return ~hidden
    total = torch.zeros((), device=query.device)
    for x in masks:
        total = total + (
            torch.zeros(x.shape, device=x.device).masked_fill(x, -torch.inf) if x.dtype == torch.bool else x
        )
    return total


def _real(given: dict[str, Any]) -> Tensor | None:
    padding = given.get("key_padding_mask")
    if padding is None:
        return None
    padding = padding.reshape(-1, padding.shape[-1])
    return ~padding if padding.dtype == torch.bool else padding > -1e4
