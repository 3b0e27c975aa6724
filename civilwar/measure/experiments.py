"""What a trained model loses when keys are cut down or heads are silenced: model in, tables out.

These need weights, which are not recorded; so they run once, at the end of training, and their tables are recorded. All
are measured at evaluation: nothing is trained again, so a model that could learn to do with less is not ruled out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from civilwar.measure import metrics
from civilwar.measure.hooks import QueriesKeys, edit_head_outputs, edit_keys, watch_queries_keys
from civilwar.measure.named import on_host
from civilwar.model.decoder import Decoder
from civilwar.model.loss import next_token_loss
from civilwar.recipe.config import RunConfig
from civilwar.runs.tidy import tidy

#: Heads of one kind, as (layer, query head).
Heads = Sequence[tuple[int, int]]
MODES = ("mean", "zero")
SPOTS = ("all", "first", "separator")


class Bench:
    """The texts that experiments are scored on, and the training text that their bases and means come from."""

    def __init__(
        self,
        model: Decoder,
        config: RunConfig,
        texts: Int[Tensor, "text pos_and_next"],
        basis_texts: Int[Tensor, "batch pos"],
        repeated: Int[Tensor, "sequence twice"],
        separator_ids: Bool[Tensor, "vocab"],
        autocast: torch.autocast,
    ) -> None:
        self.model, self.config, self.autocast = model, config, autocast
        self.texts, self.basis_texts, self.repeated, self.separator_ids = texts, basis_texts, repeated, separator_ids

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Nothing is learned in here, and the model computes in the run's precision."""
        with torch.no_grad(), self.autocast:
            yield

    def score(self) -> dict[str, float]:
        """Nats per token on the held-out texts: of all tokens, of those after a separator; and the gain by repetition.

        ``induction_gain`` is the loss on the first copy of repeated random tokens minus that on the second: what the
        model makes of having seen the sequence before.
        """
        with self.ready():
            inputs, targets = self.texts[:, :-1], self.texts[:, 1:]
            loss = torch.cat([self._loss(some, wanted) for some, wanted in zip(inputs, targets, strict=True)])
            period = self.repeated.shape[1] // 2
            repeated = torch.cat([self._loss(text[:-1], text[1:]) for text in self.repeated])
        after_separator = self.separator_ids[inputs]
        return {
            "loss": float(loss.mean()),
            "separator_loss": float(loss[after_separator].mean()),
            # the target between the copies belongs to neither
            "induction_gain": float(repeated[:, : period - 1].mean() - repeated[:, period:].mean()),
        }

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return next_token_loss(self.model(inputs[None]), targets[None])

    def keys(self) -> Float[Tensor, "layer token kv_head d_head"]:
        """Keys of the training text, after their norm and before RoPE."""
        layers: list[Tensor] = []
        with self.ready(), watch_queries_keys(self.model, lambda event: layers.append(event.keys.flatten(0, 1))):
            self.model(self.basis_texts)
        return torch.stack(layers)

    def head_means(self) -> Float[Tensor, "layer query_head d_head"]:
        """What each query head adds on average over the training text."""
        layers: list[Tensor] = []

        def keep(layer: int, output: Tensor) -> Tensor:
            layers.append(output.float().mean((0, 1)))
            return output

        with self.ready(), edit_head_outputs(self.model, keep):
            self.model(self.basis_texts)
        return torch.stack(layers)


# ---------------------------------------------------------------- capacity: how many key dimensions are enough


def capacity(bench: Bench) -> pd.DataFrame:
    """Loss with only some of the keys' dimensions kept, in all layers at once: method, rank, draw, loss, separator_loss, ….

    ``directions``: each KV head's keys are projected, about their mean, on their first principal directions;
    ``random_directions``: on as many random ones, the mean kept alike. Both bases are orthonormal, the principal one from
    training text, before RoPE. ``gains``: of each layer's keys only the coordinates with the largest absolute gains stay,
    the rest are 0; ``random_dimensions``: as many random coordinates. ``full``: nothing is cut. Rank 0 leaves the mean
    key, or no key at all.
    """
    keys = bench.keys().transpose(1, 2)  # [layer, kv_head, token, d_head]
    mean = keys.mean(-2)
    centred = keys - mean[..., None, :]
    # eigenvectors, largest first
    basis = torch.linalg.eigh((centred.mT @ centred).double()).eigenvectors.flip(-1).float()
    gain = _gains(bench.model)
    d_head = keys.shape[-1]
    ranks = [0, *(r for r in bench.config.probe.capacity_ranks if r < d_head)]
    generator = torch.Generator().manual_seed(bench.config.seed)
    rows: list[dict[str, Any]] = [{"method": "full", "rank": d_head, "draw": 0} | bench.score()]

    def add(method: str, rank: int, draw: int, edit: Callable[[int, Tensor], Tensor]) -> None:
        with edit_keys(bench.model, edit):
            rows.append({"method": method, "rank": rank, "draw": draw} | bench.score())

    for rank in ranks:
        add("directions", rank, 0, _projection(mean, basis[..., :rank]))
        if gain is not None:
            add("gains", rank, 0, _selection(gain.abs().argsort(-1, descending=True)[:, :rank]))
        for draw in range(bench.config.probe.random_draws if rank else 0):
            random = torch.randn(basis.shape, generator=generator).to(basis.device)
            add("random_directions", rank, draw, _projection(mean, torch.linalg.qr(random).Q[..., :rank]))
            dealt = torch.stack([torch.randperm(d_head, generator=generator) for _ in range(len(keys))])
            add("random_dimensions", rank, draw, _selection(dealt[:, :rank].to(basis.device)))
    return pd.DataFrame(rows)


def _gains(model: Decoder) -> Float[Tensor, "layer d_head"] | None:
    norms = [block.get_submodule("attention.k_norm") for block in model.blocks]
    weights = [norm.weight.detach().float() for norm in norms if isinstance(norm, torch.nn.RMSNorm)]
    # a frozen gain prefers no dimension
    return torch.stack(weights) if weights and model.config.qk_norm == "learned" else None


def _projection(mean: Tensor, basis: Tensor) -> Callable[[int, Tensor], Tensor]:
    """Keys to mean + (key - mean) B B^T; mean [layer, kv_head, d_head], B [layer, kv_head, d_head, rank]."""

    def edit(layer: int, keys: Tensor) -> Tensor:
        apart = keys.float() - mean[layer]
        kept = torch.einsum("bphd,hdr,her->bphe", apart, basis[layer], basis[layer])
        return mean[layer] + kept

    return edit


def _selection(dimensions: Int[Tensor, "layer rank"]) -> Callable[[int, Tensor], Tensor]:
    def edit(layer: int, keys: Tensor) -> Tensor:
        kept = torch.zeros(keys.shape[-1], dtype=torch.bool, device=keys.device)
        kept[dimensions[layer]] = True
        return keys.where(kept, 0.0)

    return edit


# ---------------------------------------------------------------- ablation: what heads of one kind are for


def ablation(bench: Bench, kinds: Mapping[str, Heads]) -> pd.DataFrame:
    """Scores with the heads of one kind silenced, beside as many random heads of the same layers.

    Columns: kind, mode (``mean``: the head's average over training text in its place; ``zero``), group (``none``,
    ``kind`` or ``random``), draw, n_heads, loss, separator_loss, induction_gain. Random groups are drawn from all heads of
    a layer, those of the kind included; where the kind holds a whole layer there is nothing to compare.
    """
    means = bench.head_means()
    random = np.random.Generator(np.random.PCG64([bench.config.seed, 0xAB1A]))
    n_query_heads = means.shape[1]
    rows: list[dict[str, Any]] = [
        {"kind": "none", "mode": "none", "group": "none", "draw": 0, "n_heads": 0} | bench.score()
    ]
    for kind, heads in kinds.items():
        groups = [("kind", 0, list(heads))]
        groups += [("random", i, _like(heads, n_query_heads, random)) for i in range(bench.config.probe.random_draws)]
        for group, draw, chosen in groups:
            for mode in MODES:
                with edit_head_outputs(bench.model, _silence(chosen, means if mode == "mean" else means * 0)):
                    scores = bench.score()
                labels = {"kind": kind, "mode": mode, "group": group, "draw": draw, "n_heads": len(chosen)}
                rows.append(labels | scores)
    return pd.DataFrame(rows)


def _like(heads: Heads, n_query_heads: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """As many random heads of each layer."""
    layers = [layer for layer, _ in heads]
    return [
        (layer, int(head))
        for layer in sorted(set(layers))
        for head in random.choice(n_query_heads, layers.count(layer), replace=False)
    ]


def _silence(heads: Heads, instead: Float[Tensor, "layer query_head d_head"]) -> Callable[[int, Tensor], Tensor]:
    def edit(layer: int, output: Tensor) -> Tensor:
        chosen = [head for where, head in heads if where == layer]
        if not chosen:
            return output
        silenced = output.clone()
        silenced[:, :, chosen] = instead[layer, chosen].to(output.dtype)
        return silenced

    return edit


# ---------------------------------------------------------------- where the energy of keys lies


def key_energy(bench: Bench) -> pd.DataFrame:
    """Mean pre-gain energy of each dimension over the held-out texts: layer, kv_head, tokens, dimension, energy.

    ``tokens`` says which: all, those at the first position of a text, or separators. Mean 1 over the dimensions.
    """
    inputs = bench.texts[:, :-1]
    separator = bench.separator_ids[inputs]
    first = torch.zeros_like(separator)
    first[:, 0] = True
    layers: list[Tensor] = []

    def measure(event: QueriesKeys) -> None:
        energy = metrics.energy(event.keys_before_norm)
        layers.append(torch.stack([energy[spot].mean(0) for spot in (separator | True, first, separator)], dim=1))

    with bench.ready(), watch_queries_keys(bench.model, measure):
        bench.model(inputs)
    energies = on_host({"energy": torch.stack(layers)})
    table = tidy({"layer": None, "kv_head": None, "spot": None, "dimension": None}, energies)
    return table.assign(tokens=np.array(SPOTS)[table.pop("spot")])
