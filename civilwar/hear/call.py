"""One attention call as a door hears it: plain records, which torch.compile can make as it looks into a model."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

#: What is added to the logit of a key that must not be seen: models use -10,000, a type's least number, or minus infinity.
HIDDEN = -1e4


@dataclass(frozen=True)
class Allowed:
    """Which keys a query may see. Without any of these every query sees every key."""

    causal: bool = False
    """Query i sees keys 0 to i."""
    window: int | None = None
    """Query i sees the last ``window`` keys up to its own, and as many after it where attention is not causal."""
    mask: Tensor | None = None
    """What broadcasts to [batch, query_head, query, key]: true where a query may look, or what is added to the logits."""
    offset: int = 0
    """Position of the first query among the keys, where ``causal`` or ``window`` counts: keys of a cache come before it."""
    real: Bool[Tensor, "batch key"] | None = None
    """Which keys are of a text, where the model was given a 2-D ``attention_mask``; padding is not."""

    def block(
        self, text: slice, queries: slice, n_keys: int, device: torch.device
    ) -> tuple[Bool[Tensor, "..."] | None, Tensor | None]:
        """(true where a query may look, what is added to the logits) of a block, as they broadcast to it; None for nothing."""
        seen: Tensor | None = None
        added: Tensor | None = None
        if self.mask is not None:
            mask = self.mask[(None,) * (4 - self.mask.ndim)]
            mask = mask[text] if mask.shape[0] > 1 else mask
            mask = mask[:, :, queries] if mask.shape[2] > 1 else mask
            mask = mask[..., :n_keys]
            if mask.dtype == torch.bool:
                seen = mask
            else:
                added = mask.float()
                seen = added > HIDDEN
        if self.causal or self.window is not None:
            query = torch.arange(queries.start, queries.stop, device=device)[:, None] + self.offset
            key = torch.arange(n_keys, device=device)
            near = key <= query if self.causal else torch.ones_like(key <= query)
            if self.window is not None:
                near &= (key > query - self.window) & (key < query + self.window)
            seen = near[None, None] if seen is None else seen & near
        return seen, added


@dataclass(frozen=True)
class Call:
    """What a door hears of one attention call: fields of `civilwar.hear.heard.Heard`."""

    query: Tensor
    key: Tensor
    value: Tensor | None
    output: Tensor | None
    scaling: float
    allowed: Allowed
    softcap: float | None = None
    sinks: Tensor | None = None
    bias: Tensor | None = None
    repeated: bool = False
    """Whether keys and values may stand once for each query head that reads them."""
