"""The usual way of tracking heads while training: the baseline that `benchmarks/training.py` compares with.

Everything in float32, the batch in one piece, logits whole; after each forward pass a Python loop over layers and heads
that computes each measure by itself and fetches it with ``.item()``. It records what the package's tracker records.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from civilwar.model.decoder import Decoder


def loss(model: Decoder, inputs: Tensor, targets: Tensor, precision: str) -> Tensor:
    """Mean cross-entropy by plain PyTorch: all logits at once, and once more in float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-autocast"):
        logits = model(inputs)
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


@contextmanager
def tracking(model: Decoder, separator: Tensor, rows: list[dict[str, float]]) -> Iterator[None]:
    """Keep every norm's output, and go through them head by head at the end."""
    kept: dict[tuple[int, str], Tensor] = {}
    before: dict[int, Tensor] = {}
    handles = []

    def hook(layer: int, which: str) -> torch.utils.hooks.RemovableHandle:
        def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            kept[layer, which] = output.detach().clone()
            if which == "k":
                before[layer] = args[0].detach().clone()

        norm: nn.Module = model.get_submodule(f"blocks.{layer}.attention.{which}_norm")
        return norm.register_forward_hook(keep)

    handles = [hook(layer, which) for layer in range(len(model.blocks)) for which in "qk"]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for layer in range(len(model.blocks)):
        keys, queries = kept[layer, "k"], kept[layer, "q"]
        for head in range(keys.shape[2]):
            rows.append(
                {"layer": layer, "kv_head": head} | _of_keys(keys[:, :, head], before[layer][:, :, head], separator)
            )
        group = queries.shape[2] // keys.shape[2]
        for head in range(queries.shape[2]):
            norm = queries[:, :, head].norm(dim=-1).mean().item()
            key_norm = keys[:, :, head // group].norm(dim=-1).mean().item()
            rows.append({"layer": layer, "query_head": head, "norm_mean": norm, "ratio": norm / key_norm})


def _of_keys(keys: Tensor, before: Tensor, separator: Tensor) -> dict[str, float]:
    norm = keys.norm(dim=-1)
    flat = keys.flatten(0, 1)
    unit = flat / flat.norm(dim=-1, keepdim=True)
    n = len(unit)
    squared = flat.square()
    found = {
        "norm_mean": norm.mean().item(),
        "norm_std": norm.std().item(),
        "norm_first": norm[:, 0].mean().item(),
        "norm_separator": norm[separator].mean().item(),
        "max_abs": keys.abs().max().item(),
        "coordinate_participation_ratio": (squared.sum(-1).square() / squared.square().sum(-1)).mean().item(),
        "key_cosine": ((unit.sum(0).square().sum() - n) / (n * (n - 1))).item(),
    }
    for quantile in (0.05, 0.5, 0.95):
        found[f"norm_q{quantile}"] = norm.flatten().quantile(quantile).item()
    energy = before.square() / before.square().mean(-1, keepdim=True)
    for dimension, share in enumerate(energy.mean((0, 1))):
        found[f"energy_{dimension}"] = share.item()
    return found
