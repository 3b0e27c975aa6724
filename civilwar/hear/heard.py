"""One attention call as a model made it, and the logits and weights that follow from it, a block of queries at a time."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from civilwar.hear.call import Allowed

__all__ = ["Allowed", "Heard"]


@dataclass(frozen=True)
class Heard:
    """One attention call of one layer, outside autograd.

    Weights are softmax_j(s_ij) of every key that query i may see, where s = softcap(scaling q . k) + bias + additive mask,
    and softcap(x) = softcap tanh(x / softcap). A learned sink is one more logit for every query, which takes weight and
    gives nothing.
    """

    layer: int
    """Place of the layer in the model."""
    name: str
    """Qualified name of the module that attends, or ``sdpa 3`` where no module is known; unique within a forward pass."""
    query: Float[Tensor, "batch query_head query d_head"]
    """As used: after norm and RoPE."""
    key: Float[Tensor, "batch kv_head key d_head"]
    """As used: after norm and RoPE, each once: query head h reads KV head h // (query heads / KV heads)."""
    scaling: float
    """What q . k is multiplied with."""
    allowed: Allowed = field(default_factory=Allowed)
    softcap: float | None = None
    sinks: Float[Tensor, "query_head"] | None = None
    """Each query head's learned sink logit."""
    bias: Tensor | None = None
    """What the model adds to the logits by position; broadcasts to [batch, query_head, query, key]."""
    output: Float[Tensor, "batch query_head query d_value"] | None = None
    """What the call returned, heads before positions; None where that is not known."""
    value: Float[Tensor, "batch kv_head key d_value"] | None = None
    """What the weights were taken of; None where that is not known."""
    forward: int = 0
    """Which forward pass of the hearing, from 0."""

    @property
    def n_query_heads(self) -> int:
        """Query heads of this layer."""
        return self.query.shape[1]

    @property
    def n_kv_heads(self) -> int:
        """KV heads of this layer."""
        return self.key.shape[1]

    def dots(self, text: slice, queries: slice) -> Float[Tensor, "batch query_head query key"]:
        """scaling q . k of a block: texts and queries by their slices, all heads and keys, in float32 or wider."""
        query, key = self.query[text, :, queries], self.key[text]
        if query.dtype != torch.float64:
            query, key = query.float(), key.float()
        n_queries = query.shape[-2]
        # a group's queries are rows of one matrix product
        grouped = (query * self.scaling).unflatten(1, (key.shape[1], -1)).flatten(2, 3)
        return (grouped @ key.mT).unflatten(2, (-1, n_queries)).flatten(1, 2)

    def scores(
        self, dots: Float[Tensor, "batch query_head query key"], text: slice, queries: slice
    ) -> tuple[Float[Tensor, "batch query_head query key"], Bool[Tensor, "batch query_head query key"]]:
        """(what the softmax is taken of, -inf where a query may not look; where it may) of a block's `dots`."""
        scores = dots
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        if self.bias is not None:
            bias = self.bias[(None,) * (4 - self.bias.ndim)]
            bias = bias[text] if bias.shape[0] > 1 else bias
            bias = bias[:, :, queries] if bias.shape[2] > 1 else bias
            scores = scores + bias[..., : scores.shape[-1]].to(scores.dtype)
        seen, added = self.allowed.block(text, queries, scores.shape[-1], scores.device)
        if added is not None:
            scores = scores + added
        if seen is None:
            return scores, torch.ones((), dtype=torch.bool, device=scores.device).expand(scores.shape)
        return scores.masked_fill(~seen, -torch.inf), seen.expand(scores.shape)

    def weights_of(
        self, scores: Float[Tensor, "batch query_head query key"]
    ) -> Float[Tensor, "batch query_head query key"]:
        """Softmax of `scores` over keys and the learned sink; 0 for a query that may see nothing."""
        return torch.exp(scores - self.level(scores)[..., None]).where(scores != -torch.inf, 0.0)

    def level(self, scores: Float[Tensor, "batch query_head query key"]) -> Float[Tensor, "batch query_head query"]:
        """ln sum_j exp(s_ij) of `scores`, the learned sink among them; -inf for a query that may see nothing."""
        level = scores.logsumexp(-1)
        return level if self.sinks is None else torch.logaddexp(level, self.sinks.to(level.dtype)[:, None])

    def weights(self) -> Float[Tensor, "batch query_head query key"]:
        """All attention weights at once: only for short texts."""
        text, queries = slice(0, self.query.shape[0]), slice(0, self.query.shape[2])
        scores, _ = self.scores(self.dots(text, queries), text, queries)
        return self.weights_of(scores)
