"""Measure every head on fixed held-out texts, a block of queries at a time: the snapshots.

Attention is computed from the hooked queries and keys, after RoPE and under the causal mask, as the model uses it. Query
heads and KV heads have tables of their own throughout.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from civilwar.measure import metrics
from civilwar.measure.hooks import QueriesKeys, watch_queries_keys
from civilwar.model.decoder import Decoder
from civilwar.model.loss import total_next_token_loss
from civilwar.recipe.config import ProbeConfig, RunConfig
from civilwar.runs.records import Records
from civilwar.runs.tidy import tidy, with_kv_head

PROBE_KV_COLUMNS = (
    "norm_mean",
    "coordinate_participation_ratio",
    "participation_ratio",
    "effective_rank",
    "stable_rank",
    "coordinate_participation_ratio_rope",
    "participation_ratio_rope",
    "effective_rank_rope",
    "stable_rank_rope",
)
PROBE_QUERY_COLUMNS = (
    "entropy",
    "entropy_normalised",
    "entropy_report",
    "max_weight",
    "entropy_rescaled",
    "top_logit_spread",
    "separator_mass",
    "previous_token_score",
    "nearby_mass",
)
PROBE_INDUCTION_COLUMNS = ("induction_score", "duplicate_token_score")
#: Queries measured at once: attention is never held whole for a long text, and all heads' rows of a block fit a cache.
QUERY_BLOCK = 128
#: The logit of a key in a query's future: its weight is exactly 0, and still a number once rescaled.
MASKED_LOGIT = -1e20


class Prober:
    """The snapshot stream: fixed held-out texts, one value per text, head and snapshot."""

    def __init__(self, model: Decoder, config: RunConfig, texts: "ProbeTexts") -> None:
        self._model, self._probe, self._texts = model, config.probe, texts
        self._group_size, self._sink_horizon = config.model.group_size, config.sink_horizon

    @torch.no_grad()
    def measure(self, step: int, autocast: torch.autocast) -> Records:
        """All of one snapshot's rows. ``autocast`` is the run's precision, so that the probe sees the trained model."""
        with autocast:
            texts = [self._measure_text(text) for text in self._texts.long]
            induction = self._measure_induction(self._texts.repeated)
            patterns = self._measure_patterns(self._texts.short)
        kv, query, sinks, loss = (torch.stack(parts).cpu().numpy() for parts in zip(*texts, strict=True))
        at = np.array([step], dtype=np.int32)
        head_axes: dict[str, np.ndarray | None] = {"step": at, "text": None, "layer": None, "query_head": None}
        tables = {
            "probe_loss": tidy({"step": at, "text": None}, loss[None, :, None], ("loss",)),
            "probe_kv_heads": tidy(
                {"step": at, "text": None, "layer": None, "kv_head": None}, kv[None], PROBE_KV_COLUMNS
            ),
            "probe_query_heads": self._per_query_head(tidy(head_axes, query[None], PROBE_QUERY_COLUMNS)),
            "probe_induction": self._per_query_head(
                tidy(head_axes, induction.cpu().numpy()[None], PROBE_INDUCTION_COLUMNS)
            ),
            "probe_sinks": self._sink_table(head_axes, sinks[None]),
        }
        return Records(tables, {"patterns": {"step": at, "pattern": patterns.cpu().numpy()[None]}})

    @torch.no_grad()
    def measure_shuffled(self, autocast: torch.autocast) -> pd.DataFrame:
        """The measures of attention on the same texts with their tokens in random order: text, layer, query_head, ….

        What is left there does not need the order of the text. ``sink_alpha`` is alpha_1 at `RunConfig.sink_horizon`.
        """
        generator = torch.Generator().manual_seed(0)
        orders = [torch.randperm(text.shape[0], generator=generator).to(text.device) for text in self._texts.long]
        with autocast:
            measured = [self._measure_text(text[order]) for text, order in zip(self._texts.long, orders, strict=True)]
        query = torch.stack([rows[1] for rows in measured])
        at = self._texts.horizons.index(self._sink_horizon)
        alpha = torch.stack([rows[2] for rows in measured])[..., at, self._probe.sink_positions.index(1)]
        values = torch.cat([query, alpha[..., None]], dim=-1).cpu().numpy()
        axes: dict[str, np.ndarray | None] = {"text": None, "layer": None, "query_head": None}
        return self._per_query_head(tidy(axes, values, (*PROBE_QUERY_COLUMNS, "sink_alpha")))

    def _per_query_head(self, table: pd.DataFrame) -> pd.DataFrame:
        return with_kv_head(table, self._group_size)

    def _sink_table(self, axes: dict[str, np.ndarray | None], alpha: np.ndarray) -> pd.DataFrame:
        horizons = np.array(self._texts.horizons, dtype=np.int32)
        positions = np.array(self._probe.sink_positions, dtype=np.int32)
        axes = axes | {"horizon": horizons, "position": positions}
        return self._per_query_head(tidy(axes, alpha[..., None], ("alpha",)))

    def _measure_text(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One text [context + 1]: ([layer, kv_head, column], [layer, query_head, column], alphas, loss)."""
        tokens, targets = text[None, :-1], text[None, 1:]
        separator = self._texts.separator_ids[tokens[0]]
        rows: list[tuple[Tensor, Tensor, Tensor]] = []

        def measure(event: QueriesKeys) -> None:
            rope = self._rope(event.layer)
            rows.append(_measure_layer(event, rope, separator, self._probe, self._texts.horizons))

        with watch_queries_keys(self._model, measure):
            hidden = self._model.hidden(tokens)
        kv, query, sinks = (torch.stack(parts) for parts in zip(*rows, strict=True))
        loss = total_next_token_loss(hidden, self._model.embedding.weight, targets) / targets.numel()
        return kv, query, sinks, loss

    def _rope(self, layer: int) -> nn.Module:
        return self._model.get_submodule(f"blocks.{layer}.attention.rope")

    def _per_layer(self, texts: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """What ``measure`` makes of each layer's whole attention to short texts: [text, layer, query_head, ...]."""
        layers: list[Tensor] = []

        def keep(event: QueriesKeys) -> None:
            rope = self._rope(event.layer)
            queries, keys = (rope(x).transpose(1, 2) for x in (event.queries, event.keys))
            layers.append(measure(metrics.causal_attention(metrics.attention_logits(queries, keys))))

        with watch_queries_keys(self._model, keep):
            self._model.hidden(texts)
        return torch.stack(layers, dim=1)

    def _measure_induction(self, texts: Tensor) -> Tensor:
        """[text, layer, query_head, column] of texts that repeat after half their length."""
        period = texts.shape[1] // 2
        scores = (metrics.induction_score, metrics.duplicate_token_score)
        return self._per_layer(texts, lambda whole: torch.stack([score(whole, period) for score in scores], dim=-1))

    def _measure_patterns(self, texts: Tensor) -> Tensor:
        """[text, layer, query_head, lower triangle row by row], weight 1 stored as 255."""
        row, column = torch.tril_indices(texts.shape[1], texts.shape[1], device=texts.device)
        return self._per_layer(texts, lambda whole: (whole[..., row, column] * 255).round().to(torch.uint8))


def _measure_layer(
    event: QueriesKeys, rope: nn.Module, separator: Tensor, probe: ProbeConfig, horizons: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer on one text: ([kv_head, column], [query_head, column], alpha [query_head, horizon, position])."""
    before_q, before_k = (x[0].transpose(0, 1) for x in (event.queries, event.keys))
    queries, keys = (rope(x)[0].transpose(0, 1) for x in (event.queries, event.keys))
    norm = metrics.vector_norm(keys)
    kv = torch.cat([norm.mean(-1)[:, None], *_ranks(torch.stack([before_k, keys]))], dim=-1)

    group_size = len(queries) // len(keys)
    keys_of_query_heads = keys.repeat_interleave(group_size, 0)
    # every key turned to the layer's mean length: what the directions alone would make of attention
    to_mean_norm = (norm.mean() / norm).repeat_interleave(group_size, 0)
    per_query: list[dict[str, Tensor]] = []
    n_tokens = keys.shape[-2]
    for first in range(0, n_tokens, QUERY_BLOCK):
        last = min(first + QUERY_BLOCK, n_tokens)
        visible = slice(None, last)
        logits = _logits(queries[:, first:last], keys_of_query_heads[:, visible])
        block = _measure_block(logits, to_mean_norm[:, visible], first, separator[visible], probe.sink_positions)
        per_query.append(block)
    whole = {name: torch.cat([block[name] for block in per_query], dim=-1) for name in per_query[0]}
    query = torch.stack(
        [
            whole["entropy"].mean(-1),
            metrics.normalise_entropy(whole["entropy"]).nanmean(-1),
            metrics.report_entropy(before_q, before_k, probe.report_tokens),
            whole["max_weight"].mean(-1),
            metrics.normalise_entropy(whole["entropy_rescaled"]).nanmean(-1),
            metrics.top_logit_spread(whole["top_logit"]),
            whole["separator"].mean(-1),
            whole["previous"][..., 1:].mean(-1),
            whole["nearby"].mean(-1),
        ],
        dim=-1,
    )
    alphas = [
        torch.stack([metrics.sink_alpha(whole[f"key{k}"], k, horizon) for k in probe.sink_positions], dim=-1)
        for horizon in horizons
    ]
    return kv, query, torch.stack(alphas, dim=-2)


def _logits(queries: Tensor, keys: Tensor) -> Tensor:
    """q_i . k_j / sqrt(d_head), [query_head, query, key], of queries and keys [query_head, ..., d_head].

    In memory a query's rows lie beside each other, one for each head.
    """
    n_heads, n_queries, d_head = queries.shape
    scaled = queries / math.sqrt(d_head)
    if queries.device.type == "cpu" and torch.backends.mkldnn.is_available():
        # a convolution with a kernel of one pixel and a group for each head is the same product, and oneDNN makes it: in
        # float32 nearly twice as fast as what `@` calls, where the processor is not of that library's maker
        pixels = scaled.transpose(0, 1).reshape(1, n_queries, 1, n_heads * d_head).permute(0, 3, 1, 2)
        flat = F.conv2d(pixels, keys.reshape(-1, d_head, 1, 1), groups=n_heads)
        return flat[0, :, :, 0].T.unflatten(-1, (n_heads, -1)).transpose(0, 1)
    logits = scaled.new_empty(n_queries, n_heads, keys.shape[1]).transpose(0, 1)
    return torch.bmm(scaled, keys.mT, out=logits)


def _ranks(keys: Tensor) -> Tensor:
    """Four measures of how many dimensions each cloud of keys [..., token, d_head] fills: [..., measure]."""
    spectrum = metrics.covariance_spectrum(keys)
    measures = (
        metrics.coordinate_participation_ratio(keys).mean(-1),
        metrics.participation_ratio(spectrum),
        metrics.effective_rank(spectrum),
        metrics.stable_rank(spectrum),
    )
    return torch.stack(measures, dim=-1)


def _measure_block(
    logits: Tensor, to_mean_norm: Tensor, first: int, separator: Tensor, positions: tuple[int, ...]
) -> dict[str, Tensor]:
    """Per-query values [query_head, query] of one block's logits [query_head, query, key], keys up to the block's end.

    ``to_mean_norm`` [query_head, key]: what each key's length must be multiplied with. Overwrites ``logits``.
    """
    n_queries, n_keys = logits.shape[-2:]
    # only keys of the block itself may lie in a query's future
    future = ~metrics.causal_mask(0, n_queries, n_queries, logits.device)
    # their weights come out as exactly 0, and 0 times this is 0, as it would not be with infinity
    logits[..., first:].masked_fill_(future, MASKED_LOGIT)
    top = logits.amax(-1)
    weights = _softmax(logits)
    largest = metrics.largest_weight(weights)
    previous = torch.arange(first, first + n_queries, device=logits.device) - 1
    # a key after the whole block is not looked at yet
    first_keys = F.pad(weights[..., : max(positions)], (0, max(0, max(positions) - n_keys)))
    measured = {
        "max_weight": largest,
        "top_logit": top,
        "separator": metrics.attention_mass(weights.transpose(0, 1), separator).T,
        "previous": metrics.attention_at(weights, previous),
        "nearby": metrics.nearby_mass(weights, first),
        **{f"key{k}": first_keys[..., k - 1] for k in positions},
    }
    measured["entropy"] = _entropy(weights, logits, largest, top)
    rescaled = logits.mul_(to_mean_norm[:, None])
    weights = _softmax(rescaled)
    measured["entropy_rescaled"] = _entropy(weights, rescaled, weights.amax(-1), rescaled.amax(-1))
    return measured


def _softmax(logits: Tensor) -> Tensor:
    """Over keys, in the order of memory that `_logits` leaves: any other would be a copy."""
    return logits.transpose(0, 1).softmax(-1).transpose(0, 1)


def _entropy(weights: Tensor, logits: Tensor, largest: Tensor, top: Tensor) -> Tensor:
    """-ln max_j A_j - sum_j A_j (l_j - max_k l_k), the entropy of each query without a logarithm for every key.

    ``largest`` and ``top`` are the two maxima. Both terms are at least 0 but for rounding. Overwrites ``weights``.
    """
    return (top - weights.mul_(logits).sum(-1) - largest.log()).clamp_min(0)


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
