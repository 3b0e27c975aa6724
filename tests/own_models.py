"""Small models of one's own, as people write them: nothing of transformers, nothing of this package."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusedAttention(nn.Module):
    """As in nanoGPT: one projection for all three, no norm, dropout in the attention."""

    def __init__(self, width: int = 24, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.c_attn(x).chunk(3, -1))
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        return self.c_proj(y.transpose(1, 2).flatten(2))


class GroupedAttention(nn.Module):
    """Functional norms, fewer KV heads than query heads, which the kernel repeats, or the model does."""

    def __init__(self, width: int = 24, heads: int = 4, kv_heads: int = 2, *, repeats: bool = False) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.repeats = heads, kv_heads, repeats
        self.d = width // heads
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * kv_heads * self.d)

    def forward(self, x: Tensor) -> Tensor:
        q = F.rms_norm(self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2), (self.d,))
        k, v = (y.unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for y in self.kv(x).chunk(2, -1))
        k = F.rms_norm(k, (self.d,))
        if self.repeats:
            k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5, enable_gqa=not self.repeats)
        return y.transpose(1, 2).flatten(2)


class InlineAttention(FusedAttention):
    """Softmax written out: nothing to listen at."""

    observed = None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.c_attn(x).chunk(3, -1))
        logits = q @ k.mT / 6**0.5
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        out = logits.masked_fill(future, -torch.inf).softmax(-1) @ v
        if self.observed is not None:
            self.observed(q, k, value=v, output=out)
        return self.c_proj(out.transpose(1, 2).flatten(2))


class Stack(nn.Module):
    """Layers of attention between an embedding and a next-token loss."""

    def __init__(self, layers: list[nn.Module], width: int = 24) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(32, width), nn.Linear(width, 32)
        self.layers = nn.ModuleList(layers)
        self.checkpoint: bool | None = None
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            if self.checkpoint is None:
                x = x + layer(x)
            else:
                x = x + torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=self.checkpoint)
        return F.cross_entropy(self.head(x[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


TOKENS = torch.randint(32, (3, 13), generator=torch.Generator().manual_seed(0))


def fused(**options: float) -> Stack:
    """A nanoGPT-like model of two layers."""
    return Stack([FusedAttention(**options) for _ in range(2)])
