"""One moment of any model as the inspector's data: map, pattern and gain, without a run.

Attention is heard as the model makes it (`civilwar.hear`), with its own scale, windows, softcaps, biases and sinks; nothing
about the model is assumed. Every layer is checked on the first text: attention computed from what was heard has to give the
model's own output. Gains and RoPE's frequencies are measured where the model normalises its keys, and undefined elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from civilwar.analysis.gain import GOLDEN_DEVIATIONS
from civilwar.corpus.tokenizer import is_separator
from civilwar.hear.check import check
from civilwar.hear.doors import hear
from civilwar.hear.gains import KeyNorm, Normed, key_norm, key_norms_heard
from civilwar.hear.heard import Heard
from civilwar.hear.modes import evaluating
from civilwar.hear.names import unwrapped
from civilwar.hear.rotary import Rotary, frequencies, rotary
from civilwar.hear.statistics import statistics
from civilwar.inspector.payload import Gain, Patterns, Payload, Series, Text
from civilwar.model.decoder import Decoder, Rope
from civilwar.names.measures import MEASURES

#: Tokens of a text that are shown; a longer map could not be read.
LONGEST = 64
#: What configurations call the longest text a model can take.
CONTEXTS = ("max_position_embeddings", "n_positions", "context")
#: The one moment that a model has.
MOMENT = (0,)
#: What a text can tell of a head without a snapshot's probe.
MEASURED = ("norm_mean", "entropy_normalised", "max_weight", "sink", "previous_token_score")
#: Layers whose numbers are named, where not every layer has attention.
MOST_NAMED = 12


@runtime_checkable
class Tokenizer(Protocol):
    """What a tokenizer of tokenizers and one of transformers have in common."""

    def encode(self, text: str, /) -> Any:
        """Ids, or something with ``ids``."""

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        """The text of ids."""


@dataclass(frozen=True)
class Look:
    """What one text made of a model: every attention call in order, and what the key norms did, None where there is none."""

    calls: list[Heard]
    norms: list[KeyNorm | None]


def payload_of_model(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> Payload:
    """Every head of ``model`` on ``texts``, each cut to `LONGEST` tokens or to what the model takes.

    Raises ValueError for texts of fewer than two tokens, one string in place of a list, tokens that the model has no
    embedding for, weights that are not loaded, layers whose heads differ in number, attention that is not finite; and
    Unheard, a ValueError, where attention cannot be heard as the model makes it.
    """
    root = unwrapped(model)
    if isinstance(texts, str):
        raise ValueError("texts: expected a list of texts and got one string; put it into a list: [text].")
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ValueError(
            f"{type(model).__name__} puts a learned prefix before every text, which is no token; pass the model without it, "
            "model.get_base_model()."
        )
    context = _context(root)
    coded = [_tokens(tokenizer, text, context) for text in texts]
    if not coded or any(len(ids) < 2 for ids, _ in coded):
        raise ValueError(
            "texts: expected at least one, of two tokens or more each; there is no attention to see in less."
        )
    _check_embedded(root, coded)
    device = _device(root)
    with evaluating(model):
        seen = [_look(root, torch.tensor([ids], device=device), first=not i) for i, (ids, _) in enumerate(coded)]
    calls = seen[0].calls
    n_query_heads, n_kv_heads = calls[0].n_query_heads, calls[0].n_kv_heads
    if {(call.n_query_heads, call.n_kv_heads) for call in calls} != {(n_query_heads, n_kv_heads)}:
        raise ValueError(
            f"{type(root).__name__}: its layers have different numbers of heads, and the map has a row of equally many for "
            "each; hear(model, listener) of civilwar.hear gives every layer its own."
        )
    d_head = max(call.key.shape[-1] for call in calls)
    return Payload(
        name=_name(root, calls),
        n_layers=len(calls),
        n_query_heads=n_query_heads,
        n_kv_heads=n_kv_heads,
        d_head=d_head,
        context=context,
        last_step=0,
        default=MEASURED[0],
        measures=_measures(seen),
        gain=_gain(root, seen, d_head),
        texts=tuple(Text(tuple(tokens), tuple(is_separator(t) for t in tokens)) for _, tokens in coded),
        patterns=_patterns(seen),
    )


def _name(root: nn.Module, calls: list[Heard]) -> str:
    """The model's kind, and which of its layers the map's rows are where not every layer has attention of its own."""
    layers = [call.layer for call in calls]
    kind = type(root).__name__
    if layers == list(range(len(layers))) or len(set(layers)) < len(layers) or len(layers) > MOST_NAMED:
        return kind
    return f"{kind}-layers-{'-'.join(map(str, layers))}"


def _context(root: nn.Module) -> int | None:
    config = getattr(root, "config", None)
    if config is not None and hasattr(config, "get_text_config"):
        config = config.get_text_config()
    found = (getattr(config, name, None) for name in CONTEXTS)
    return next((n for n in found if isinstance(n, int) and n > 0), None)


def _device(root: nn.Module) -> torch.device:
    """Where tokens go. Raises ValueError for weights that are nowhere."""
    places = [parameter.device for parameter in root.parameters()]
    loaded = [place for place in places if place.type != "meta"]
    # accelerate loads what it keeps elsewhere when it is needed
    fetched = any(hasattr(module, "_hf_hook") for module in root.modules())
    if len(loaded) < len(places) and not fetched:
        raise ValueError(
            f"{type(root).__name__}: its weights are on the meta device, where there are no numbers; load it without "
            "device_map or init_empty_weights."
        )
    return loaded[0] if loaded else torch.device("cpu")


def _check_embedded(root: nn.Module, coded: list[tuple[list[int], list[str]]]) -> None:
    give = getattr(root, "get_input_embeddings", None)
    size = getattr(give() if give is not None else getattr(root, "embedding", None), "num_embeddings", None)
    largest = max(max(ids) for ids, _ in coded)
    if size is not None and largest >= size:
        raise ValueError(
            f"{type(root).__name__} embeds tokens 0 to {size - 1} and the tokenizer gives {largest}; pass the tokenizer that "
            "the model was trained with, or resize_token_embeddings first."
        )


def _tokens(tokenizer: Tokenizer, text: str, context: int | None = None) -> tuple[list[int], list[str]]:
    """Ids and what each stands for, from a tokenizers or a transformers tokenizer; without padding."""
    encoded = tokenizer.encode(text)
    ids = list(getattr(encoded, "ids", encoded))
    kept = getattr(encoded, "attention_mask", [1] * len(ids))
    ids = [i for i, keep in zip(ids, kept, strict=True) if keep][: min(LONGEST, context or LONGEST)]
    # special ones too: each stands for itself on the axes
    grown = ["", *(tokenizer.decode(ids[:n], skip_special_tokens=False) for n in range(1, len(ids) + 1))]
    # what a token adds to the text before it: by itself, one of a SentencePiece model loses the space that it begins with
    return ids, [
        more.removeprefix(less)
        if more != less and more.startswith(less)
        else tokenizer.decode([i], skip_special_tokens=False)
        for i, less, more in zip(ids, grown[:-1], grown[1:], strict=True)
    ]


def _look(root: nn.Module, ids: Tensor, *, first: bool) -> Look:
    """Attention of one text, checked where it is the ``first``."""
    calls: list[Heard] = []
    normed: list[Normed] = []
    writes = any(name.rpartition(".")[2] == "decoder" for name, _ in root.named_modules())
    if writes and getattr(getattr(root, "config", None), "is_encoder_decoder", False):
        raise ValueError(
            f"{type(root).__name__} reads one text and writes another; pass its half that reads, model.get_encoder()."
        )
    with hear(root, calls.append, evaluation=True), key_norms_heard(root, normed.append):
        root(ids)
    for call in calls:
        if call.query.shape[2] != ids.shape[1] or call.key.shape[2] != ids.shape[1]:
            raise ValueError(
                f"{call.name}: {call.query.shape[2]} queries and {call.key.shape[2]} keys for a text of {ids.shape[1]} tokens; "
                "pass the model without a prefix, a cache or another input of its own (PEFT: model.get_base_model())."
            )
        if first:
            check(call)
        if not call.weights().isfinite().all():
            raise ValueError(
                f"{call.name}: its attention is not finite, so the model has diverged or its precision is too low; load an "
                "earlier checkpoint, or the model in float32."
            )
    return Look(calls, [_norm_of(call, normed) for call in calls])


def _norm_of(call: Heard, normed: list[Normed]) -> KeyNorm | None:
    """The key norm inside the module that attends, or beside it."""
    place = call.name.split(" ")[0]
    within = [n for n in normed if n.name.startswith(f"{place}.") or n.name.rpartition(".")[0] == place]
    found = [n for n in (key_norm(n, call.key) for n in within) if n is not None]
    return found[0] if len(found) == 1 else None


def _measures(seen: list[Look]) -> tuple[Series, ...]:
    """Mean over texts of every measure."""
    of_texts: dict[str, list[Tensor]] = {key: [] for key in MEASURED}
    for look in seen:
        of_layers: dict[str, list[Tensor]] = {key: [] for key in MEASURED}
        for call in look.calls:
            query_heads, kv_heads = statistics(call)
            of_layers["norm_mean"].append(kv_heads["key_norm_sum"] / kv_heads["key_count"])
            of_layers["entropy_normalised"].append(query_heads["entropy_share_sum"] / query_heads["share_count"])
            of_layers["max_weight"].append(query_heads["max_weight_sum"] / query_heads["row_count"])
            of_layers["sink"].append(query_heads["first_mass_sum"] / query_heads["first_count"])
            of_layers["previous_token_score"].append(query_heads["previous_mass_sum"] / query_heads["previous_count"])
        for key, layers in of_layers.items():
            of_texts[key].append(torch.stack(layers))
    values = {key: torch.stack(texts).mean(0)[None].double().cpu().numpy() for key, texts in of_texts.items()}
    return tuple(
        Series(m.key, m.label, m.unit, m.owner, m.says, MOMENT, values[m.key])
        for m in (MEASURES[key] for key in MEASURED)
    )


def _patterns(seen: list[Look]) -> Patterns | None:
    """Lower triangles; none where a query sees what comes after it."""
    attentions = [torch.stack([call.weights()[0] for call in look.calls]).float() for look in seen]
    if any(attention.triu(1).any() for attention in attentions):
        return None
    return Patterns(MOMENT, _triangles(attentions))


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


def _gain(root: nn.Module, seen: list[Look], d_head: int) -> Gain:
    """Measured gains of the key norms, undefined without one or where heads differ; and the keys' energy before them."""
    n_layers, n_kv_heads = len(seen[0].calls), seen[0].calls[0].n_kv_heads
    gains = np.full((1, n_layers, d_head), math.nan)
    energy = np.full((1, n_layers, n_kv_heads, d_head), math.nan)
    for layer in range(n_layers):
        norms = [norm for look in seen if (norm := look.norms[layer]) is not None]
        if len(norms) < len(seen):
            continue
        width = norms[0].energy.shape[-1]
        of_heads = norms[0].gain
        # least squares over one text leave rounding between heads that share a gain
        if (of_heads - of_heads.mean(0)).abs().max() < 1e-3 * of_heads.abs().max():
            gains[0, layer, :width] = of_heads.mean(0).double().cpu().numpy()
        energy[0, layer, :, :width] = torch.stack([n.energy[0].mean(1) for n in norms]).mean(0).double().cpu().numpy()
    with np.errstate(invalid="ignore"):
        middle, deviation = gains[0].mean(-1, keepdims=True), gains[0].std(-1, ddof=1, keepdims=True)
        golden = gains[0] > middle + GOLDEN_DEVIATIONS * deviation
    rank, wavelength = _rope(root, seen[0], d_head)
    return Gain(
        steps=MOMENT,
        gain=gains,
        energy_steps=MOMENT,
        energy=energy,
        golden=golden.astype(np.uint8),
        rank=rank,
        wavelength=wavelength,
    )


def _rope(root: nn.Module, look: Look, d_head: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequency rank of every dimension, d_head / 2 where it is not turned; and the wavelength of every rank in tokens.

    Wavelengths are undefined where layers turn by different ones, and all of it where the model does not tell.
    """
    if isinstance(root, Decoder):
        # the angle of the second position is the frequency, at most 1 radian
        ropes = [module for module in root.modules() if isinstance(module, Rope)]
        turns = np.stack([torch.atan2(rope.sin[1], rope.cos[1]).double().cpu().numpy() for rope in ropes])
        ranks = np.repeat(np.argsort(np.argsort(-turns, axis=1), axis=1), 2, axis=1)
        # geometric, so that even steps would swallow the short ones
        return ranks.astype(np.int32), (2 * math.pi / -np.sort(-turns[0])).astype(np.float32)
    held = frequencies(root)
    found: list[Rotary | None] = [
        None if norm is None else rotary(norm.after, call.key, held)
        for norm, call in zip(look.norms, look.calls, strict=True)
    ]
    half = d_head // 2
    rank = np.full((len(found), d_head), half, dtype=np.int32)
    spectra = []
    for layer, turned in enumerate(found):
        if turned is not None and len(turned.rank) == d_head:
            rank[layer] = turned.rank.numpy()
            if turned.wavelength.isfinite().any():
                spectra.append(turned.wavelength.numpy())
    agree = bool(spectra) and all(np.allclose(s, spectra[0], rtol=1e-6, equal_nan=True) for s in spectra)
    return rank, (spectra[0] if agree else np.full(half, math.nan)).astype(np.float32)
