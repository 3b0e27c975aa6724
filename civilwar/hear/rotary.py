"""How a layer turns its keys by position: frequencies that the model holds, taken where they explain its own keys."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

#: Largest deviation of turned keys from those that attention used, over their root mean square.
FITS = 1e-2
#: How pairs lie in a vector: of the dimensions that are turned, i with i + half of them, or 2 i with 2 i + 1.
LAYOUTS = ("halves", "neighbours")


@dataclass(frozen=True)
class Rotary:
    """What RoPE does to the keys of one layer."""

    rank: Int[Tensor, "d_head"]
    """Frequency rank of each dimension's pair, 0 is the fastest; d_head / 2, one more than any, where it is not turned."""
    wavelength: Float[Tensor, "half"]
    """Tokens a turn of the pair of each rank; NaN where there are fewer pairs."""


def frequencies(model: nn.Module) -> dict[str, Float[Tensor, "pair"]]:
    """Radians a token of every pair, by the name of the buffer that holds them: what models call ``...inv_freq``."""
    return {
        name: buffer.detach().double().cpu().flatten()
        for name, buffer in model.named_buffers()
        if name.endswith("inv_freq") and buffer.numel() and not buffer.is_meta
    }


def rotary(
    before: Float[Tensor, "batch kv_head key d_head"],
    used: Float[Tensor, "batch kv_head key d_head"],
    held: dict[str, Float[Tensor, "pair"]],
) -> Rotary | None:
    """Which of the frequencies that the model holds, in which layout, makes ``used`` of ``before``; None where none does.

    Keys are of tokens 0, 1, 2, ... A layer that leaves its keys as they are turns none. YaRN's one factor for all of a
    turned vector is allowed for.
    """
    width, n = used.shape[-1], used.shape[2]
    before, used = before.double().cpu(), used.double().cpu()
    if _near(before, used):
        return Rotary(torch.full((width,), width // 2), torch.full((width // 2,), torch.nan).double())
    position = torch.arange(n, dtype=torch.float64)
    for frequency in held.values():
        turned = 2 * len(frequency)
        if turned > width:
            continue
        for layout in LAYOUTS:
            # turned dimensions lead or, where attention puts them behind what carries no position, close the vector
            for first in {0, width - turned}:
                pair = _pairs(turned, layout)
                ours = _turn(before[..., first : first + turned], frequency, position, pair)
                theirs = used[..., first : first + turned]
                factor = (ours * theirs).sum() / ours.square().sum()
                still = [slice(0, first), slice(first + turned, width)]
                if _near(factor * ours, theirs) and all(_near(before[..., s], used[..., s]) for s in still):
                    order = torch.argsort(torch.argsort(-frequency, stable=True), stable=True)
                    rank = torch.full((width,), width // 2)
                    rank[first : first + turned] = order[pair]
                    wavelength = torch.full((width // 2,), torch.nan).double()
                    wavelength[: len(frequency)] = (2 * torch.pi / frequency).sort().values
                    return Rotary(rank, wavelength)
    return None


def _pairs(turned: int, layout: str) -> Int[Tensor, "turned"]:
    """Which pair each of the turned dimensions belongs to."""
    half = torch.arange(turned // 2)
    return half.repeat(2) if layout == "halves" else half.repeat_interleave(2)


def _turn(
    x: Float[Tensor, "batch kv_head key turned"],
    frequency: Float[Tensor, "pair"],
    position: Float[Tensor, "key"],
    pair: Int[Tensor, "turned"],
) -> Float[Tensor, "batch kv_head key turned"]:
    angle = position[:, None] * frequency[pair]
    # of each dimension the other of its pair, with the sign that a turn gives it
    order = torch.argsort(pair, stable=True).unflatten(0, (-1, 2))
    other = torch.empty_like(pair)
    other[order[:, 0]], other[order[:, 1]] = order[:, 1], order[:, 0]
    sign = torch.ones(len(pair), dtype=x.dtype)
    sign[order[:, 0]] = -1
    return x * angle.cos() + sign * x[..., other] * angle.sin()


def _near(ours: Tensor, theirs: Tensor) -> bool:
    if not theirs.numel():
        return True
    return bool((ours - theirs).square().mean().sqrt() <= FITS * theirs.square().mean().sqrt())
