"""The third door, for attention that nothing can hear: the model's own code hands its queries and keys over."""

import torch
from torch import Tensor

from civilwar.hear.call import Allowed, Call
from civilwar.hear.hearing import OPEN
from civilwar.hear.telling import tell


def observe(
    query: Tensor,
    key: Tensor,
    *,
    layer: int,
    scaling: float | None = None,
    causal: bool = True,
    window: int | None = None,
    mask: Tensor | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    bias: Tensor | None = None,
    value: Tensor | None = None,
    output: Tensor | None = None,
) -> None:
    """Tell whoever listens to the running model of one attention call; nothing happens where nobody does.

    Args:
        query: [batch, query_head, query, d_head], as multiplied with the keys.
        key: [batch, kv_head, key, d_head], each KV head once.
        layer: its number in the model.
        scaling: of q . k; by default 1 / sqrt(d_head).
        causal: whether a query sees only keys up to its own position, the last query the last key.
        window: how many keys back a query sees, where there is a limit.
        mask: true where a query may look, or what is added to the logits; broadcasts to [batch, query_head, query, key].
        softcap: c of c tanh(logit / c).
        sinks: [query_head], learned logits that take weight and give nothing.
        bias: added to the logits by position.
        value: [batch, kv_head, key, d_value] and
        output: [batch, query_head, query, d_value], from which the call can be checked.

    Raises ValueError for shapes that do not fit.
    """
    if query.ndim != 4 or key.ndim != 4 or query.shape[-1] != key.shape[-1] or query.shape[1] % key.shape[1]:
        raise ValueError(
            f"observe: query {list(query.shape)} and key {list(key.shape)}; expected [batch, query_head, query, d_head] and "
            "[batch, kv_head, key, d_head] with query heads a multiple of KV heads: transpose them before you hand them over."
        )
    width = query.shape[-1] ** -0.5 if scaling is None else scaling
    allowed = Allowed(causal, window, mask, key.shape[2] - query.shape[2])
    call = Call(query, key, value, output, width, allowed, softcap, sinks, bias)
    for number in list(OPEN):
        # a model that is not running now is another one
        if torch.compiler.is_compiling() or ((hearing := OPEN.get(number)) is not None and hearing.inside):
            tell(number, f"observed.{layer}", call)
