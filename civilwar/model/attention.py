"""Causal grouped-query attention: the library's kernel, or matrix products of a block of queries at a time.

On a CPU in bfloat16 the library's kernel reaches an eighth of the rate of a matrix product; products of whole blocks get
the block's logits at full rate. Which is faster, and from how many tokens on, depends on the processor: see
`civilwar.training.choice`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

#: Queries whose logits are made at once: those of one KV head's group then fill a matrix product.
QUERY_BLOCK = 128
#: From here on the kept weights, pos x pos of each head, cost more memory than the blocks are worth in time.
LIBRARY_FROM = 4096


def attend(
    queries: Float[Tensor, "batch query_head pos d_head"],
    keys: Float[Tensor, "batch kv_head pos d_head"],
    values: Float[Tensor, "batch kv_head pos d_head"],
    in_blocks: bool = False,
) -> Float[Tensor, "batch query_head pos d_head"]:
    """softmax_j<=i(q_i . k_j / sqrt(d_head)) v_j, every query head with the keys and values of head // group size.

    ``in_blocks``: to train, bfloat16 texts of fewer than `LIBRARY_FROM` tokens are done by `attend_blocked`. A pass without a
    gradient keeps no weights, and there the library's kernel is faster.
    """
    if in_blocks and torch.is_grad_enabled() and queries.dtype == torch.bfloat16 and queries.shape[-2] < LIBRARY_FROM:
        return attend_blocked(queries, keys, values)
    return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)


def attend_blocked(
    queries: Float[Tensor, "batch query_head pos d_head"],
    keys: Float[Tensor, "batch kv_head pos d_head"],
    values: Float[Tensor, "batch kv_head pos d_head"],
) -> Float[Tensor, "batch query_head pos d_head"]:
    """The same, `QUERY_BLOCK` queries at a time against the keys up to the block's end.

    Logits and weights are rounded to the inputs' precision; gradients of keys and values add up in float32. The weights
    are kept for the backward pass: half of query_head x pos x pos numbers, so give it one text at a time.
    """
    scaled = queries * (1 / math.sqrt(queries.shape[-1]))
    grouped = scaled.unflatten(1, (keys.shape[1], -1))
    # once here, where each block's products would copy them anew
    out, _ = _forward(grouped, keys.contiguous(), values.contiguous())
    return out.flatten(1, 2)


def _blocks(n_tokens: int) -> list[tuple[int, int]]:
    return [(first, min(first + QUERY_BLOCK, n_tokens)) for first in range(0, n_tokens, QUERY_BLOCK)]


def _n_weights(queries: Tensor) -> int:
    batch, kv_heads, group, n_tokens, _ = queries.shape
    return batch * kv_heads * group * sum((end - first) * end for first, end in _blocks(n_tokens))


def _weights_by_block(queries: Tensor, kept: Tensor) -> list[Tensor]:
    """Each block's weights, [batch, kv_head, group * query, key], where they lie one after another in memory."""
    batch, kv_heads, group, n_tokens, _ = queries.shape
    shapes = [(batch, kv_heads, group * (end - first), end) for first, end in _blocks(n_tokens)]
    return [part.view(shape) for part, shape in zip(kept.split([math.prod(s) for s in shapes]), shapes, strict=True)]


# operations of their own, which a compiler takes as they are


@torch.library.custom_op("civilwar::attend_blocked", mutates_args=())
def _forward(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """What each query reads, and the weights. Axes of queries: [batch, kv_head, group, pos, d_head]."""
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    future = torch.full((QUERY_BLOCK, QUERY_BLOCK), -math.inf, dtype=queries.dtype, device=queries.device).triu(1)
    kept = queries.new_empty(_n_weights(queries))
    blocks = zip(_blocks(queries.shape[-2]), _weights_by_block(queries, kept), strict=True)
    for (first, end), weights in blocks:
        block = queries[..., first:end, :]
        logits = block.flatten(2, 3) @ keys[..., :end, :].mT
        # all keys before the block are visible to each of its queries
        logits.unflatten(2, block.shape[2:4])[..., first:] += future[: end - first, : end - first]
        torch.softmax(logits, -1, out=weights)
        out[..., first:end, :] = (weights @ values[..., :end, :]).view_as(block)
    return out, kept


@_forward.register_fake
def _(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    return out, queries.new_empty(_n_weights(queries))


@torch.library.custom_op("civilwar::attend_blocked_backward", mutates_args=())
def _backward(
    d_out: Tensor, queries: Tensor, keys: Tensor, values: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    d_queries = torch.empty_like(queries, memory_format=torch.contiguous_format)
    d_keys, d_values = (torch.zeros_like(x, dtype=torch.float32) for x in (keys, values))
    blocks = zip(_blocks(queries.shape[-2]), _weights_by_block(queries, kept), strict=True)
    for (first, end), weights in blocks:
        d_block = d_out[..., first:end, :].flatten(2, 3)
        d_weights = d_block @ values[..., :end, :].mT
        # A_ij (dA_ij - sum_k A_ik dA_ik), in one pass over memory
        d_logits = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        d_queries[..., first:end, :] = (d_logits @ keys[..., :end, :]).view_as(d_queries[..., first:end, :])
        d_keys[..., :end, :] += d_logits.mT @ queries[..., first:end, :].flatten(2, 3)
        d_values[..., :end, :] += weights.mT @ d_block
    return d_queries, d_keys.to(keys.dtype), d_values.to(values.dtype)


@_backward.register_fake
def _(d_out: Tensor, queries: Tensor, keys: Tensor, values: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    contiguous = torch.contiguous_format
    return tuple(torch.empty_like(x, memory_format=contiguous) for x in (queries, keys, values))  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    # no gradient of the weights is made up where none came
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, output[1])


def _gradients(ctx: Any, d_out: Tensor, d_kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return _backward(d_out, *ctx.saved_tensors)


_forward.register_autograd(_gradients, setup_context=_keep)
