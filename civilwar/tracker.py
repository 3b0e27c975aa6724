"""Follow every head of every layer at every training step, in the forward pass that trains.

`StepTracker` leaves one small tensor per layer on the device and copies to the host only when the training loop asks for
the rows, at a checkpoint. The thorough measurements on fixed texts are `civilwar.prober`'s. Query heads and KV heads have
tables of their own throughout.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from civilwar import metrics
from civilwar.hooks import QueriesKeys, watch_queries_keys
from civilwar.model import Decoder
from civilwar.runs import Records
from civilwar.tidy import tidy, with_kv_head

#: Columns of the every-step table of KV heads, in the order in which `_key_statistics` stacks them.
STEP_KV_COLUMNS = (
    "norm_mean",
    "norm_std",
    "norm_q05",
    "norm_q50",
    "norm_q95",
    "norm_first",
    "norm_separator",
    "max_abs",
    "coordinate_participation_ratio",
    "key_cosine",
)
STEP_QUERY_COLUMNS = ("query_norm_mean", "query_key_norm_ratio")


def _key_statistics(keys: Tensor, separator: Tensor) -> Tensor:
    """[kv_head, statistic] of one layer's keys [batch, pos, kv_head, d_head], ``separator`` flags [batch, pos]."""
    flat = keys.flatten(0, 1)
    norm = metrics.vector_norm(flat)
    # 0.05, 0.5 and 0.95, made on the device: Python numbers would be copied there, layer by layer
    quantiles = torch.quantile(norm, torch.linspace(0.05, 0.95, 3, device=norm.device), dim=0)
    at_separator = torch.where(separator.flatten()[:, None], norm, math.nan).nanmean(0)
    return torch.stack(
        [
            norm.mean(0),
            norm.std(0),
            *quantiles,
            metrics.vector_norm(keys[:, 0]).mean(0),
            at_separator,
            flat.abs().amax((0, 2)),
            metrics.coordinate_participation_ratio(flat).mean(0),
            metrics.mean_pairwise_cosine(flat.transpose(0, 1)),
        ],
        dim=-1,
    )


def _query_statistics(query_norm: Tensor, keys: Tensor) -> Tensor:
    """[query_head, statistic]: mean query norm, and its ratio to the mean norm of the head's own keys."""
    mean = query_norm.mean((0, 1))
    key_norm = metrics.vector_norm(keys).mean((0, 1)).repeat_interleave(query_norm.shape[2] // keys.shape[2])
    return torch.stack([mean, mean / key_norm], dim=-1)


def gains(model: Decoder, which: str) -> Tensor:
    """The learned gain of every layer's ``q_norm`` or ``k_norm``, [layer, d_head]; NaN where there is no norm."""
    absent = torch.full((model.config.d_head,), math.nan, device=model.embedding.weight.device)
    norms = [block.get_submodule(f"attention.{which}") for block in model.blocks]
    return torch.stack([n.weight.detach().float() if isinstance(n, nn.RMSNorm) else absent for n in norms])


@dataclass(frozen=True)
class _Pass:
    """What one forward pass showed of one layer: the texts come first in each."""

    keys: Float[Tensor, "batch pos kv_head d_head"]
    query_norm: Float[Tensor, "batch pos query_head"]
    energy: Float[Tensor, "batch 1 kv_head d_head"]
    """Mean over the text's positions."""


class StepTracker:
    """The every-step stream, on the training batch. Watch its forward pass, or passes, then close the step."""

    def __init__(self, model: Decoder, separator_ids: Tensor) -> None:
        self._model = model
        self._separator_ids = separator_ids
        self._passes: list[list[_Pass]] = []
        self._separator: list[Tensor] = []
        self._steps: list[dict[str, Any]] = []

    @contextmanager
    def watching(self, tokens: Tensor) -> Iterator[None]:
        """Measure the queries and keys of the forward pass on ``tokens``, some texts of the batch, that happens inside."""
        layers: list[_Pass] = []

        def keep(event: QueriesKeys) -> None:
            # keys are kept whole, since quantiles and pairs need all of a batch's; the others by what is asked of them
            energy = metrics.energy(event.keys_before_norm)
            layers.append(_Pass(event.keys, metrics.vector_norm(event.queries), energy.mean(1, keepdim=True)))

        with watch_queries_keys(self._model, keep):
            yield
        self._passes.append(layers)
        self._separator.append(self._separator_ids[tokens])

    @torch.no_grad()
    def close_step(self, step: int, loss: Tensor) -> None:
        """Keep what was measured since the last step as the row of ``step``; still on the device."""
        separator = torch.cat(self._separator)
        key, query, energy = [], [], []
        for passes in zip(*self._passes, strict=True):
            keys = torch.cat([one.keys for one in passes])
            key.append(_key_statistics(keys, separator))
            query.append(_query_statistics(torch.cat([one.query_norm for one in passes]), keys))
            energy.append(torch.cat([one.energy for one in passes]).mean((0, 1)))
        self._steps.append(
            {
                "step": step,
                "loss": loss.detach().float(),
                "key": torch.stack(key),
                "query": torch.stack(query),
                "energy": torch.stack(energy),
                "k_gain": gains(self._model, "k_norm"),
                "q_gain": gains(self._model, "q_norm"),
            }
        )
        self._passes, self._separator = [], []

    def take(self) -> Records:
        """Hand over the rows since the last call, as tables on the host."""
        if not self._steps:
            return Records()
        step = np.array([row["step"] for row in self._steps], dtype=np.int32)
        stacked = {
            name: torch.stack([row[name] for row in self._steps]).cpu().numpy()
            for name in ("loss", "key", "query", "energy", "k_gain", "q_gain")
        }
        self._steps = []
        gain_rms = {f"{which}_gain_rms": np.sqrt(np.square(stacked[f"{which}_gain"]).mean(-1)) for which in ("k", "q")}
        tables = {
            "train": pd.DataFrame({"step": step, "loss": stacked["loss"]}),
            "step_layers": tidy({"step": step, "layer": None}, np.stack(list(gain_rms.values()), -1), tuple(gain_rms)),
            "step_kv_heads": tidy({"step": step, "layer": None, "kv_head": None}, stacked["key"], STEP_KV_COLUMNS),
            "step_query_heads": with_kv_head(
                tidy({"step": step, "layer": None, "query_head": None}, stacked["query"], STEP_QUERY_COLUMNS),
                self._model.config.group_size,
            ),
        }
        arrays = {
            "gain": {"step": step, "k_gain": stacked["k_gain"], "q_gain": stacked["q_gain"]},
            "energy": {"step": step, "energy": stacked["energy"]},
        }
        return Records(tables, arrays)
