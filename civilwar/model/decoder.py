"""The whole decoder, in one file: what the report trained, and the switches its controls need.

Pre-norm blocks; grouped-query attention; RMSNorm with one gain shared by all heads on the queries and another on the
keys, before RoPE; squared ReLU; tied embedding scaled by sqrt(d_model); no biases, no dropout. Nothing here knows that
it is watched: hooks read, or replace, what leaves the modules named ``q_norm``, ``k_norm`` and ``head_outputs``; and
`Decoder.summarised` hands each layer's queries and keys to a function. Whether a block runs as it is written or compiled
is `civilwar.model.ways`'s business: it is the same code.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from civilwar.model.attention import attend
from civilwar.model.ways import Ways, compiled, may_be_compiled
from civilwar.recipe.config import ModelConfig
from civilwar.recipe.rope import pair_frequencies

NORM_EPS = 1e-6
INIT_STD = 0.02

#: Makes a few small tensors of a layer's queries and keys, before RoPE, and of its keys before their norm.
Summary = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]


class Rope(nn.Module):
    """Rotates the pairs (2i, 2i+1), so that dimension indices mean what they mean in the report."""

    cos: Tensor
    sin: Tensor

    def __init__(self, frequencies: Float[np.ndarray, "half"], context: int) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(context, dtype=torch.float64), torch.tensor(frequencies))
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos head d_head"]:
        """Turn every pair by its position's angle. Leaves vector norms alone."""
        # in real numbers: of complex ones no compiler makes anything
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = (table[: x.shape[1], None, :].float() for table in (self.cos, self.sin))
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


class HeadNorm(nn.RMSNorm):
    """RMSNorm of each head's vectors, with one gain for all heads."""

    def forward(self, x: Float[Tensor, "*batch head d_head"]) -> Float[Tensor, "*batch head d_head"]:
        """x / sqrt(mean_j x_j^2 + eps) times the gain."""
        # a gain for each head first: its gradient is then added up a head at a time, in an order that the number of threads
        # does not change
        gain = self.weight.expand(x.shape[-2:])
        return F.rms_norm(x, self.normalized_shape, eps=self.eps) * gain


class Attention(nn.Module):
    """Causal grouped-query attention with normalised queries and keys."""

    def __init__(self, config: ModelConfig, frequencies: Float[np.ndarray, "half"]) -> None:
        super().__init__()
        self.config = config
        width_q, width_kv = config.n_query_heads * config.d_head, config.n_kv_heads * config.d_head
        # o lies transposed beside q, k and v, so that every column of each matrix is a dimension of the residual stream
        self.widths = (width_q, width_kv, width_kv, width_q)
        if config.joint_qkvo:
            self.qkvo = nn.ParameterList([torch.empty(sum(self.widths), config.d_model)])
        else:
            self.qkvo = nn.ParameterList([torch.empty(width, config.d_model) for width in self.widths])
        self.q_norm = _head_norm(config)
        self.k_norm = _head_norm(config)
        self.rope = Rope(frequencies, config.context)
        #: Whether to train with attention in blocks.
        self.in_blocks = False
        # does nothing, but what each query head adds passes through it and can be hooked there
        self.head_outputs = nn.Identity()

    def weights(self) -> tuple[Float[Tensor, "qkv d_model"], Float[Tensor, "q d_model"]]:
        """q, k and v stacked, and o transposed."""
        if self.config.joint_qkvo:
            w_qkv, w_o = self.qkvo[0].split((sum(self.widths[:3]), self.widths[3]))
            return w_qkv, w_o
        return torch.cat(tuple(self.qkvo[:3])), self.qkvo[3]

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], summary: Summary | None = None, into: list[Tensor] | None = None
    ) -> Float[Tensor, "batch pos d_model"]:
        """Mix each position with those before it. What ``summary`` makes of queries and keys is added to ``into``."""
        w_qkv, w_o = self.weights()
        q, k, v = (
            part.unflatten(-1, (-1, self.config.d_head)) for part in F.linear(x, w_qkv).split(self.widths[:3], dim=-1)
        )
        # normalise in the parameters' precision: float32 under autocast, so that a key norm is not rounded to 3 digits
        before, q = k.to(w_qkv.dtype), self.q_norm(q.to(w_qkv.dtype))
        k = self.k_norm(before)
        if summary is not None and into is not None:
            into.extend(summary(q, k, before))
        q, k = self.rope(q).to(v.dtype), self.rope(k).to(v.dtype)
        heads = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), self.in_blocks)
        return self.head_outputs(heads.transpose(1, 2)).flatten(-2) @ w_o


def _head_norm(config: ModelConfig) -> nn.Module:
    if config.qk_norm == "none":
        return nn.Identity()
    norm = HeadNorm(config.d_head, eps=NORM_EPS)
    norm.weight.requires_grad_(config.qk_norm == "learned")
    return norm


class MLP(nn.Module):
    """d_model -> d_ff -> d_model with squared ReLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Each position by itself: down(relu(up x)^2)."""
        out: Tensor = self.down(F.relu(self.up(x)).square())
        return out


class Block(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig, frequencies: Float[np.ndarray, "half"]) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model, eps=NORM_EPS)
        self.attention = Attention(config, frequencies)
        self.mlp_norm = nn.RMSNorm(config.d_model, eps=NORM_EPS)
        self.mlp = MLP(config)

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], summary: Summary | None = None, into: list[Tensor] | None = None
    ) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after this block. What ``summary`` makes of queries and keys is added to ``into``."""
        x = x + self.attention(self.attention_norm(x), summary, into)
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nn.Module):
    """Tokens in, next-token logits out. ``seed`` decides the initial weights and a shuffled RoPE order."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config, frequencies) for frequencies in pair_frequencies(config, seed))
        self.final_norm = nn.RMSNorm(config.d_model, eps=NORM_EPS)
        self.compiled = False
        self._initialise(seed)

    def compute(self, ways: Ways) -> None:
        """Train in these ways from now on. Changes no number but for rounding."""
        self.compiled = ways.compiled
        for module in self.modules():
            if isinstance(module, Attention):
                module.in_blocks = ways.attention_in_blocks

    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=INIT_STD, generator=generator)

    def hidden(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after the final norm, one product with the embedding away from the logits.

        Raises ValueError where ``tokens`` is longer than the context, since RoPE's table ends there.
        """
        return self.summarised(tokens)[0]

    def summarised(
        self, tokens: Int[Tensor, "batch pos"], summary: Summary | None = None
    ) -> tuple[Float[Tensor, "batch pos d_model"], list[list[Tensor]]]:
        """`hidden`, and what ``summary`` makes of each layer's queries and keys. Raises ValueError as `hidden` does."""
        if tokens.shape[1] > self.config.context:
            raise ValueError(
                f"{tokens.shape[1]} tokens, but the model's context is {self.config.context}: cut the text."
            )
        x = self.embedding(tokens) * math.sqrt(self.config.d_model)
        through = compiled(Block.__call__) if self.compiled and may_be_compiled(self) else Block.__call__
        layers: list[list[Tensor]] = [[] for _ in self.blocks]
        for block, into in zip(self.blocks, layers, strict=True):
            x = through(block, x, summary, into)
        return self.final_norm(x), layers

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Logits of each next token. Raises ValueError as `hidden` does."""
        return F.linear(self.hidden(tokens), self.embedding.weight)
