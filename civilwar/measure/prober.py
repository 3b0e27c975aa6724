"""Measure every head on fixed held-out texts: the snapshots.

Attention is computed from the hooked queries and keys, after RoPE and under the causal mask, as the model uses it. Every
measurement carries its column's name from where it is made to the table. Query heads and KV heads have tables of their own
throughout.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from civilwar.measure import kernels, metrics
from civilwar.measure.hooks import QueriesKeys, watch_queries_keys
from civilwar.measure.named import on_host, stacked
from civilwar.model.decoder import Decoder
from civilwar.model.loss import total_next_token_loss
from civilwar.recipe.config import ProbeConfig, RunConfig
from civilwar.runs.records import Records
from civilwar.runs.schema import TABLES
from civilwar.runs.tidy import tidy, with_kv_head

#: Axes of a table by name: their labels, or None where they count from 0.
Axes = dict[str, np.ndarray | None]


@dataclass(frozen=True)
class _Layer:
    """What one text shows of a layer, by column; `_joined` puts layers, then texts, in front."""

    kv_heads: Mapping[str, Tensor]
    """[kv_head] of every column of ``probe_kv_heads``."""
    query_heads: Mapping[str, Tensor]
    """[query_head] of every column of ``probe_query_heads``."""
    alpha: Tensor
    """[query_head, horizon, position]."""


def _joined(parts: list[_Layer]) -> _Layer:
    return _Layer(
        stacked([part.kv_heads for part in parts]),
        stacked([part.query_heads for part in parts]),
        torch.stack([part.alpha for part in parts]),
    )


class Prober:
    """The snapshot stream: fixed held-out texts, one value per text, head and snapshot."""

    def __init__(self, model: Decoder, config: RunConfig, texts: "ProbeTexts", by_convolution: bool = False) -> None:
        self._by_convolution = by_convolution
        self._model, self._probe, self._texts = model, config.probe, texts
        self._group_size, self._sink_horizon = config.model.group_size, config.sink_horizon

    @torch.no_grad()
    def measure(self, step: int, autocast: torch.autocast) -> Records:
        """All of one snapshot's rows. ``autocast`` is the run's precision, so that the probe sees the trained model."""
        with autocast:
            layers, losses = zip(*(self._measure_text(text) for text in self._texts.long), strict=True)
            repeated = self._measure_repeated(self._texts.repeated)
            patterns = self._measure_patterns(self._texts.short)
        texts = _joined(list(layers))
        at = np.array([step], dtype=np.int32)
        of_text: Axes = {"step": at, "text": None}
        of_query_head: Axes = of_text | {"layer": None, "query_head": None}
        tables = {
            "probe_loss": tidy(of_text, _once({"loss": torch.stack(losses)})),
            "probe_kv_heads": tidy(of_text | {"layer": None, "kv_head": None}, _once(texts.kv_heads)),
            "probe_query_heads": self._per_query_head(of_query_head, _once(texts.query_heads)),
            "probe_induction": self._per_query_head(of_query_head, _once(repeated)),
            "probe_sinks": self._per_query_head(of_query_head | self._sink_axes(), _once({"alpha": texts.alpha})),
        }
        return Records(tables, {"patterns": {"step": at, **_once(patterns)}})

    @torch.no_grad()
    def measure_shuffled(self, autocast: torch.autocast) -> pd.DataFrame:
        """The measures of attention on the same texts with their tokens in random order: text, layer, query_head, ….

        What is left there does not need the order of the text. ``sink_alpha`` is alpha_1 at `RunConfig.sink_horizon`.
        """
        generator = torch.Generator().manual_seed(0)
        orders = [torch.randperm(text.shape[0], generator=generator).to(text.device) for text in self._texts.long]
        with autocast:
            measured = [self._measure_text(text[order]) for text, order in zip(self._texts.long, orders, strict=True)]
        texts = _joined([layers for layers, _ in measured])
        at = self._texts.horizons.index(self._sink_horizon)
        alpha = texts.alpha[..., at, self._probe.sink_positions.index(1)]
        axes: Axes = {"text": None, "layer": None, "query_head": None}
        return self._per_query_head(axes, on_host({**texts.query_heads, "sink_alpha": alpha}))

    def _per_query_head(self, axes: Axes, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
        return with_kv_head(tidy(axes, columns), self._group_size)

    def _sink_axes(self) -> Axes:
        return {
            "horizon": np.array(self._texts.horizons, dtype=np.int32),
            "position": np.array(self._probe.sink_positions, dtype=np.int32),
        }

    def _measure_text(self, text: Tensor) -> tuple[_Layer, Tensor]:
        """All layers on one text [context + 1], and its mean loss."""
        tokens, targets = text[None, :-1], text[None, 1:]
        separator = self._texts.separator_ids[tokens[0]]
        layers: list[_Layer] = []

        def measure(event: QueriesKeys) -> None:
            rope = self._rope(event.layer)
            layers.append(
                _measure_layer(event, rope, separator, self._probe, self._texts.horizons, self._by_convolution)
            )

        with watch_queries_keys(self._model, measure):
            hidden = self._model.hidden(tokens)
        loss = total_next_token_loss(hidden, self._model.embedding.weight, targets) / targets.numel()
        return _joined(layers), loss

    def _rope(self, layer: int) -> nn.Module:
        return self._model.get_submodule(f"blocks.{layer}.attention.rope")

    def _per_layer(self, texts: Tensor, measure: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What ``measure`` makes of each layer's whole attention to short texts: [text, layer, query_head, ...] by name."""
        layers: list[dict[str, Tensor]] = []

        def keep(event: QueriesKeys) -> None:
            rope = self._rope(event.layer)
            queries, keys = (rope(x).transpose(1, 2) for x in (event.queries, event.keys))
            layers.append(measure(metrics.causal_attention(metrics.attention_logits(queries, keys))))

        with watch_queries_keys(self._model, keep):
            self._model.hidden(texts)
        return stacked(layers, dim=1)

    def _measure_repeated(self, texts: Tensor) -> dict[str, Tensor]:
        """Every column of ``probe_induction``, of texts that repeat after half their length."""
        period = texts.shape[1] // 2
        return self._per_layer(
            texts, lambda whole: {name: score(whole, period) for name, score in metrics.OF_REPEATED.items()}
        )

    def _measure_patterns(self, texts: Tensor) -> dict[str, Tensor]:
        """The lower triangle of attention row by row, weight 1 stored as 255."""
        row, column = torch.tril_indices(texts.shape[1], texts.shape[1], device=texts.device)
        return self._per_layer(
            texts, lambda whole: {"pattern": (whole[..., row, column] * 255).round().to(torch.uint8)}
        )


def _once(measured: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Measurements of one snapshot on the host, with an axis for its step in front."""
    return {name: values[None] for name, values in on_host(measured).items()}


def _measure_layer(
    event: QueriesKeys,
    rope: nn.Module,
    separator: Tensor,
    probe: ProbeConfig,
    horizons: tuple[int, ...],
    by_convolution: bool,
) -> _Layer:
    """One layer on one text."""
    before_q, before_k = (x[0].transpose(0, 1) for x in (event.queries, event.keys))
    queries, keys = (rope(x)[0].transpose(0, 1) for x in (event.queries, event.keys))
    kv_heads = {"norm_mean": metrics.vector_norm(keys).mean(-1)}
    both = torch.stack([before_k, keys])
    spectrum = metrics.covariance_spectrum(both)
    ranks = {name: rank(both, spectrum) for name, rank in metrics.OF_KEYS.items()}
    for at, suffix in enumerate(("", "_rope")):
        kv_heads |= {f"{name}{suffix}": rank[at] for name, rank in ranks.items()}

    of_queries = kernels.attention_of_queries(queries, keys, separator, max(probe.sink_positions), by_convolution)
    query_heads = {name: measure.of_text(of_queries[name]) for name, measure in metrics.OF_ATTENTION.items()}
    query_heads["entropy_rescaled"] = of_queries["entropy_rescaled"].nanmean(-1)
    query_heads["entropy_report"] = metrics.report_entropy(before_q, before_k, probe.report_tokens)
    alphas = [
        torch.stack([metrics.sink_alpha(of_queries[f"key{k}"], k, horizon) for k in probe.sink_positions], dim=-1)
        for horizon in horizons
    ]
    return _Layer(kv_heads, _in_order("probe_query_heads", query_heads), torch.stack(alphas, dim=-2))


def _in_order(table: str, measured: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Measurements in the order of the schema's columns; what it does not declare comes last, and is refused on writing."""
    names = dict.fromkeys((*TABLES[table].measured, *measured))
    return {name: measured[name] for name in names if name in measured}


class ProbeTexts:
    """The texts every snapshot is measured on, on the model's device. They depend on the corpus alone, not the seed."""

    def __init__(
        self, long: Tensor, short: Tensor, separator_ids: Tensor, config: RunConfig, device: torch.device
    ) -> None:
        self.long, self.short = long.to(device), short.to(device)
        self.separator_ids = separator_ids.to(device)
        self.horizons = tuple(h for h in config.probe.sink_horizons if h <= config.model.context)
        self.repeated = _repeated_random_tokens(config).to(device)

    def uniform_baselines(self) -> dict[str, Any]:
        """What uniform causal attention would score on these texts: the null of each attention measure."""
        n = self.long.shape[1] - 1
        position = np.arange(1, n + 1)
        separator = self.separator_ids[self.long[:, :-1]].cpu().numpy()
        period = self.repeated.shape[1] // 2
        return {
            "entropy": float(np.log(position).mean()),
            "max_weight": float((1 / position).mean()),
            "previous_token_score": float((1 / position[1:]).mean()),
            "nearby_mass": float(np.r_[1.0, (np.minimum(position[1:], metrics.NEARBY) - 1) / position[1:]].mean()),
            # the same for both scores on repeated tokens: one key of i
            "induction_score": float((1 / np.arange(period + 1, 2 * period + 1)).mean()),
            "separator_mass": [float((np.cumsum(flags) / position).mean()) for flags in separator],
        }


def _repeated_random_tokens(config: RunConfig) -> Tensor:
    """Uniformly random tokens, each sequence followed by itself: [text, 2 * period]. The same in every run."""
    period = min(config.model.context // 2, 128)
    generator = torch.Generator().manual_seed(0)
    once = torch.randint(1, config.model.vocab_size, (config.probe.n_repeated, period), generator=generator)
    return torch.cat([once, once], dim=1)
