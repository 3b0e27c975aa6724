"""The norms on a model's queries and keys: their effective gain, measured, and what passes into and out of them.

A norm may apply its weight, one plus its weight, or none; what counts is what comes out over what goes in.
"""

import math

import torch
from torch import Tensor, nn

#: What models call the norm on their keys, and on their queries.
KEY_NORMS = ("k_norm", "k_layernorm", "key_layernorm", "key_norm", "norm_k", "k_ln")
QUERY_NORMS = ("q_norm", "q_layernorm", "query_layernorm", "query_norm", "norm_q", "q_ln")
#: How far two measurements of one gain may lie apart.
SAME = 1e-3


def norm_in(attention: nn.Module | None, names: tuple[str, ...]) -> nn.Module | None:
    """The norm of that name in an attention module; None where it has none, or one that does nothing."""
    for name, module in attention.named_children() if attention is not None else ():
        if name in names and not isinstance(module, nn.Identity):
            return module
    return None


@torch.no_grad()
def effective_gain(norm: nn.Module | None, d_head: int) -> Tensor:
    """[d_head] g with norm(x) = g x / rms(x), measured; NaN where there is none, or none that all heads share.

    Two random inputs have to give the same gain: a norm that takes out a mean or adds a bias has none.
    """
    unknown = torch.full((d_head,), math.nan)
    if norm is None:
        return unknown
    weight = next(iter(norm.parameters()), None)
    full = getattr(weight, "full_tensor", None)
    if weight is not None and (weight.is_meta or (full is None and weight.numel() not in (1, d_head))):
        return unknown
    device = weight.device if weight is not None else torch.device("cpu")
    dtype = weight.dtype if weight is not None else torch.float32
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 1, d_head, generator=generator).to(device, dtype)
    try:
        out = norm(x)
    except (RuntimeError, IndexError, TypeError):
        return unknown
    if not isinstance(out, Tensor) or out.shape != x.shape:
        return unknown
    plain = x.float() * x.float().square().mean(-1, keepdim=True).rsqrt()
    one, other = (out.float() / plain)[:, 0, 0].cpu()
    scale = max(1.0, float(one.abs().max()))
    # half precision has three digits
    close = SAME if dtype == torch.float32 else 0.05
    return one if float((one - other).abs().max()) <= close * scale else unknown


def heads_of(x: Tensor, n_heads: int, n_tokens: int) -> Tensor | None:
    """What a norm sees or gives as [batch, head, pos, d_head]; None where its axes cannot be told apart."""
    if x.ndim == 3 and x.shape[1] == n_tokens and x.shape[2] % n_heads == 0:
        return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)
    if x.ndim != 4 or n_heads == n_tokens:
        return None
    if tuple(x.shape[1:3]) == (n_tokens, n_heads):
        return x.transpose(1, 2)
    return x if tuple(x.shape[1:3]) == (n_heads, n_tokens) else None
