"""Follow every head of every layer at every training step, in the forward pass that trains.

`StepTracker` leaves one small tensor per layer on the device and copies to the host only when the training loop asks for
the rows, at a checkpoint. The thorough measurements on fixed texts are `civilwar.measure.prober`'s. Query heads and KV heads
have tables of their own throughout.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from civilwar.measure import metrics
from civilwar.measure.hooks import QueriesKeys, watch_queries_keys
from civilwar.measure.named import on_host, stacked
from civilwar.model.decoder import Decoder
from civilwar.runs.records import Records
from civilwar.runs.tidy import tidy, with_kv_head


def gains(model: Decoder, which: str) -> Tensor:
    """The learned gain of every layer's ``q_norm`` or ``k_norm``, [layer, d_head]; NaN where there is no norm."""
    absent = torch.full((model.config.d_head,), math.nan, device=model.embedding.weight.device)
    norms = [block.get_submodule(f"attention.{which}") for block in model.blocks]
    return torch.stack([n.weight.detach().float() if isinstance(n, nn.RMSNorm) else absent for n in norms])


@torch.no_grad()
def summary(
    queries: Float[Tensor, "text pos query_head d_head"],
    keys: Float[Tensor, "text pos kv_head d_head"],
    keys_before_norm: Float[Tensor, "text pos kv_head d_head"],
) -> tuple[Tensor, ...]:
    """The fields of `_Seen`, of one layer in one forward pass, in float32; means over positions are still to be taken.

    It is compiled together with what makes the keys. Sums over many positions of few numbers are left to the caller: a
    compiler's would depend on the number of threads.
    """
    with torch.autocast(keys.device.type, enabled=False):
        queries, keys, keys_before_norm = queries.float(), keys.float(), keys_before_norm.float()
        return (
            metrics.vector_norm(keys),
            metrics.direction_sum(keys.transpose(1, 2)),
            keys.abs().amax((1, 3)),
            metrics.coordinate_participation_ratio(keys),
            metrics.energy(keys_before_norm).mean(1),
            metrics.vector_norm(queries),
        )


@dataclass(frozen=True)
class _Seen:
    """What a forward pass showed of a layer, or of all: nothing as large as the keys is kept until the step's end."""

    norm: Float[Tensor, "*layer text pos kv_head"]
    directions: Float[Tensor, "*layer text kv_head d_head"]
    """Sum over the text's keys of their directions."""
    max_abs: Float[Tensor, "*layer text kv_head"]
    coordinate_participation_ratio: Float[Tensor, "*layer text kv_head"]
    """Mean over the text's keys, as are the two that follow."""
    energy: Float[Tensor, "*layer text kv_head d_head"]
    query_norm: Float[Tensor, "*layer text query_head"]

    @classmethod
    @torch.no_grad()
    def of(cls, summarised: Sequence[Tensor]) -> "_Seen":
        """Of what `summary` made of one layer in one forward pass."""
        norm, directions, max_abs, ratio, energy, query_norm = summarised
        return cls(norm, directions, max_abs, ratio.mean(1), energy, query_norm.mean(1))

    @classmethod
    def joined(cls, passes: list[list["_Seen"]]) -> "_Seen":
        """Of a whole step: all layers of each pass, and the passes' texts one after another."""
        return cls(
            **{
                field.name: torch.cat(
                    [torch.stack([getattr(one, field.name) for one in layers]) for layers in passes], 1
                )
                for field in fields(cls)
            }
        )

    def key_statistics(self, separator: Tensor) -> dict[str, Tensor]:
        """[layer, kv_head] of every column of ``step_kv_heads``; ``separator`` flags [text, pos]."""
        norm = self.norm.flatten(1, 2)
        # 0.05, 0.5 and 0.95, made on the device: Python numbers would be copied there
        at = torch.linspace(0.05, 0.95, 3, device=norm.device)
        # a layer at a time, since the library takes no more than 2^24 numbers
        quantiles = torch.stack([torch.quantile(layer, at, dim=0) for layer in norm], dim=1)
        return {
            "norm_mean": norm.mean(1),
            "norm_std": norm.std(1),
            **dict(zip(("norm_q05", "norm_q50", "norm_q95"), quantiles, strict=True)),
            "norm_first": self.norm[:, :, 0].mean(1),
            "norm_separator": torch.where(separator.flatten()[:, None], norm, math.nan).nanmean(1),
            "max_abs": self.max_abs.amax(1),
            "coordinate_participation_ratio": self.coordinate_participation_ratio.mean(1),
            "key_cosine": metrics.cosine_of_direction_sum(self.directions.sum(1), norm.shape[1]),
        }

    def query_statistics(self) -> dict[str, Tensor]:
        """[layer, query_head] of every column of ``step_query_heads``; its keys are those of the KV head that it reads."""
        mean = self.query_norm.mean(1)
        key_norm = self.norm.mean((1, 2)).repeat_interleave(mean.shape[1] // self.norm.shape[-1], dim=1)
        return {"query_norm_mean": mean, "query_key_norm_ratio": mean / key_norm}


@dataclass(frozen=True)
class _Step:
    """What is kept of one step until its rows are asked for, by column; still on the device."""

    step: int
    loss: dict[str, Tensor]
    kv_heads: dict[str, Tensor]
    query_heads: dict[str, Tensor]
    energy: dict[str, Tensor]
    gain: dict[str, Tensor]


class StepTracker:
    """The every-step stream, on the training batch. Watch its forward pass, or passes, then close the step."""

    def __init__(self, model: Decoder, separator_ids: Tensor) -> None:
        self._model = model
        self._separator_ids = separator_ids
        self._passes: list[list[_Seen]] = []
        self._separator: list[Tensor] = []
        self._steps: list[_Step] = []

    @contextmanager
    def watching(self, tokens: Tensor) -> Iterator[None]:
        """Measure the queries and keys of the forward pass on ``tokens``, some texts of the batch, that happens inside."""
        layers: list[_Seen] = []

        def keep(event: QueriesKeys) -> None:
            layers.append(_Seen.of(summary(event.queries, event.keys, event.keys_before_norm)))

        with watch_queries_keys(self._model, keep):
            yield
        self._keep(tokens, layers)

    def hidden(self, tokens: Tensor) -> Tensor:
        """`Decoder.hidden` of some texts of the batch, measured on the way: as inside `watching`, without hooks."""
        hidden, layers = self._model.summarised(tokens, summary)
        self._keep(tokens, [_Seen.of(layer) for layer in layers])
        return hidden

    def _keep(self, tokens: Tensor, layers: list[_Seen]) -> None:
        self._passes.append(layers)
        self._separator.append(self._separator_ids[tokens])

    @torch.no_grad()
    def close_step(self, step: int, loss: Tensor) -> None:
        """Keep what was measured since the last step as the row of ``step``; still on the device."""
        seen = _Seen.joined(self._passes)
        self._steps.append(
            _Step(
                step=step,
                loss={"loss": loss.detach().float()},
                kv_heads=seen.key_statistics(torch.cat(self._separator)),
                query_heads=seen.query_statistics(),
                energy={"energy": seen.energy.mean(1)},
                gain={"k_gain": gains(self._model, "k_norm"), "q_gain": gains(self._model, "q_norm")},
            )
        )
        self._passes, self._separator = [], []

    def finite(self) -> bool:
        """Whether the loss and all mean key norms of the step closed last are numbers. Waits for the device."""
        row = self._steps[-1]
        return bool(torch.isfinite(row.loss["loss"]) & torch.isfinite(row.kv_heads["norm_mean"]).all())

    def take(self) -> Records:
        """Hand over the rows since the last call, as tables on the host."""
        if not self._steps:
            return Records()
        step = np.array([row.step for row in self._steps], dtype=np.int32)
        loss, kv_heads, query_heads, energy, gain = (
            on_host(stacked([getattr(row, kind) for row in self._steps]))
            for kind in ("loss", "kv_heads", "query_heads", "energy", "gain")
        )
        self._steps = []
        of_layer = {"step": step, "layer": None}
        gain_rms = {f"{name}_rms": np.sqrt(np.square(values).mean(-1)) for name, values in gain.items()}
        tables = {
            "train": pd.DataFrame({"step": step} | loss),
            "step_layers": tidy(of_layer, gain_rms),
            "step_kv_heads": tidy(of_layer | {"kv_head": None}, kv_heads),
            "step_query_heads": with_kv_head(
                tidy(of_layer | {"query_head": None}, query_heads), self._model.config.group_size
            ),
        }
        return Records(tables, {"gain": {"step": step} | gain, "energy": {"step": step} | energy})
