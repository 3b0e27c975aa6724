"""Runs on disk whose truth is known: written the way training writes them, from arrays that a test gives."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from civilwar.config import ModelConfig, ProbeConfig, RunConfig, TrainConfig
from civilwar.runs import Records, Run, RunWriter

RANKS = ("coordinate_participation_ratio", "participation_ratio", "effective_rank", "stable_rank")


def make_synthetic_config(
    d_head: int = 16, steps: int = 60, seed: int = 0, n_layers: int = 3, **changes: Any
) -> RunConfig:
    """4 KV heads and 8 query heads; ``changes`` go to the model or to training, whichever has the field."""
    model = {key: value for key, value in changes.items() if key in ModelConfig.__dataclass_fields__}
    training = {key: value for key, value in changes.items() if key in TrainConfig.__dataclass_fields__}
    assert len(model) + len(training) == len(changes)
    shape = {"d_model": 32, "n_query_heads": 8, "n_kv_heads": 4, "d_ff": 64, "vocab_size": 512, "context": 64}
    return RunConfig(
        preset="synthetic",
        variant="baseline",
        seed=seed,
        corpus="synthetic",
        model=ModelConfig(**{"n_layers": n_layers, "d_head": d_head} | shape | model),
        train=TrainConfig(steps=steps, batch_size=2, **training),
        probe=ProbeConfig(n_texts=4, short_tokens=16, report_tokens=32, sink_horizons=(16, 32, 64)),
    )


def tidy(axes: dict[str, Any], columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Dense arrays [*axes] as rows; an axis given as a number counts from 0."""
    labels = [np.arange(label) if isinstance(label, int) else np.asarray(label) for label in axes.values()]
    table = pd.MultiIndex.from_product(labels, names=list(axes)).to_frame(index=False)
    shape = tuple(len(label) for label in labels)
    return table.assign(**{name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()})


@dataclass
class Truth:
    """What a synthetic run is made from. None is filled with something harmless.

    gain [step, layer, d_head]; energy [step, layer, kv_head, d_head]; norms [step, layer, kv_head], by default what gain
    and energy imply; key_norms [snapshot, text, layer, kv_head], by default ``norms``; the entropies
    [snapshot, text, layer, query_head]; ranks [snapshot, text, layer, kv_head, 4] in the order of RANKS.
    """

    gain: np.ndarray | None = None
    energy: np.ndarray | None = None
    norms: np.ndarray | None = None
    key_norms: np.ndarray | None = None
    entropy_normalised: np.ndarray | None = None
    entropy_rescaled: np.ndarray | None = None
    entropy_report: np.ndarray | None = None
    ranks: np.ndarray | None = None


def write_run(path: Path, config: RunConfig, truth: Truth | None = None) -> Run:
    """A complete run folder at ``path``, checksums and all."""
    with RunWriter(path, config) as writer:
        writer.write_manifest(
            status="running",
            commit="0" * 40,
            dirty=False,
            n_parameters=config.model.n_parameters,
            corpus={"documents": 10, "bytes": 1000, "train_tokens": 100},
            device={"type": "cpu", "name": "none"},
        )
        writer.write_part(config.train.steps, records(config, truth or Truth()))
        return writer.finish()


def records(config: RunConfig, truth: Truth) -> Records:
    model = config.model
    layers, kv_heads, query_heads, d_head = model.n_layers, model.n_kv_heads, model.n_query_heads, model.d_head
    step = np.arange(config.train.steps + 1)
    snapshots = np.array(config.snapshot_steps())
    texts = config.probe.n_texts

    gain = np.ones((len(step), layers, d_head)) if truth.gain is None else truth.gain
    energy = np.ones((len(step), layers, kv_heads, d_head)) if truth.energy is None else truth.energy
    norms = np.sqrt(np.einsum("sld,slhd->slh", gain**2, energy)) if truth.norms is None else truth.norms
    key_norms = norms[snapshots, None] if truth.key_norms is None else truth.key_norms
    ranks = np.full((1, 1, 1, 1, 4), 7.0) if truth.ranks is None else truth.ranks

    step_axes = {"step": step, "layer": layers}
    probe_axes = {"step": snapshots, "text": texts, "layer": layers}
    step_kv = dict.fromkeys(("norm_std", "norm_q05", "norm_q50", "norm_q95", "norm_first", "norm_separator"), norms)
    step_kv |= dict.fromkeys(("max_abs", "coordinate_participation_ratio", "key_cosine"), np.array(0.5))
    ranked = {name: ranks[..., i] for i, name in enumerate(RANKS)}
    entropies = {
        "entropy_normalised": truth.entropy_normalised,
        "entropy_report": truth.entropy_report,
        "entropy_rescaled": truth.entropy_rescaled,
    }
    scores = {"entropy", "max_weight", "top_logit_spread", "separator_mass", "previous_token_score", "nearby_mass"}
    query = {name: np.array(0.5) if values is None else values for name, values in entropies.items()}
    query |= dict.fromkeys(sorted(scores), np.array(0.5))
    head_axes = probe_axes | {"query_head": query_heads}
    sink_axes = head_axes | {"horizon": list(config.probe.sink_horizons), "position": list(config.probe.sink_positions)}
    rms = np.sqrt(np.square(gain).mean(-1))

    tables = {
        "train": tidy({"step": step}, {"loss": np.linspace(6, 3, len(step))}),
        "step_layers": tidy(step_axes, {"k_gain_rms": rms, "q_gain_rms": rms}),
        "step_kv_heads": tidy(step_axes | {"kv_head": kv_heads}, {"norm_mean": norms} | step_kv),
        "step_query_heads": _with_kv_head(
            tidy(
                step_axes | {"query_head": query_heads},
                dict.fromkeys(("query_norm_mean", "query_key_norm_ratio"), np.array(1.0)),
            ),
            model.group_size,
        ),
        "probe_kv_heads": tidy(
            probe_axes | {"kv_head": kv_heads},
            {"norm_mean": key_norms} | ranked | {f"{name}_rope": values for name, values in ranked.items()},
        ),
        "probe_query_heads": _with_kv_head(tidy(head_axes, query), model.group_size),
        "probe_sinks": _with_kv_head(tidy(sink_axes, {"alpha": np.array(0.1)}), model.group_size),
        "probe_induction": _with_kv_head(
            tidy(
                head_axes | {"text": config.probe.n_repeated},
                dict.fromkeys(("induction_score", "duplicate_token_score"), np.array(0.1)),
            ),
            model.group_size,
        ),
        "probe_loss": tidy({"step": snapshots, "text": texts}, {"loss": np.array(3.0)}),
    }
    n = config.probe.short_tokens
    pattern = np.zeros((len(snapshots), 2, layers, query_heads, n * (n + 1) // 2), np.uint8)
    arrays = {
        "gain": {"step": step.astype(np.int32), "k_gain": np.float32(gain), "q_gain": np.float32(gain)},
        "energy": {"step": step.astype(np.int32), "energy": np.float32(energy)},
        "patterns": {"step": snapshots.astype(np.int32), "pattern": pattern},
    }
    return Records(tables, arrays)


def _with_kv_head(table: pd.DataFrame, group: int) -> pd.DataFrame:
    return table.assign(kv_head=table["query_head"] // group)


def keys_like(random: np.random.Generator, shape: tuple[int, ...], concentration: float = 1.0) -> np.ndarray:
    """Pre-gain energies [*shape, d_head] with mean 1 over dimensions, as RMSNorm leaves them, alike in every dimension."""
    raw = random.gamma(concentration, size=shape)
    return raw / raw.mean(-1, keepdims=True)


def flat_norm(config: RunConfig) -> float:
    """The key norm under gain 1."""
    return math.sqrt(config.model.d_head)
