"""Whether what was heard is what the model did: attention computed from it, against what the model's own call returned."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.hearing import Unheard
from civilwar.hear.modes import evaluating

#: Rounding that an attention function may add, by the type it computes in, over its output's largest entry.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
#: Tokens of a text that the check takes: attention is held whole.
LONGEST = 256


def deviation(heard: Heard, real: Bool[Tensor, "batch query"] | None = None) -> float:
    """max |sum_j A_ij v_j - output_i| / max |output|, A from `Heard.weights`; NaN where a door hears no output or values.

    Queries that are padding or may see nothing are left out. Only of short texts, and without dropout.
    """
    if heard.output is None or heard.value is None:
        return float("nan")
    text, queries = slice(0, heard.query.shape[0]), slice(0, heard.query.shape[2])
    scores, seen = heard.scores(heard.dots(text, queries), text, queries)
    weights = heard.weights_of(scores)
    own = heard.output.to(weights.dtype)
    group = heard.n_query_heads // heard.value.shape[1]
    ours = weights @ heard.value.to(weights.dtype).repeat_interleave(group, 1)
    kept = seen.any(-1)
    padding = real if real is not None else heard.allowed.real
    if padding is not None and padding.shape[1] == heard.query.shape[2]:
        kept = kept & padding[:, None]
    if not kept.any():
        return 0.0
    off = (ours - own).abs().amax(-1)[kept].max()
    return float(off / own[kept].abs().max().clamp_min(torch.finfo(torch.float32).tiny))


def check(heard: Heard) -> float:
    """`deviation`; raises Unheard with the layer's name where it is more than rounding."""
    off = deviation(heard)
    if off > TOLERANCE.get(heard.query.dtype, TOLERANCE[torch.bfloat16]) or off == float("inf"):
        raise Unheard(
            f"{heard.name}: attention computed from its queries and keys gives an output {off:.1g} off the model's own (over "
            "its largest entry), so this layer does something to its attention that is not heard: hand over the queries and "
            "keys as its softmax uses them with observe(q, k, layer=...), or hear the model with unheard='ignore'."
        )
    return off


def self_check(model: nn.Module, *args: object, **kwargs: object) -> dict[str, float]:
    """Call ``model`` once in evaluation mode and `check` every attention call. Returns deviations by the call's name.

    Give it one short text, `LONGEST` tokens at most. Raises Unheard where attention is not heard, or heard wrongly.
    """
    found: dict[str, float] = {}
    with evaluating(model), hear(model, lambda heard: found.update({heard.name: check(heard)}), evaluation=True):
        model(*args, **kwargs)
    return found
