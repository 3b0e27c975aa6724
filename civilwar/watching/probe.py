"""Every head of a foreign model on fixed texts: one snapshot's rows, from what was heard of one text after another."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.modes import evaluating
from civilwar.measure import metrics
from civilwar.measure.metrics import Rows
from civilwar.runs.records import Records
from civilwar.watching.layers import Layers
from civilwar.watching.norms import KEY_NORMS, heads_of, norm_in
from civilwar.watching.tables import joined, table
from civilwar.watching.texts import HORIZONS, POSITIONS, SHOWN, Text

#: Queries whose attention is held at once.
QUERY_BLOCK = 128
#: How a model is run on token ids [1, n].
Forward = Callable[[nn.Module, Tensor], Any]


class Probe:
    """The texts of every snapshot, and what a model's heads do with them.

    Args:
        texts: on which everything is measured.
        repeated: random tokens that repeat once, [text, 2 * period]; None where the model's vocabulary is not known.
        layers: which attention call is which layer.
        forward: how the model is run.
    """

    def __init__(self, texts: Sequence[Text], repeated: Tensor | None, layers: Layers, forward: Forward) -> None:
        self.texts, self.repeated, self._layers, self._forward = texts, repeated, layers, forward
        shortest = min(len(text.tokens) for text in texts)
        self.horizons = tuple(h for h in HORIZONS if h <= shortest) or (shortest,)
        self.positions = tuple(k for k in POSITIONS if k <= min(self.horizons))
        self._listener: Callable[[Heard], None] = lambda heard: None
        self.shown = [text.cut(SHOWN) for text in texts[:2]]

    def measure(self, model: nn.Module, step: int) -> tuple[Records, dict[int, np.ndarray]]:
        """All of one snapshot's rows, and each layer's energy of keys before their gain, [kv_head, d_head], where known."""
        device = next(model.parameters()).device
        tables, energies = [], []
        with evaluating(model), hear(model, self._hand_on, evaluation=True):
            for number, text in enumerate(self.texts):
                rows, energy = self._of_text(model, text, step, number, device)
                tables.append(rows)
                energies.append(energy)
            if self.repeated is not None and self._layers.causal:
                for number, ids in enumerate(self.repeated):
                    tables.append(self._of_repeated(model, ids[None].to(device), step, number))
            patterns = self._patterns(model, device) if self._layers.causal else None
        arrays = {} if patterns is None else {"patterns": {"step": np.array([step], np.int32), "pattern": patterns}}
        energy = {layer: np.mean([one[layer] for one in energies], axis=0) for layer in energies[0]}
        return Records(joined(tables), arrays), energy

    def _run(self, model: nn.Module, ids: Tensor, listener: Callable[[Heard], None]) -> Any:
        self._listener = listener
        return self._forward(model, ids)

    def _hand_on(self, heard: Heard) -> None:
        if self._layers.knows(heard):
            self._listener(heard)

    def _of_text(
        self, model: nn.Module, text: Text, step: int, number: int, device: torch.device
    ) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
        ids, separator = text.ids.to(device), text.separator.to(device)
        query_heads: dict[int, dict[str, np.ndarray]] = {}
        kv_heads: dict[int, dict[str, np.ndarray]] = {}
        sinks: dict[int, dict[str, np.ndarray]] = {}
        inner = _Before(model, self._layers)

        def measure(heard: Heard) -> None:
            layer = self._layers.number(heard)
            first = _first_keys(heard, max(self.positions))
            of_queries, weights = _attention(heard, separator if text.read else None, first)
            query_heads[layer] = _on_host(of_queries)
            kv_heads[layer] = _on_host(_of_keys(heard.key[0].float()) | inner.ranks(heard))
            alpha = [
                torch.stack([metrics.sink_alpha(weights[..., k - 1], k, horizon) for k in self.positions], -1)
                for horizon in self.horizons
            ]
            sinks[layer] = _on_host({"alpha": torch.stack(alpha, -2)})

        with inner:
            out = self._run(model, ids, measure)
        groups = self._layers.group_sizes
        of_text = {"text": number}
        horizons = {
            "horizon": np.array(self.horizons, np.int32),
            "position": np.array(self.positions, np.int32),
        }
        rows = {
            "probe_kv_heads": table("probe_kv_heads", step, kv_heads, {"kv_head": None}, of_text),
            "probe_query_heads": table("probe_query_heads", step, query_heads, {"query_head": None}, of_text, groups),
            "probe_sinks": table("probe_sinks", step, sinks, {"query_head": None, **horizons}, of_text, groups),
        }
        loss = next_token_loss(out, ids)
        if loss is not None:
            frame = rows["probe_kv_heads"][["step", "text"]].head(1).assign(loss=np.float32(loss))
            rows["probe_loss"] = frame.reset_index(drop=True)
        return rows, inner.energy()

    def _of_repeated(self, model: nn.Module, ids: Tensor, step: int, number: int) -> dict[str, Any]:
        period = ids.shape[1] // 2
        found: dict[int, dict[str, np.ndarray]] = {}

        def measure(heard: Heard) -> None:
            whole = heard.weights()[0]
            scores = {name: score(whole, period) for name, score in metrics.OF_REPEATED.items()}
            found[self._layers.number(heard)] = _on_host(scores)

        self._run(model, ids, measure)
        groups = self._layers.group_sizes
        return {
            "probe_induction": table("probe_induction", step, found, {"query_head": None}, {"text": number}, groups)
        }

    def _patterns(self, model: nn.Module, device: torch.device) -> np.ndarray:
        """Lower triangles row by row, weight 1 as 255: [1, text, layer, query_head, cell], shorter texts filled up with 0."""
        longest = max(len(text.tokens) for text in self.shown)
        cells = longest * (longest + 1) // 2
        layers = self._layers
        found = np.zeros((1, len(self.shown), layers.n_layers, layers.n_query_heads, cells), np.uint8)
        for number, text in enumerate(self.shown):

            def measure(heard: Heard, number: int = number) -> None:
                whole = heard.weights()[0]
                row, column = torch.tril_indices(whole.shape[-1], whole.shape[-1])
                triangle = (whole.cpu()[..., row, column] * 255).round().to(torch.uint8).numpy()
                found[0, number, layers.number(heard), : len(triangle), : triangle.shape[-1]] = triangle

            self._run(model, text.ids.to(device), measure)
        return found


class _Before:
    """What passes into and out of the key norms of one text, for as long as the context is open."""

    def __init__(self, model: nn.Module, layers: Layers) -> None:
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}
        self._energy: dict[int, np.ndarray] = {}
        self._layers = layers
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._norms = {
            layer: norm
            for layer, place in layers.modules(model).items()
            if (norm := norm_in(place, KEY_NORMS)) is not None
        }

    def __enter__(self) -> "_Before":
        for layer, norm in self._norms.items():
            self._handles.append(norm.register_forward_hook(self._hook(layer)))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, layer: int) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
                self._seen[layer] = (args[0].detach().float(), output.detach().float())

        return keep

    def ranks(self, heard: Heard) -> dict[str, Tensor]:
        """Dimensions of keys before RoPE, where the model has a norm just before it; the layer's energy is kept."""
        layer = self._layers.number(heard)
        if layer not in self._seen:
            return {}
        before, after = (heads_of(x, heard.n_kv_heads, heard.key.shape[2]) for x in self._seen.pop(layer))
        if before is None or after is None or before.shape != heard.key.shape:
            return {}
        self._energy[layer] = metrics.energy(before[0]).mean(-2).double().cpu().numpy()
        return _ranks(after[0])

    def energy(self) -> dict[int, np.ndarray]:
        """[kv_head, d_head] of every layer whose norm was seen."""
        return self._energy


def _first_keys(heard: Heard, n: int) -> int:
    return min(n, heard.key.shape[2])


def _attention(heard: Heard, separator: Tensor | None, n_first: int) -> tuple[dict[str, Tensor], Tensor]:
    """Every column of ``probe_query_heads`` of one text, and the weights on its first keys, [query_head, query, key]."""
    n_queries = heard.query.shape[2]
    norm = metrics.vector_norm(heard.key.float())[..., None]
    # every key turned to the layer's mean length: what the directions alone would make of attention
    rescaled = dataclasses.replace(heard, key=heard.key.float() * (norm.mean() / norm))
    blocks, firsts = [], []
    for first in range(0, n_queries, QUERY_BLOCK):
        queries = slice(first, min(first + QUERY_BLOCK, n_queries))
        text = slice(0, 1)
        dots = heard.dots(text, queries)
        scores, seen = heard.scores(dots, text, queries)
        weights = heard.weights_of(scores)[0]
        unknown = separator is None or len(separator) != weights.shape[-1]
        none = torch.zeros(weights.shape[-1], dtype=torch.bool, device=weights.device)
        flags = none if separator is None or unknown else separator
        rows = Rows(weights, scores[0], flags, first)
        block = {name: measure.of_queries(rows) for name, measure in metrics.OF_ATTENTION.items()}
        most = seen[0].sum(-1).to(weights).log()
        block["entropy_normalised"] = torch.where(most > 0, block["entropy"] / most.clamp_min(math.log(2)), math.nan)
        turned, _ = rescaled.scores(rescaled.dots(text, queries), text, queries)
        spread = metrics.attention_entropy(rescaled.weights_of(turned)[0])
        block["entropy_rescaled"] = torch.where(most > 0, spread / most.clamp_min(math.log(2)), math.nan)
        if unknown:
            block["separator_mass"] = torch.full_like(block["separator_mass"], math.nan)
        blocks.append(block)
        firsts.append(weights[..., :n_first])
    whole = {name: torch.cat([block[name] for block in blocks], -1) for name in blocks[0]}
    found = {name: measure.of_text(whole[name]) for name, measure in metrics.OF_ATTENTION.items()}
    found["entropy_rescaled"] = whole["entropy_rescaled"].nanmean(-1)
    return found, torch.cat(firsts, -2)


def _of_keys(keys: Tensor) -> dict[str, Tensor]:
    """Columns of ``probe_kv_heads`` of keys as attention uses them, [kv_head, token, d_head]."""
    return {"norm_mean": metrics.vector_norm(keys).mean(-1)} | {
        f"{name}_rope": value for name, value in _ranks(keys).items()
    }


def _ranks(keys: Tensor) -> dict[str, Tensor]:
    spectrum = metrics.covariance_spectrum(keys)
    return {name: rank(keys, spectrum) for name, rank in metrics.OF_KEYS.items()}


def _on_host(measured: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().float().cpu().numpy() for name, value in measured.items()}


def next_token_loss(out: Any, ids: Tensor) -> float | None:
    """Mean loss of the next token from a model's output; None where it holds no logits of every position."""
    parts = [getattr(out, "logits", None), *(out if isinstance(out, tuple) else ()), out]
    for logits in parts:
        fits = isinstance(logits, Tensor) and logits.ndim == 3 and tuple(logits.shape[:2]) == tuple(ids.shape)
        if fits and logits.shape[-1] > int(ids.max()):
            return float(nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:].to(logits.device)))
    return None
