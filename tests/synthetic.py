"""Runs on disk whose truth is known: written the way training writes them, from arrays that a test gives."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from civilwar.files import write_json
from civilwar.recipe.config import ModelConfig, ProbeConfig, RunConfig, TrainConfig
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.runs.schema import PROBE, TABLES
from civilwar.runs.writer import RunWriter

RANKS = ("coordinate_participation_ratio", "participation_ratio", "effective_rank", "stable_rank")
SPOTS = ("all", "first", "separator")
PROPERTIES = ("brackets", "package")
QUERY_COLUMNS, REPEATED_COLUMNS = (TABLES[name].measured for name in ("probe_query_heads", "probe_induction"))


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
    """What a synthetic run is made from. None is filled with something harmless, and arrays are broadcast to their axes.

    gain [step, layer, d_head]; energy [step, layer, kv_head, d_head]; query_norms [step, layer, query_head]; key_cosine [step,
    layer, kv_head]; norms [step, layer, kv_head], by default what gain and energy imply; key_norms [snapshot, text, layer,
    kv_head], by default ``norms``; the entropies,
    separator_mass, previous_token_score, nearby_mass and top_logit_spread [snapshot, text, layer, query_head]; ranks
    [snapshot, text, layer, kv_head, 4] in the order of RANKS; sink_alpha [snapshot, text, layer, query_head, horizon,
    position]; induction_score and duplicate_token_score [snapshot, repeated text, layer, query_head]; loss [step];
    probe_loss [snapshot, text].

    Of the trained model: shuffled, columns of ``shuffled_query_heads`` [text, layer, query_head]; key_energy
    [layer, kv_head, 3, d_head] in the order of SPOTS; accuracy [layer, query_head, 2] in the order of PROPERTIES.

    uniform is what probe.json says of uniform attention, beside the closed forms of one that sees no separator more often
    than one token in five. tables takes the place of whole tables, ``capacity_table`` and ``ablation_table`` among them.
    """

    gain: np.ndarray | None = None
    energy: np.ndarray | None = None
    query_norms: np.ndarray | None = None
    key_cosine: np.ndarray | None = None
    norms: np.ndarray | None = None
    key_norms: np.ndarray | None = None
    entropy_normalised: np.ndarray | None = None
    entropy_rescaled: np.ndarray | None = None
    entropy_report: np.ndarray | None = None
    ranks: np.ndarray | None = None
    separator_mass: np.ndarray | None = None
    previous_token_score: np.ndarray | None = None
    nearby_mass: np.ndarray | None = None
    top_logit_spread: np.ndarray | None = None
    sink_alpha: np.ndarray | None = None
    induction_score: np.ndarray | None = None
    duplicate_token_score: np.ndarray | None = None
    loss: np.ndarray | None = None
    probe_loss: np.ndarray | None = None
    shuffled: Mapping[str, np.ndarray] = field(default_factory=dict)
    key_energy: np.ndarray | None = None
    accuracy: np.ndarray | None = None
    uniform: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def write_run(path: Path, config: RunConfig, truth: Truth | None = None, **manifest: Any) -> Run:
    """A complete run folder at ``path``, checksums and all; ``manifest`` adds entries, such as timings."""
    truth = truth or Truth()
    with RunWriter(path, config) as writer:
        writer.write_manifest(
            status="running",
            commit="0" * 40,
            dirty=False,
            n_parameters=config.model.n_parameters,
            corpus={"documents": 10, "bytes": 1000, "train_tokens": 100},
            device={"type": "cpu", "name": "none"},
        )
        write_json(path / PROBE, probe_description(config, truth))
        writer.write_part(config.train.steps, typed(records(config, truth)))
        # in a part of their own, as training writes them
        writer.write_part(config.train.steps + 1, typed(Records(final_tables(config, truth))))
        return writer.finish(**manifest)


def typed(records: Records) -> Records:
    """The records with whole numbers and texts of the schema's types; measurements keep their digits, to be exact."""
    types = {
        name: {key: column.dtype for key, column in table.all_columns.items() if not column.dtype.startswith("float")}
        for name, table in TABLES.items()
    }
    return Records({name: table.astype(types[name]) for name, table in records.tables.items()}, records.arrays)


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
    step_kv |= dict.fromkeys(("max_abs", "coordinate_participation_ratio"), np.array(0.5))
    step_kv["key_cosine"] = _or(truth.key_cosine, 0.5)
    ranked = {name: ranks[..., i] for i, name in enumerate(RANKS)}
    # no test says what the entropy and the largest weight are
    query = {name: _or(getattr(truth, name, None), 0.5) for name in QUERY_COLUMNS}
    repeated = {name: _or(getattr(truth, name), 0.1) for name in REPEATED_COLUMNS}
    head_axes = probe_axes | {"query_head": query_heads}
    sink_axes = head_axes | {"horizon": list(config.probe.sink_horizons), "position": list(config.probe.sink_positions)}
    rms = np.sqrt(np.square(gain).mean(-1))

    tables = {
        "train": tidy({"step": step}, {"loss": np.linspace(6, 3, len(step)) if truth.loss is None else truth.loss}),
        "step_layers": tidy(step_axes, {"k_gain_rms": rms, "q_gain_rms": rms}),
        "step_kv_heads": tidy(step_axes | {"kv_head": kv_heads}, {"norm_mean": norms} | step_kv),
        "step_query_heads": _with_kv_head(
            tidy(
                step_axes | {"query_head": query_heads},
                {"query_norm_mean": _or(truth.query_norms, 1.0), "query_key_norm_ratio": np.array(1.0)},
            ),
            model.group_size,
        ),
        "probe_kv_heads": tidy(
            probe_axes | {"kv_head": kv_heads},
            {"norm_mean": key_norms} | ranked | {f"{name}_rope": values for name, values in ranked.items()},
        ),
        "probe_query_heads": _with_kv_head(tidy(head_axes, query), model.group_size),
        "probe_sinks": _with_kv_head(tidy(sink_axes, {"alpha": _or(truth.sink_alpha, 0.1)}), model.group_size),
        "probe_induction": _with_kv_head(
            tidy(head_axes | {"text": config.probe.n_repeated}, repeated), model.group_size
        ),
        "probe_loss": tidy({"step": snapshots, "text": texts}, {"loss": _or(truth.probe_loss, 3.0)}),
    }
    tables |= {name: truth.tables[name] for name in tables if name in truth.tables}
    n = config.probe.short_tokens
    pattern = np.zeros((len(snapshots), 2, layers, query_heads, n * (n + 1) // 2), np.uint8)
    arrays = {
        "gain": {"step": step.astype(np.int32), "k_gain": np.float32(gain), "q_gain": np.float32(gain)},
        "energy": {"step": step.astype(np.int32), "energy": np.float32(energy)},
        "patterns": {"step": snapshots.astype(np.int32), "pattern": pattern},
    }
    return Records(tables, arrays)


def final_tables(config: RunConfig, truth: Truth) -> dict[str, pd.DataFrame]:
    """What is measured once, of the trained model."""
    model = config.model
    shuffled = dict.fromkeys(QUERY_COLUMNS, np.array(0.5))
    shuffled |= {"sink_alpha": np.array(0.1)} | dict(truth.shuffled)
    shuffled_axes = {"text": config.probe.n_texts, "layer": model.n_layers, "query_head": model.n_query_heads}
    energy_axes = {"layer": model.n_layers, "kv_head": model.n_kv_heads, "tokens": SPOTS, "dimension": model.d_head}
    content_axes = {"layer": model.n_layers, "query_head": model.n_query_heads, "property": PROPERTIES}
    tables = {
        "capacity": capacity_table(config),
        "ablation": ablation_table(config, {"gatherer": model.n_layers * model.n_query_heads}),
        "shuffled_query_heads": _with_kv_head(tidy(shuffled_axes, shuffled), model.group_size),
        "key_energy": tidy(energy_axes, {"energy": _or(truth.key_energy, 1.0)}),
        "head_content": tidy(content_axes, {"accuracy": _or(truth.accuracy, 0.5)}).assign(chance=0.5),
    }
    return tables | {name: truth.tables[name] for name in tables if name in truth.tables}


def capacity_table(
    config: RunConfig, loss: Callable[[str, int, int], float] = lambda method, rank, draw: 3.0
) -> pd.DataFrame:
    """Table ``capacity`` with ``loss(method, rank, draw)`` for both losses."""
    d_head = config.model.d_head
    rows = [("full", d_head, 0)]
    for rank in (0, *(r for r in config.probe.capacity_ranks if r < d_head)):
        draws = range(config.probe.random_draws if rank else 0)
        rows += [("directions", rank, 0)]
        rows += [("gains", rank, 0)] if config.model.qk_norm == "learned" else []
        rows += [(method, rank, draw) for draw in draws for method in ("random_directions", "random_dimensions")]
    table = pd.DataFrame(rows, columns=["method", "rank", "draw"])
    losses = [loss(*row) for row in rows]
    return table.assign(loss=losses, separator_loss=losses, induction_gain=0.0)


def ablation_table(
    config: RunConfig,
    n_heads: Mapping[str, int],
    score: Callable[[str, str, str, int], Mapping[str, float] | float] = lambda kind, mode, group, draw: 3.0,
) -> pd.DataFrame:
    """Table ``ablation`` of kinds with so many heads; ``score(kind, mode, group, draw)`` gives the loss, or several scores."""
    rows: list[tuple[Any, ...]] = [("none", "none", "none", 0, 0)]
    for kind, n in n_heads.items():
        for group, draw in [("kind", 0), *(("random", i) for i in range(config.probe.random_draws))]:
            rows += [(kind, mode, group, draw, n) for mode in ("mean", "zero")]
    scores = [score(*row[:4]) for row in rows]
    defaults = {"loss": 3.0, "separator_loss": 3.0, "induction_gain": 0.0}
    found = [defaults | (dict(s) if isinstance(s, Mapping) else {"loss": s, "separator_loss": s}) for s in scores]
    table = pd.DataFrame(rows, columns=["kind", "mode", "group", "draw", "n_heads"])
    return pd.concat([table, pd.DataFrame(found)], axis=1)


def probe_description(config: RunConfig, truth: Truth) -> dict[str, Any]:
    """probe.json: texts in which every fifth token is a separator, and the closed forms of uniform attention."""

    def text(n: int) -> dict[str, Any]:
        return {
            "tokens": ["." if i % 5 == 4 else f" t{i}" for i in range(n)],
            "separator": [i % 5 == 4 for i in range(n)],
        }

    context, period = config.model.context, min(config.model.context // 2, 128)
    position = np.arange(1, context + 1)
    near = np.r_[1.0, (np.minimum(position[1:], 8) - 1) / position[1:]]
    uniform = {
        "entropy": float(np.log(position).mean()),
        "max_weight": float((1 / position).mean()),
        "previous_token_score": float((1 / position[1:]).mean()),
        "nearby_mass": float(near.mean()),
        "induction_score": float((1 / np.arange(period + 1, 2 * period + 1)).mean()),
        "separator_mass": [float((np.cumsum(position % 5 == 0) / position).mean())] * config.probe.n_texts,
    }
    return {
        "texts": [text(context)] * config.probe.n_texts,
        "short_texts": [text(config.probe.short_tokens)] * 2,
        "uniform_attention": uniform | dict(truth.uniform),
    }


def _or(values: np.ndarray | None, default: float) -> np.ndarray:
    return np.array(default) if values is None else np.asarray(values)


def _with_kv_head(table: pd.DataFrame, group: int) -> pd.DataFrame:
    return table.assign(kv_head=table["query_head"] // group)


def keys_like(random: np.random.Generator, shape: tuple[int, ...], concentration: float = 1.0) -> np.ndarray:
    """Pre-gain energies [*shape, d_head] with mean 1 over dimensions, as RMSNorm leaves them, alike in every dimension."""
    raw = random.gamma(concentration, size=shape)
    return raw / raw.mean(-1, keepdims=True)


def flat_norm(config: RunConfig) -> float:
    """The key norm under gain 1."""
    return math.sqrt(config.model.d_head)
