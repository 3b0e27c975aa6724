"""Phantoms: decoders whose weights are set by hand, so that what each head does is known before anything is measured.

An instrument is trusted only after it has found what was planted. Every planted head asks with strength s: the cosine between
its queries and the direction in which the keys it is meant for lie; the rest of a query points where no key does. At s = 0 it
attends evenly, at s = 1 as sharply as the layer's gain lets it.

The residual stream has a slot for each thing a head may look for: the token's code, the code of the token before (written by
the planted previous-token head), a constant, and flags of separators and of the text's first token.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from civilwar.model.decoder import Attention, Decoder
from civilwar.recipe.config import ModelConfig, ProbeConfig, RunConfig, TrainConfig

#: The token that begins a text and stands nowhere else in it.
START = 1
#: The tokens that count as separators.
SEPARATORS = tuple(range(2, 10))
#: One text in so many tokens is a separator.
SEPARATOR_EVERY = 8
#: Logit of a key that a query of strength 1 is meant for, where keys have the norm that they start from.
TOP_LOGIT = 48.0

CODE = 28
_CODE, _BEFORE = slice(0, CODE), slice(CODE, 2 * CODE)
_CONSTANT, _SEPARATOR, _FIRST, _NOT_SEPARATOR, _NOT_FIRST = range(2 * CODE, 2 * CODE + 5)
#: Dimensions of a head by what they are for: fast RoPE pairs tell places apart, slow ones carry content, and in the slowest two
#: pairs no key lies, but for a loud head's.
_FAST, _CONTENT, _EMPTY = slice(0, 32), slice(32, 60), slice(60, 64)


@dataclass(frozen=True)
class Planted:
    """One planted query head."""

    layer: int
    query_head: int
    kind: str
    """As in `civilwar.names.kinds`."""


#: What is planted where: the first query head of a KV head each. Every other head is left to attend evenly.
PLANTED = (
    Planted(layer=0, query_head=0, kind="previous_token"),
    Planted(layer=0, query_head=2, kind="separator"),
    Planted(layer=0, query_head=4, kind="sink"),
    Planted(layer=0, query_head=6, kind="retriever"),
    Planted(layer=1, query_head=0, kind="induction"),
)
#: (layer, kv_head) of the head whose keys are longer by a factor.
LOUD = (1, 2)


def phantom_config() -> RunConfig:
    """Two layers of 8 query heads and 4 KV heads, 128 tokens; its two steps are an untrained decoder and the phantom."""
    return RunConfig(
        preset="phantom",
        variant="planted",
        seed=0,
        corpus="planted",
        model=ModelConfig(
            n_layers=2,
            d_model=128,
            n_query_heads=8,
            n_kv_heads=4,
            d_head=64,
            d_ff=32,
            vocab_size=512,
            context=128,
            rope_base=1e6,
        ),
        train=TrainConfig(steps=1, batch_size=4, precision="float32"),
        probe=ProbeConfig(n_texts=8, n_repeated=4),
    )


@torch.no_grad()
def phantom(strength: Mapping[str, float], factor: float = 1.0, seed: int = 0) -> Decoder:
    """A decoder with the heads of `PLANTED`, each with its kind's strength, and a KV head with longer keys.

    Args:
        strength: cosine in [0, 1] by kind; a kind that is not named is not planted (0).
        factor: how many times as long the keys of `LOUD` are as all others.
        seed: of the tokens' codes.

    Raises ValueError for a strength outside [0, 1] or a kind that is not planted.
    """
    unknown = set(strength) - {planted.kind for planted in PLANTED}
    if unknown or not all(0 <= value <= 1 for value in strength.values()) or factor <= 0:
        raise ValueError(
            f"strength = {dict(strength)}, factor = {factor}: expected cosines from 0 to 1 of "
            f"{', '.join(planted.kind for planted in PLANTED)}, and a positive factor."
        )
    config = phantom_config().model
    model = Decoder(config, seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.zero_()
    model.embedding.weight.copy_(_embedding(config, seed))
    # a query and a key of norm sqrt(d_head) that agree give a logit of sqrt(d_head)
    gain = TOP_LOGIT / math.sqrt(config.d_head)
    for layer in range(config.n_layers):
        attention = model.get_submodule(f"blocks.{layer}.attention")
        assert isinstance(attention, Attention)
        q_gain, k_gain = (norm.get_parameter("weight") for norm in (attention.q_norm, attention.k_norm))
        q_gain.fill_(gain)
        q, k, v, o = (part.unflatten(0, (-1, config.d_head)) for part in _parts(attention))
        for head in range(config.n_query_heads):
            q[head] = _to(_EMPTY, _CONSTANT, config)
        for head in range(config.n_kv_heads):
            k[head] = _to(_CONTENT, _CONSTANT, config)
        for planted in PLANTED:
            if planted.layer == layer:
                kv_head = planted.query_head // config.group_size
                s = strength.get(planted.kind, 0.0)
                wanted, k[kv_head] = _looking_for(planted.kind, config)
                q[planted.query_head] = s * wanted + math.sqrt(1 - s**2) * _even(planted.kind, config)
                if planted.kind == "previous_token":
                    v[kv_head][_CONTENT, _CODE] = torch.eye(CODE)
                    o[planted.query_head][_CONTENT, _BEFORE] = 3 * torch.eye(CODE)
        if layer == LOUD[0]:
            k[LOUD[1]] = _to(_EMPTY, _CONSTANT, config)
            # its own query heads look elsewhere, or they would attend to nothing but how long a key is
            for head in range(config.group_size):
                q[LOUD[1] * config.group_size + head] = _to(_FAST, _CONSTANT, config)
            k_gain[_EMPTY] = factor
            q_gain[_EMPTY] = gain / factor
    return model


def phantom_texts(config: RunConfig, n: int, tokens: int, seed: int = 0) -> Tensor:
    """[n, tokens]: `START`, then different tokens in random order, every eighth or so a separator."""
    generator = torch.Generator().manual_seed(seed)
    ordinary = torch.arange(max(SEPARATORS) + 1, config.model.vocab_size)
    texts = torch.stack([ordinary[torch.randperm(len(ordinary), generator=generator)[:tokens]] for _ in range(n)])
    separators = torch.tensor(SEPARATORS)[torch.randint(len(SEPARATORS), (n, tokens), generator=generator)]
    texts = torch.where(torch.rand(n, tokens, generator=generator) < 1 / SEPARATOR_EVERY, separators, texts)
    texts[:, 0] = START
    return texts


def separator_ids(config: RunConfig) -> Tensor:
    """[vocab_size] flags of `SEPARATORS`."""
    return torch.isin(torch.arange(config.model.vocab_size), torch.tensor(SEPARATORS))


def _parts(attention: Attention) -> tuple[Tensor, ...]:
    """Views of q, k, v and o of a layer, o transposed."""
    return attention.qkvo[0].split(attention.widths)


def _embedding(config: ModelConfig, seed: int) -> Tensor:
    """[vocab_size, d_model]: every token's code, of length 1, and its flags."""
    table = torch.zeros(config.vocab_size, config.d_model)
    codes = torch.randn(config.vocab_size, CODE, generator=torch.Generator().manual_seed(seed))
    table[:, _CODE] = codes / codes.norm(dim=1, keepdim=True)
    table[:, [_CONSTANT, _NOT_SEPARATOR, _NOT_FIRST]] = 1.0
    table[list(SEPARATORS), _SEPARATOR], table[list(SEPARATORS), _NOT_SEPARATOR] = 1.0, 0.0
    table[START, _FIRST], table[START, _NOT_FIRST] = 1.0, 0.0
    return table


def _to(dimensions: slice, slot: int, config: ModelConfig) -> Tensor:
    """[d_head, d_model]: one slot of the residual stream, spread evenly over some dimensions of the head."""
    matrix = torch.zeros(config.d_head, config.d_model)
    n = dimensions.stop - dimensions.start
    matrix[dimensions, slot] = 1 / math.sqrt(n)
    return matrix


def _looking_for(kind: str, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """What a head of a kind asks with and what its keys answer with: each [d_head, d_model], of unit queries and keys."""
    query, key = torch.zeros(2, config.d_head, config.d_model)
    if kind == "previous_token":
        query = _to(_FAST, _CONSTANT, config)
        return query, _a_step_on(query, config)
    if kind in ("separator", "sink"):
        wanted, other = (_SEPARATOR, _NOT_SEPARATOR) if kind == "separator" else (_FIRST, _NOT_FIRST)
        asked, rest = slice(_CONTENT.start, _CONTENT.start + 14), slice(_CONTENT.start + 14, _CONTENT.stop)
        return _to(asked, _CONSTANT, config), _to(asked, wanted, config) + _to(rest, other, config)
    query[_CONTENT, _CODE] = torch.eye(CODE)
    if kind == "induction":
        key[_CONTENT, _BEFORE] = torch.eye(CODE)
        return query, key
    # a token is most like itself: what would be told apart by place alone is weighed against that
    key[_CONTENT, _CODE] = torch.eye(CODE)
    place = _to(_FAST, _CONSTANT, config)
    return (query - place) / math.sqrt(2), (key + place) / math.sqrt(2)


def _even(kind: str, config: ModelConfig) -> Tensor:
    """A query's part that no key answers, as long as its other part for every token."""
    return _to(_EMPTY, _CONSTANT, config)


def _a_step_on(weights: Tensor, config: ModelConfig) -> Tensor:
    """What lies where RoPE would turn it to, one position later: a key like that meets the query that comes after it."""
    frequencies = config.rope_base ** (-torch.arange(0, config.d_head, 2, dtype=torch.float64) / config.d_head)
    cos, sin = frequencies.cos().float()[:, None], frequencies.sin().float()[:, None]
    even, odd = weights[0::2], weights[1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=1).flatten(0, 1)
