"""What a key norm does to keys, measured: its gain as output over normalised input, whatever its weights are stored as."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: What models call the norm of their keys, the last part of its name.
KEY_NORM = re.compile(r"^(k|key)_?(layer_?|rms_?)?(norm|layernorm|ln)$")
#: Largest difference of the same lengths before and after RoPE, over the largest length.
SAME = 1e-3
#: What modules call that which they add to the mean square.
EPS = ("eps", "variance_epsilon", "epsilon")
#: Largest deviation of gain times normalised input from the output, over the output's root mean square.
FITS = 1e-2


@dataclass(frozen=True)
class Normed:
    """What went in and out of one key norm in one call, as the module saw it."""

    name: str
    before: Tensor
    after: Tensor
    eps: float
    """What the module adds to the mean square."""


def key_norms(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that normalise keys by their qualified names, each once, in the model's order."""
    return {name: module for name, module in model.named_modules() if KEY_NORM.match(name.split(".")[-1])}


@contextmanager
def key_norms_heard(model: nn.Module, listener: Callable[[Normed], None]) -> Iterator[None]:
    """Hand every call of a key norm to ``listener``, outside autograd; then leave no trace."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def told(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            eps = next((e for which in EPS if isinstance(e := getattr(module, which, None), float)), 0.0)
            listener(Normed(name, args[0].detach(), output.detach(), eps))

        return told

    with ExitStack() as stack:
        for name, module in key_norms(model).items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield


@dataclass(frozen=True)
class KeyNorm:
    """One layer's key norm on one text: norm^2 = sum_j gain_j^2 energy_j for every key."""

    before: Float[Tensor, "batch kv_head key d_head"]
    """Keys before the norm."""
    after: Float[Tensor, "batch kv_head key d_head"]
    """Keys after it and before RoPE."""
    energy: Float[Tensor, "batch kv_head key d_head"]
    """Squares of the normalised keys before the gain."""
    gain: Float[Tensor, "kv_head d_head"]
    """What the normalised keys are multiplied with; NaN where the norm does something else."""


def key_norm(normed: Normed, used: Float[Tensor, "batch kv_head key d_head"]) -> KeyNorm | None:
    """The norm's effect by head, its axes told by the keys that attention then ``used``; None where they cannot be.

    A norm may see [batch, key, kv_head, d_head], [batch, kv_head, key, d_head], or all heads of a key as one vector. Lengths
    decide, which RoPE leaves alone (or changes by one factor): sizes alone would take as many tokens as heads for heads.
    """
    axes = _axes(normed.after, used)
    if axes is None:
        return None
    after, before = axes(normed.after, used), axes(normed.before, used)
    if after is None or before is None:
        return None
    normalised, gain = _gain(before, after, axes is _one_vector, normed.eps)
    return KeyNorm(before, after, normalised.square(), gain.expand(used.shape[1], -1))


def heads_first(after: Tensor, used: Float[Tensor, "batch kv_head key d_head"]) -> bool:
    """Whether a key norm that gave ``after`` saw heads before positions, by the keys that attention then used."""
    return _axes(after, used) is _heads_first


def _axes(after: Tensor, used: Tensor) -> Callable[[Tensor, Tensor], Tensor | None] | None:
    length = torch.linalg.vector_norm(used.float(), dim=-1)
    fits = []
    for by_head in (_positions_first, _heads_first, _one_vector):
        keys = by_head(after, used)
        if keys is None:
            continue
        ours = torch.linalg.vector_norm(keys, dim=-1)
        factor = (ours * length).sum() / length.square().sum()
        if (ours - factor * length).abs().max() < SAME * ours.max():
            fits.append(by_head)
    if len(fits) > 1:
        # every key as long as every other: but RoPE leaves the first as it is
        first = used[:, :, 0].float()
        fits = [by_head for by_head in fits if _parallel(by_head(after, used), first)]
    return fits[0] if len(fits) == 1 else None


def _parallel(keys: Tensor | None, first: Tensor) -> bool:
    """Whether each text's first keys point where attention's did."""
    return keys is not None and bool((torch.cosine_similarity(keys[:, :, 0], first, dim=-1) > 1 - SAME).all())


def _positions_first(x: Tensor, used: Tensor) -> Tensor | None:
    batch, heads, n, width = used.shape
    return x.transpose(1, 2).float() if x.shape == (batch, n, heads, width) else None


def _heads_first(x: Tensor, used: Tensor) -> Tensor | None:
    return x.float() if x.shape == used.shape else None


def _one_vector(x: Tensor, used: Tensor) -> Tensor | None:
    batch, heads, n, width = used.shape
    return x.float().unflatten(-1, (heads, width)).transpose(1, 2) if x.shape == (batch, n, heads * width) else None


def _gain(before: Tensor, after: Tensor, whole: bool, eps: float) -> tuple[Tensor, Tensor]:
    """(normalised input, gain by head and dimension): the root mean square's or the standard deviation's, whichever fits."""
    axes = (1, 3) if whole else (3,)
    for x in (before, before - before.mean(axes, keepdim=True)):
        normalised = _over_rms(x, axes, eps)
        # by least squares over tokens, for every head by itself
        gain = (after * normalised).sum((0, 2)) / normalised.square().sum((0, 2))
        off = (after - gain[:, None] * normalised).square().mean().sqrt()
        if off < FITS * after.square().mean().sqrt():
            return normalised, gain
    return _over_rms(before, axes, 0.0), torch.full_like(before[0, :, 0], torch.nan)


def _over_rms(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """A zero vector, as padding's embedding gives, stays one."""
    mean = x.square().mean(axes, keepdim=True) + eps
    return x * torch.rsqrt(mean.clamp_min(torch.finfo(x.dtype).tiny))
