"""A recorded run as the inspector's data: one block with every head's measures, and one block a layer with its patterns.

No torch here: a run is tables and arrays. Whatever a run does not have, a slim recording's patterns or the gain of a model
without one, is left out, and the inspector says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from civilwar.analysis import divergence, gain, rank, taxonomy
from civilwar.analysis.statistics import generator
from civilwar.inspector.pack import pack
from civilwar.names.kinds import KINDS
from civilwar.names.measures import DEFAULT, MEASURES, Measure
from civilwar.plots import style
from civilwar.recipe import rope
from civilwar.recipe.config import RunConfig
from civilwar.runs.reader import Run, rows_of

#: Draws behind the norm's null band.
DRAWS = 200


@dataclass
class Payload:
    """What the browser gets: ``core`` at once, ``layers`` when a reader opens them."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    patterns: np.ndarray | None = None
    """Attention of the short texts, [snapshot, text, layer, query_head, lower triangle], weight 1 as 255; or none."""
    clocks: dict[str, list[int]] = field(default_factory=dict)

    @property
    def core(self) -> bytes:
        """Everything but the patterns."""
        return pack({**self.meta, "clocks": self.clocks}, self.arrays)

    def layer(self, layer: int) -> bytes:
        """One layer's patterns, [snapshot, text, query_head, lower triangle]. Raises ValueError where there are none."""
        if self.patterns is None:
            raise ValueError(f"{self.meta['name']} has no attention patterns: they are not part of a slim recording.")
        return pack({"layer": layer}, {"pattern": np.ascontiguousarray(self.patterns[:, :, layer])})

    def add_clock(self, name: str, steps: Sequence[int] | np.ndarray) -> str:
        """The name of the clock that ticks at ``steps``: an old one's where it ticks alike."""
        ticks = [int(step) for step in steps]
        for known, theirs in self.clocks.items():
            if theirs == ticks:
                return known
        self.clocks[name] = ticks
        return name


def of_run(run: Run) -> Payload:
    """Everything of a recorded run that the inspector shows."""
    config = run.config
    # a run that stopped, or diverged, is shown as far as it came
    payload = Payload(_about(config) | {"name": run.name, "last_step": run.last_step}, {})
    scores = taxonomy.labels_at_snapshots(run)
    entries = [_add_measure(payload, run, measure, scores) for measure in MEASURES.values()]
    payload.meta |= {"measures": [entry for entry in entries if entry], "default": DEFAULT}
    _add_nulls(payload, run)
    _add_kinds(payload, run, scores)
    _add_gain(payload, run)
    _add_texts(payload, run)
    return payload


def _about(config: RunConfig) -> dict[str, Any]:
    model = config.model
    return {
        "preset": config.preset,
        "variant": config.variant,
        "seed": config.seed,
        "n_layers": model.n_layers,
        "n_query_heads": model.n_query_heads,
        "n_kv_heads": model.n_kv_heads,
        "d_head": model.d_head,
        "context": model.context,
        "last_step": config.train.steps,
        "kv_colors": [style.kv_head_color(kv_head) for kv_head in range(model.n_kv_heads)],
        "less": style.LESS,
        "more": style.MORE,
        "null_color": style.NULL,
        "kinds": [{"name": kind.label, "code": kind.code, "color": kind.color} for kind in KINDS.values()],
    }


def _table_of(run: Run, measure: Measure, scores: pd.DataFrame) -> pd.DataFrame:
    return scores if measure.key in scores else run.table(measure.table)


def _add_measure(payload: Payload, run: Run, measure: Measure, scores: pd.DataFrame) -> dict[str, Any] | None:
    """Its values [clock, layer, head] and the entry that says so; None where the run has none."""
    table = _table_of(run, measure, scores)
    if table[measure.key].isna().all():
        return None
    # mean over probe texts, where it was measured on several
    cube = table.groupby(["step", "layer", measure.owner])[measure.key].mean().unstack(["layer", measure.owner])
    n_heads = payload.meta["n_kv_heads" if measure.owner == "kv_head" else "n_query_heads"]
    columns = pd.MultiIndex.from_product([range(payload.meta["n_layers"]), range(n_heads)])
    values = cube.reindex(columns=columns).to_numpy(dtype=float)
    payload.arrays[measure.key] = values.reshape(len(cube), payload.meta["n_layers"], n_heads)
    return {
        "key": measure.key,
        "label": measure.label,
        "unit": measure.unit.replace("d_head", str(payload.meta["d_head"])),
        "owner": measure.owner,
        "says": measure.says,
        "clock": payload.add_clock(f"of_{measure.key}", cube.index),
        "null": None,
    }


def _add_nulls(payload: Payload, run: Run) -> None:
    """Each measure's null as ``null_<key>`` [clock, layer, (low, high)]."""
    isotropic = _isotropic(run)
    for entry in payload.meta["measures"]:
        key = entry["key"]
        if MEASURES[key].null == "untrained":
            before = payload.arrays[key][0]
            band = np.broadcast_to([np.nanmin(before), np.nanmax(before)], (1, payload.meta["n_layers"], 2))
            entry["null"] = {"says": "all heads before training", "clock": payload.add_clock("start", [0])}
        elif MEASURES[key].null == "permuted_gain":
            steps, band = permuted_gain_band(run)
            entry["null"] = {
                "says": "95% of root-mean-square norms under a permuted gain",
                "clock": payload.add_clock("of_null_norm", steps),
            }
        else:
            steps, scores = isotropic
            band = np.repeat(scores[key][..., None], 2, axis=-1)
            entry["null"] = {"says": "random keys under this gain", "clock": payload.add_clock("of_null_rank", steps)}
        if np.isnan(band).all():
            # no gain, no null that rests on one
            entry["null"] = None
        else:
            payload.arrays[f"null_{key}"] = np.asarray(band, dtype=float)


def _isotropic(run: Run) -> tuple[list[int], dict[str, np.ndarray]]:
    """Steps, and what random keys score under each layer's gain there: measure -> [step, layer]; undefined without a gain.

    Every fourth snapshot, since the gain moves slowly and each takes a second for a deep model.
    """
    gains = run.array("gain")
    snapshots = run.snapshots
    steps = sorted({*snapshots[::4], snapshots[-1]})
    k_gain = gains["k_gain"][rows_of(gains["step"], steps)].astype(float)
    scores = {measure: np.full(k_gain.shape[:2], np.nan) for measure in rank.MEASURES}
    for row, layer in np.ndindex(*k_gain.shape[:2]):
        if np.isfinite(k_gain[row, layer]).all():
            for measure, score in rank.isotropic_null(run.config.model.context, k_gain[row, layer]).items():
                scores[measure][row, layer] = score
    return steps, scores


def permuted_gain_band(run: Run) -> tuple[list[int], np.ndarray]:
    """Steps, and 95% of a head's norm under a gain dealt anew to the RoPE pairs: [step, layer, (low, high)].

    sqrt(sum_j h_j^2 E_j) with E the head's mean pre-gain energy and h the permuted gain; over all KV heads of the layer.
    Undefined where the layer has no gain.
    """
    energy, gains = run.array("energy"), run.array("gain")
    steps = [int(s) for s in np.intersect1d(run.config.snapshot_steps(), np.intersect1d(energy["step"], gains["step"]))]
    at_energy, at_gain = rows_of(energy["step"], steps), rows_of(gains["step"], steps)
    band = np.full((len(steps), energy["energy"].shape[1], 2), np.nan)
    for row, (i, j) in enumerate(zip(at_energy, at_gain, strict=True)):
        for layer in range(band.shape[1]):
            squared = gains["k_gain"][j, layer].astype(float) ** 2
            if np.isnan(squared).any():
                continue
            dealt = divergence.permute_pairs(squared, generator(9, row, layer), DRAWS)
            band[row, layer] = np.quantile(np.sqrt(dealt @ energy["energy"][i, layer].T), [0.025, 0.975])
    return steps, band


def _add_kinds(payload: Payload, run: Run, scores: pd.DataFrame) -> None:
    """Index into ``meta.kinds`` of every query head, [clock, layer, query_head]."""
    codes = scores.assign(code=scores["kind"].map({kind: i for i, kind in enumerate(taxonomy.KINDS)}))
    cube = codes.pivot(index="step", columns=["layer", "query_head"], values="code").sort_index(axis=1)
    shape = (len(cube), payload.meta["n_layers"], payload.meta["n_query_heads"])
    payload.arrays["kind"] = cube.to_numpy(dtype=np.uint8).reshape(shape)
    payload.meta["kind_clock"] = payload.add_clock("of_kinds", cube.index)


def _add_gain(payload: Payload, run: Run) -> None:
    """The gain [clock, layer, d_head], the keys' energy [clock, layer, kv_head, d_head], golden ones and RoPE's order."""
    snapshots = run.config.snapshot_steps()
    for name, key in (("energy", "energy"), ("gain", "k_gain")):
        array = run.array(name)
        steps = np.intersect1d(snapshots, array["step"])
        payload.arrays[name] = array[key][rows_of(array["step"], [int(s) for s in steps])].astype(float)
        payload.meta[f"{name}_clock"] = payload.add_clock(f"of_{name}", steps)
    model = run.config.model
    payload.arrays["rank"] = rope.dimension_ranks(model, run.config.seed).astype(np.int32)
    # geometric, so that even steps would swallow the short ones
    payload.arrays["wavelength"] = rope.wavelengths(model).astype(np.float32)
    final = gain.final_gain(run) if model.qk_norm == "learned" else None
    golden = np.zeros((model.n_layers, model.d_head), dtype=np.uint8)
    if final is not None:
        golden[final["layer"], final["dimension"]] = final["golden"]
    payload.arrays["golden"] = golden


def _add_texts(payload: Payload, run: Run) -> None:
    texts = run.probe["short_texts"]
    payload.meta["texts"] = [{"tokens": text["tokens"], "separator": text["separator"]} for text in texts]
    if "patterns" in run.manifest.get("left_out", {}):
        return
    recorded = run.array("patterns")
    payload.patterns = recorded["pattern"]
    payload.meta["pattern_clock"] = payload.add_clock("of_patterns", recorded["step"])
