"""One moment of any model as the inspector's data: map, pattern and gain, without a run.

The model needs modules named ``q_norm`` and ``k_norm`` in every layer. Attention is what the model reports itself
(``output_attentions=True``, as transformers' models do with their eager attention), or, for this package's Decoder, computed
from its hooked queries and keys after RoPE, as `civilwar.measure.prober` does.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from civilwar.analysis.gain import GOLDEN_DEVIATIONS
from civilwar.corpus.tokenizer import is_separator
from civilwar.inspector.payload import Gain, Patterns, Payload, Series, Text
from civilwar.measure import metrics
from civilwar.measure.hooks import QueriesKeys, norm_modules, watch_queries_keys
from civilwar.names.measures import MEASURES

#: Tokens of a text that are shown; a longer map could not be read.
LONGEST = 64
#: What configurations call the longest text a model can take.
CONTEXTS = ("max_position_embeddings", "context")
#: The one moment that a model has.
MOMENT = (0,)
#: What a text can tell of a head without a snapshot's probe.
MEASURED = ("norm_mean", "entropy_normalised", "max_weight", "sink", "previous_token_score")


@runtime_checkable
class Tokenizer(Protocol):
    """What a tokenizer of tokenizers and one of transformers have in common."""

    def encode(self, text: str, /) -> Any:
        """Ids, or something with ``ids``."""

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        """The text of ids."""


def payload_of_model(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> Payload:
    """Every head of ``model`` on ``texts``, each cut to `LONGEST` tokens.

    Raises ValueError where the model has no such norms or no attention to give, or where a text has fewer than two tokens.
    """
    n_layers = len(norm_modules(model))
    device = next(model.parameters()).device
    coded = [_tokens(tokenizer, text) for text in texts]
    if not coded or any(len(ids) < 2 for ids, _ in coded):
        raise ValueError(
            "texts: expected at least one, of two tokens or more each; there is no attention to see in less."
        )
    was_training = model.training
    model.eval()
    try:
        seen = [_look(model, torch.tensor([ids], device=device), n_layers) for ids, _ in coded]
    finally:
        model.train(was_training)
    attentions = [attention for attention, _, _ in seen]
    n_kv_heads, _, d_head = seen[0][1].shape[1:]
    return Payload(
        name=type(model).__name__,
        n_layers=n_layers,
        n_query_heads=attentions[0].shape[1],
        n_kv_heads=n_kv_heads,
        d_head=d_head,
        context=next((n for name in CONTEXTS if (n := getattr(getattr(model, "config", None), name, None))), None),
        last_step=0,
        default=MEASURED[0],
        measures=_measures(seen),
        gain=_gain(model, seen, n_layers, d_head),
        texts=tuple(Text(tuple(tokens), tuple(is_separator(t) for t in tokens)) for _, tokens in coded),
        patterns=Patterns(MOMENT, _triangles(attentions)),
    )


def _tokens(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[str]]:
    """Ids and what each stands for, from a tokenizers or a transformers tokenizer."""
    encoded = tokenizer.encode(text)
    ids = list(getattr(encoded, "ids", encoded))[:LONGEST]
    # special ones too: each stands for itself on the axes
    grown = ["", *(tokenizer.decode(ids[:n], skip_special_tokens=False) for n in range(1, len(ids) + 1))]
    # what a token adds to the text before it: by itself, one of a SentencePiece model loses the space that it begins with
    return ids, [
        more.removeprefix(less)
        if more != less and more.startswith(less)
        else tokenizer.decode([i], skip_special_tokens=False)
        for i, less, more in zip(ids, grown[:-1], grown[1:], strict=True)
    ]


@torch.no_grad()
def _look(
    model: nn.Module, ids: Tensor, n_layers: int
) -> tuple[
    Float[Tensor, "layer query_head query key"],
    Float[Tensor, "layer kv_head pos d_head"],
    Float[Tensor, "layer kv_head pos d_head"],
]:
    """Attention, keys after and keys before the gain of one text."""
    events: list[QueriesKeys] = []
    asks = "output_attentions" in inspect.signature(model.forward).parameters
    asks = asks or any(p.kind is p.VAR_KEYWORD for p in inspect.signature(model.forward).parameters.values())
    with watch_queries_keys(model, events.append):
        out = model(ids, output_attentions=True) if asks else model(ids)
    given = getattr(out, "attentions", None)
    if given is not None and len(given) == n_layers and given[0] is not None:
        attention = torch.stack([layer[0].float() for layer in given])
    else:
        attention = torch.stack([_attention(model, event) for event in events])
    _check_shapes(model, events, ids, attention)
    keys = torch.stack([event.keys[0].transpose(0, 1) for event in events])
    before = torch.stack([event.keys_before_norm[0].transpose(0, 1) for event in events])
    return attention, keys, before


def _check_shapes(model: nn.Module, events: list[QueriesKeys], ids: Tensor, attention: Tensor) -> None:
    """Models disagree on what their norms see; heads taken for positions would look like results."""
    n_query_heads, n_tokens = attention.shape[1], ids.shape[1]
    shapes = {tuple(x.shape[:2]) for event in events for x in (event.queries, event.keys) if x.ndim == 4}
    kv_heads = {event.keys.shape[-2] for event in events if event.keys.ndim == 4}
    if shapes != {(1, n_tokens)} or any(e.queries.shape[-2] != n_query_heads for e in events):
        raise ValueError(
            f"{type(model).__name__}: its q_norm and k_norm have to see [batch, pos, head, d_head], as in Qwen3 and this "
            f"package's Decoder, with {n_query_heads} query heads; they see {tuple(events[0].queries.shape)} and "
            f"{tuple(events[0].keys.shape)} for {n_tokens} tokens."
        )
    if len(kv_heads) != 1 or n_query_heads % kv_heads.pop():
        raise ValueError(
            f"{type(model).__name__}: its query heads do not share its KV heads evenly, alike in all layers."
        )


def _attention(model: nn.Module, event: QueriesKeys) -> Float[Tensor, "query_head query key"]:
    try:
        rope = model.get_submodule(f"blocks.{event.layer}.attention.rope")
    except AttributeError as error:
        raise ValueError(
            f"{type(model).__name__} gives no attention: expected a model that returns it for output_attentions=True (in "
            "transformers: load it with attn_implementation='eager'), or this package's Decoder."
        ) from error
    queries, keys = (rope(x)[0].transpose(0, 1) for x in (event.queries, event.keys))
    return metrics.causal_attention(metrics.attention_logits(queries, keys))


def _measures(seen: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Series, ...]:
    """Mean over texts of every measure."""
    of_texts: dict[str, list[Tensor]] = {key: [] for key in MEASURED}
    for attention, keys, _ in seen:
        of_texts["norm_mean"].append(metrics.vector_norm(keys).mean(-1))
        entropy = metrics.normalise_entropy(metrics.attention_entropy(attention))
        of_texts["entropy_normalised"].append(entropy.nanmean(-1))
        of_texts["max_weight"].append(metrics.largest_weight(attention).mean(-1))
        of_texts["sink"].append(metrics.sink_alpha(attention[..., 0], 1, attention.shape[-1]))
        of_texts["previous_token_score"].append(metrics.previous_token_score(attention))
    values = {key: torch.stack(texts).mean(0)[None].double().cpu().numpy() for key, texts in of_texts.items()}
    return tuple(
        Series(m.key, m.label, m.unit, m.owner, m.says, MOMENT, values[m.key])
        for m in (MEASURES[key] for key in MEASURED)
    )


def _triangles(attentions: list[Tensor]) -> np.ndarray:
    """Lower triangles row by row, weight 1 as 255: [moment, text, layer, query_head, cell], shorter texts filled up with 0."""
    longest = max(attention.shape[-1] for attention in attentions)
    n_layers, n_heads = attentions[0].shape[:2]
    cells = np.zeros((1, len(attentions), n_layers, n_heads, longest * (longest + 1) // 2), dtype=np.uint8)
    for text, attention in enumerate(attentions):
        row, column = torch.tril_indices(attention.shape[-1], attention.shape[-1])
        triangle = (attention.cpu()[..., row, column] * 255).round().to(torch.uint8).numpy()
        cells[0, text, :, :, : triangle.shape[-1]] = triangle
    return cells


def _gain(model: nn.Module, seen: list[tuple[Tensor, Tensor, Tensor]], n_layers: int, d_head: int) -> Gain:
    """Gains of the key norms, undefined without one; and the keys' energy before them."""
    gains = np.full((1, n_layers, d_head), math.nan)
    for layer, (_, k_norm) in enumerate(norm_modules(model)):
        weight = getattr(k_norm, "weight", None)
        if weight is not None:
            gains[0, layer] = weight.detach().double().cpu().numpy()
    energy = torch.stack([metrics.energy(before).mean(-2) for _, _, before in seen]).mean(0)
    middle, deviation = gains[0].mean(-1, keepdims=True), gains[0].std(-1, ddof=1, keepdims=True)
    golden = gains[0] > middle + GOLDEN_DEVIATIONS * deviation
    rank, wavelength = _rope(model, n_layers, d_head)
    return Gain(
        steps=MOMENT,
        gain=gains,
        energy_steps=MOMENT,
        energy=energy[None].double().cpu().numpy(),
        golden=golden.astype(np.uint8),
        rank=rank,
        wavelength=wavelength,
    )


def _rope(model: nn.Module, n_layers: int, d_head: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequency rank of every dimension, and the wavelength of every rank in tokens; undefined where the base is unknown.

    This package's Decoder turns the pair (2i, 2i+1) by frequencies that its buffers hold; transformers' models turn
    (i, i + d_head / 2).
    """
    half = np.arange(d_head // 2)
    ropes = [module for name, module in model.named_modules() if name.endswith("attention.rope")]
    if ropes:
        # the angle of the second position is the frequency, at most 1 radian
        turns = np.stack([torch.atan2(rope.sin[1], rope.cos[1]).double().cpu().numpy() for rope in ropes])
        ranks = np.repeat(np.argsort(np.argsort(-turns, axis=1), axis=1), 2, axis=1)
        wavelength = 2 * math.pi / -np.sort(-turns[0])
    else:
        config = getattr(model, "config", None)
        settings = getattr(config, "rope_parameters", None) or {}
        base = float(getattr(config, "rope_theta", None) or settings.get("rope_theta", math.nan))
        ranks = np.tile(half, (n_layers, 2))
        wavelength = 2 * math.pi * base ** (2.0 * half / d_head)
    # geometric, so that even steps would swallow the short ones
    return ranks.astype(np.int32), wavelength.astype(np.float32)
