"""Causal grouped-query attention: the library's kernel, or on a CPU and for long texts matrix products a block at a time.

On a CPU in bfloat16 the library's kernel reaches an eighth of the rate of a matrix product; products of whole blocks get
the block's logits at full rate, and are more than twice as fast.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Queries whose logits are made at once: those of one KV head's group then fill a matrix product.
QUERY_BLOCK = 256
#: Below this many tokens the library's kernel is used everywhere.
BLOCKED_FROM = 1024


def attend(
    queries: Float[Tensor, "batch query_head pos d_head"],
    keys: Float[Tensor, "batch kv_head pos d_head"],
    values: Float[Tensor, "batch kv_head pos d_head"],
) -> Float[Tensor, "batch query_head pos d_head"]:
    """softmax_j<=i(q_i . k_j / sqrt(d_head)) v_j, every query head with the keys and values of head // group size."""
    if queries.device.type == "cpu" and queries.dtype == torch.bfloat16 and queries.shape[-2] >= BLOCKED_FROM:
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
    out: Tensor = _Blocked.apply(grouped, keys, values)
    return out.flatten(1, 2)


def _blocks(n_tokens: int) -> list[tuple[int, int]]:
    return [(first, min(first + QUERY_BLOCK, n_tokens)) for first in range(0, n_tokens, QUERY_BLOCK)]


class _Blocked(torch.autograd.Function):
    """Axes: queries [batch, kv_head, group, pos, d_head]; a block's weights [batch, kv_head, group * query, key]."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        # once here, where each block's products would copy them anew
        keys, values = keys.contiguous(), values.contiguous()
        out = torch.empty_like(queries, memory_format=torch.contiguous_format)
        future = torch.full((QUERY_BLOCK, QUERY_BLOCK), -math.inf, dtype=queries.dtype, device=queries.device).triu(1)
        kept = []
        for first, end in _blocks(queries.shape[-2]):
            block = queries[..., first:end, :]
            logits = block.flatten(2, 3) @ keys[..., :end, :].mT
            # all keys before the block are visible to each of its queries
            logits.unflatten(2, block.shape[2:4])[..., first:] += future[: end - first, : end - first]
            weights = logits.softmax(-1)
            out[..., first:end, :] = (weights @ values[..., :end, :]).view_as(block)
            if any(ctx.needs_input_grad):
                kept.append(weights)
        ctx.save_for_backward(queries, keys, values, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, values, *kept = ctx.saved_tensors
        d_queries = torch.empty_like(queries)
        d_keys, d_values = (torch.zeros_like(x, dtype=torch.float32) for x in (keys, values))
        for (first, end), weights in zip(_blocks(queries.shape[-2]), kept, strict=True):
            d_block = d_out[..., first:end, :].flatten(2, 3)
            d_weights = d_block @ values[..., :end, :].mT
            # A_ij (dA_ij - sum_k A_ik dA_ik), in one pass over memory
            d_logits = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            d_queries[..., first:end, :] = (d_logits @ keys[..., :end, :]).view_as(d_queries[..., first:end, :])
            d_keys[..., :end, :] += d_logits.mT @ queries[..., first:end, :].flatten(2, 3)
            d_values[..., :end, :] += weights.mT @ d_block
        return d_queries, d_keys.to(keys.dtype), d_values.to(values.dtype)
