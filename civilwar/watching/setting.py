"""What a model is before anything of its training was heard: its layers checked on one text, its gains, its probe."""

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from civilwar.hear.check import check
from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.modes import evaluating
from civilwar.hear.names import unwrapped
from civilwar.recipe.watched import WatchedConfig, WatchedModel, WatchedProbe
from civilwar.watching.layers import Layers
from civilwar.watching.norms import KEY_NORMS, QUERY_NORMS, effective_gain, norm_in
from civilwar.watching.probe import Forward, Probe
from civilwar.watching.schedule import Schedule
from civilwar.watching.texts import Text, context_of, repeated_tokens, uniform_baselines, vocabulary_of


def runnable(model: nn.Module) -> nn.Module:
    """The model to evaluate: without the wrappers that only change how it trains."""
    while True:
        inside = model._modules.get("_orig_mod")
        if inside is None and type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
            inside = model._modules.get("module")
        if inside is None:
            return model
        model = inside


def listen_once(model: nn.Module, text: Text, forward: Forward) -> list[Heard]:
    """Every attention call of one text. Raises Unheard, naming the layer, where attention is not what was recomputed."""
    device = device_of(model)
    found: list[Heard] = []
    with evaluating(model), hear(model, found.append, evaluation=True, unheard="ignore"):
        forward(model, text.ids.to(device))
        for heard in found:
            check(heard)
    return found


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes. Raises ValueError where its weights are nowhere."""
    devices = {parameter.device for parameter in model.parameters()}
    if any(device.type == "meta" for device in devices):
        raise ValueError(
            f"{type(model).__name__} has weights on the meta device, so there is nothing to run: load them first "
            "(to_empty and load_state_dict, or from_pretrained without a meta device)."
        )
    return next(iter(devices), torch.device("cpu"))


def gains_of(model: nn.Module, layers: Layers) -> dict[str, Tensor]:
    """Effective gain of every layer's norms on keys and queries, [layer, d_head]; NaN where there is none."""
    modules = layers.modules(model)
    return {
        name: torch.stack(
            [effective_gain(norm_in(modules.get(layer), norms), layers.d_head) for layer in range(layers.n_layers)]
        )
        for name, norms in (("k_gain", KEY_NORMS), ("q_gain", QUERY_NORMS))
    }


def frequencies_of(model: nn.Module, layers: Layers) -> tuple[tuple[float, ...], ...] | None:
    """Radians a token of each dimension, as the one rotary module of a model has them; None where that cannot be read.

    Which dimensions are turned together is tried out on the model's own function. Where a model turns only some of them,
    nothing says which.
    """
    buffers = [getattr(module, "inv_freq", None) for module in unwrapped(model).modules()]
    found = [one for one in buffers if isinstance(one, Tensor) and one.ndim == 1]
    distinct = {tuple(float(x) for x in one.detach().float().cpu()) for one in found}
    if len(distinct) != 1:
        return None
    [one] = distinct
    if 2 * len(one) != layers.d_head:
        return None
    place = next(iter(layers.modules(model).values()), None)
    rotate: Any = getattr(sys.modules.get(type(place).__module__), "rotate_half", None)
    if rotate is None:
        return None
    numbers = torch.arange(1.0, layers.d_head + 1)
    first, second = numbers.chunk(2)
    if not torch.equal(rotate(numbers), torch.cat([-second, first])):
        return None
    return tuple((*one, *one) for _ in range(layers.n_layers))


def probe_of(model: nn.Module, texts: Sequence[Text], layers: Layers, forward: Forward) -> Probe:
    """What is measured at every snapshot."""
    vocabulary = vocabulary_of(model)
    longest = min(context_of(model) or 128, 128)
    repeated = None if vocabulary is None else repeated_tokens(vocabulary, longest)
    return Probe(texts, repeated, layers, forward)


def describe(probe: Probe | None) -> dict[str, Any]:
    """What ``probe.json`` says."""
    if probe is None:
        return {"texts": [], "short_texts": [], "uniform_attention": {}}

    def told(text: Text) -> dict[str, Any]:
        return {"tokens": list(text.tokens), "separator": text.separator.tolist()}

    period = probe.repeated.shape[1] // 2 if probe.repeated is not None else 2
    return {
        "texts": [told(text) for text in probe.texts],
        "short_texts": [told(text) for text in probe.shown],
        "uniform_attention": uniform_baselines(probe.texts, period),
    }


def config_of(
    model: nn.Module, layers: Layers, probe: Probe | None, schedule: Schedule, notes: dict[str, Any]
) -> WatchedConfig:
    """The configuration of a watched run."""
    gain = gains_of(model, layers)["k_gain"]
    texts = list(probe.texts) if probe is not None else []
    tokens = hashlib.sha256(repr([text.ids.tolist() for text in texts]).encode()).hexdigest()[:16]
    root = unwrapped(model)
    return WatchedConfig(
        model=WatchedModel(
            family=type(root).__name__,
            n_layers=layers.n_layers,
            n_query_heads=layers.n_query_heads,
            n_kv_heads=layers.n_kv_heads,
            d_head=layers.d_head,
            n_parameters=sum(parameter.numel() for parameter in root.parameters()),
            context=max((len(text.tokens) for text in texts), default=0),
            layers=layers.names,
            qk_norm="learned" if bool(gain.isfinite().any()) else "none",
            causal=layers.causal,
            frequencies=frequencies_of(root, layers),
        ),
        probe=WatchedProbe(
            n_texts=len(texts),
            n_repeated=0 if probe is None or probe.repeated is None else len(probe.repeated),
            short_tokens=max((len(text.tokens) for text in probe.shown), default=0) if probe is not None else 0,
            report_tokens=0,
            sink_horizons=probe.horizons if probe is not None else (1,),
            sink_positions=probe.positions if probe is not None else (1,),
        ),
        every=schedule.every,
        full_every=schedule.full_every,
        snapshots=schedule.words,
        texts=tokens if texts else "",
        notes=notes,
    )
