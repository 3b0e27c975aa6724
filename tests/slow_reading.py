"""A small model, and a slow reading of it to check measurements against: NumPy, one head and one token at a time."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from civilwar.model.decoder import NORM_EPS, Decoder
from civilwar.recipe.config import ModelConfig, ProbeConfig, make_config
from civilwar.recipe.rope import pair_frequencies

GROUP, SEED = 2, 5
CONFIG = dataclasses.replace(
    make_config("smoke", seed=SEED),
    model=ModelConfig(
        n_layers=2,
        d_model=29,
        n_query_heads=6,
        n_kv_heads=3,
        d_head=10,
        d_ff=37,
        vocab_size=307,
        context=23,
        rope_order="shuffled",
    ),
    # a horizon beyond the context is left out
    probe=ProbeConfig(
        n_texts=4, n_repeated=5, short_tokens=9, report_tokens=13, sink_horizons=(3, 16, 23, 64), sink_positions=(1, 3)
    ),
)
SEPARATORS = torch.arange(307) % 7 == 0


def sharpened(config: ModelConfig) -> Decoder:
    """Heads that differ: random gains, and matrices large enough for attention to choose."""
    model = Decoder(config, SEED)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data = 0.3 + 1.4 * torch.rand(parameter.shape, generator=generator)
        elif "qkvo" in name:
            parameter.data *= 20
    return model


def normalised(raw: np.ndarray, norm: torch.nn.Module) -> np.ndarray:
    if isinstance(norm, torch.nn.Identity):
        return raw
    return raw / np.sqrt(np.mean(raw**2) + NORM_EPS) * norm.weight.detach().double().numpy()


def turned(vector: np.ndarray, position: int, frequencies: np.ndarray) -> np.ndarray:
    turned_pairs = (vector[0::2] + 1j * vector[1::2]) * np.exp(1j * position * frequencies)
    return np.stack([turned_pairs.real, turned_pairs.imag], axis=-1).reshape(-1)


def slow_reading(model: Decoder, tokens: Tensor) -> list[dict[str, np.ndarray]]:
    """Per layer: raw keys, and queries and keys before and after RoPE, each [text, head, pos, d_head]."""
    inputs: list[np.ndarray] = []
    hooks = [
        block.attention.register_forward_pre_hook(lambda module, args: inputs.append(args[0].double().numpy()))
        for block in model.blocks
    ]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    n_texts, n_tokens = tokens.shape
    frequencies = pair_frequencies(model.config, SEED)
    layers = []
    for layer, block in enumerate(model.blocks):
        matrix = block.attention.qkvo[0].detach().double().numpy()
        read = {name: np.zeros((n_texts, 6, n_tokens, 10)) for name in ("q", "q_rope")}
        read |= {name: np.zeros((n_texts, 3, n_tokens, 10)) for name in ("raw", "k", "k_rope")}
        for b in range(n_texts):
            for t in range(n_tokens):
                x = inputs[layer][b, t]
                for head in range(6):
                    q = normalised(matrix[10 * head : 10 * head + 10] @ x, block.attention.q_norm)
                    read["q"][b, head, t] = q
                    read["q_rope"][b, head, t] = turned(q, t, frequencies[layer])
                for head in range(3):
                    raw = matrix[60 + 10 * head : 70 + 10 * head] @ x
                    k = normalised(raw, block.attention.k_norm)
                    read["raw"][b, head, t] = raw
                    read["k"][b, head, t] = k
                    read["k_rope"][b, head, t] = turned(k, t, frequencies[layer])
        layers.append(read)
    return layers


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def entropy(weights: np.ndarray) -> float:
    return -sum(w * math.log(w) for w in weights if w > 0)


def causal(read: dict[str, np.ndarray], text: int, head: int, scale: np.ndarray | None = None) -> list[np.ndarray]:
    """Attention of each query over the keys up to it; keys first scaled, one number per position, if asked."""
    queries, keys = read["q_rope"][text, head], read["k_rope"][text, head // GROUP]
    keys = keys if scale is None else keys * scale[:, None]
    return [softmax(keys[: i + 1] @ queries[i] / math.sqrt(10)) for i in range(len(queries))]


def participation(vector: np.ndarray) -> float:
    return (vector**2).sum() ** 2 / (vector**4).sum()


def close(measured: float, expected: float) -> bool:
    return measured == pytest.approx(expected, rel=1e-4, abs=1e-5)
