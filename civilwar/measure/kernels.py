"""How long texts are measured fast: the same numbers as `civilwar.measure.metrics` defines, a block of queries at a time.

Attention is never held whole: a block's rows, of all heads, fit a cache, and each query's rows lie beside each other in
memory, one for each head. Tests hold every kernel equal to the metric it stands for.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from civilwar.measure import metrics
from civilwar.measure.metrics import Rows

#: Queries measured at once.
QUERY_BLOCK = 128
#: The logit of a key in a query's future: its weight is exactly 0, and still a number once rescaled.
MASKED_LOGIT = -1e20


def attention_of_queries(
    queries: Float[Tensor, "query_head n_tokens d_head"],
    keys: Float[Tensor, "kv_head n_tokens d_head"],
    separator: Bool[Tensor, "n_tokens"],
    n_first_keys: int,
    by_convolution: bool = False,
) -> dict[str, Tensor]:
    """What each query's attention comes to, by name: those of `metrics.OF_ATTENTION`, and three more.

    Args:
        queries: after RoPE.
        keys: after RoPE.
        separator: which tokens are separators.
        n_first_keys: how many of the first keys to keep the weights of.
        by_convolution: make the logits so, as `logits_by_query` says.

    Returns [query_head, query] of every name in `metrics.OF_ATTENTION`; ``entropy_rescaled``, normalised entropy with every
    key turned to its layer's mean length; and ``key1``, ``key2``, ...: the weight of the text's first keys.
    """
    group_size = len(queries) // len(keys)
    norm = metrics.vector_norm(keys)
    keys_of_query_heads = keys.repeat_interleave(group_size, 0)
    # every key turned to the layer's mean length: what the directions alone would make of attention
    to_mean_norm = (norm.mean() / norm).repeat_interleave(group_size, 0)
    blocks: list[dict[str, Tensor]] = []
    n_tokens = keys.shape[-2]
    for first in range(0, n_tokens, QUERY_BLOCK):
        last = min(first + QUERY_BLOCK, n_tokens)
        logits = logits_by_query(queries[:, first:last], keys_of_query_heads[:, :last], by_convolution)
        blocks.append(measure_block(logits, to_mean_norm[:, :last], first, separator[:last], n_first_keys))
    return {name: torch.cat([block[name] for block in blocks], dim=-1) for name in blocks[0]}


def measure_block(
    logits: Float[Tensor, "query_head query key"],
    to_mean_norm: Float[Tensor, "query_head key"],
    first_query: int,
    separator: Bool[Tensor, "key"],
    n_first_keys: int,
) -> dict[str, Tensor]:
    """What `attention_of_queries` returns, of one block of queries and the keys up to the block's end.

    ``to_mean_norm``: what each key's length must be multiplied with. Overwrites ``logits``.
    """
    n_queries, n_keys = logits.shape[-2:]
    # only keys of the block itself may lie in a query's future
    future = ~metrics.causal_mask(0, n_queries, n_queries, logits.device)
    # their weights come out as exactly 0, and 0 times this is 0, as it would not be with infinity
    logits[..., first_query:].masked_fill_(future, MASKED_LOGIT)
    top = logits.amax(-1)
    weights = softmax_by_query(logits)
    largest = metrics.largest_weight(weights)
    measured = {
        "max_weight": largest,
        "top_logit_spread": top,
        # weights in the order of memory: any other would be a copy
        "separator_mass": metrics.attention_mass(weights.transpose(0, 1), separator).T,
    }
    rows = Rows(weights, logits, separator, first_query)
    slow = [name for name in metrics.OF_ATTENTION if name not in {*measured, "entropy", "entropy_normalised"}]
    measured |= {name: metrics.OF_ATTENTION[name].of_queries(rows) for name in slow}
    # a key after the whole block is not looked at yet
    first_keys = F.pad(weights[..., :n_first_keys], (0, max(0, n_first_keys - n_keys)))
    measured |= {f"key{k}": first_keys[..., k - 1] for k in range(1, n_first_keys + 1)}
    # last, since from here on weights and logits are overwritten
    measured["entropy"] = entropy_overwriting(weights, logits, largest, top)
    rescaled = logits.mul_(to_mean_norm[:, None])
    weights = softmax_by_query(rescaled)
    entropy_rescaled = entropy_overwriting(weights, rescaled, weights.amax(-1), rescaled.amax(-1))
    for name, entropy in (("entropy_normalised", measured["entropy"]), ("entropy_rescaled", entropy_rescaled)):
        measured[name] = metrics.normalise_entropy(entropy, first_query)
    return measured


def logits_by_query(
    queries: Float[Tensor, "query_head query d_head"],
    keys: Float[Tensor, "query_head key d_head"],
    by_convolution: bool = False,
) -> Float[Tensor, "query_head query key"]:
    """`metrics.attention_logits`, of keys repeated for the query heads that read them, in memory query by query.

    ``by_convolution``: with a kernel of one pixel and a group for each head it is the same product, and oneDNN makes it: in
    float32 nearly twice as fast as what `@` calls, on a CPU that is not of that library's maker.
    """
    n_heads, n_queries, d_head = queries.shape
    scaled = queries / math.sqrt(d_head)
    if by_convolution:
        pixels = scaled.transpose(0, 1).reshape(1, n_queries, 1, n_heads * d_head).permute(0, 3, 1, 2)
        flat = F.conv2d(pixels, keys.reshape(-1, d_head, 1, 1), groups=n_heads)
        return flat[0, :, :, 0].T.unflatten(-1, (n_heads, -1)).transpose(0, 1)
    logits = scaled.new_empty(n_queries, n_heads, keys.shape[1]).transpose(0, 1)
    return torch.bmm(scaled, keys.mT, out=logits)


def softmax_by_query(logits: Float[Tensor, "query_head query key"]) -> Float[Tensor, "query_head query key"]:
    """Softmax over keys, in the order of memory that `logits_by_query` leaves: any other would be a copy."""
    return logits.transpose(0, 1).softmax(-1).transpose(0, 1)


def entropy_overwriting(
    weights: Float[Tensor, "query_head query key"],
    logits: Float[Tensor, "query_head query key"],
    largest: Float[Tensor, "query_head query"],
    top: Float[Tensor, "query_head query"],
) -> Float[Tensor, "query_head query"]:
    """-ln max_j A_j - sum_j A_j (l_j - max_k l_k): `metrics.attention_entropy` without a logarithm for every key.

    ``largest`` and ``top`` are the two maxima. Both terms are at least 0 but for rounding. Overwrites ``weights``.
    """
    return (top - weights.mul_(logits).sum(-1) - largest.log()).clamp_min(0)
