"""A recorded run as the inspector's data: every head's measures with their nulls, kinds, gains and patterns.

No torch here: a run is tables and arrays. Whatever a run does not have, a slim recording's patterns or the gain of a model
without one, is left out, and the inspector says so.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from civilwar.analysis import divergence, gain, rank, taxonomy
from civilwar.analysis.statistics import generator
from civilwar.errors import RunLacks
from civilwar.inspector.payload import Alarm, Curve, Gain, Kind, Kinds, Null, Patterns, Payload, Series, Steps, Text
from civilwar.names.kinds import KINDS
from civilwar.names.measures import DEFAULT, MEASURES, Measure
from civilwar.recipe import rope
from civilwar.recipe.config import ModelConfig
from civilwar.recipe.watched import WatchedModel
from civilwar.runs.reader import Run, rows_of

Found = TypeVar("Found")
#: Draws behind the norm's null band.
DRAWS = 200


def payload_of_run(run: Run) -> Payload:
    """Everything of a recorded run that the inspector shows."""
    model = run.config.model
    scores = _or_none(lambda: taxonomy.labels_at_snapshots(run))
    return Payload(
        name=run.name,
        n_layers=model.n_layers,
        n_query_heads=model.n_query_heads,
        n_kv_heads=model.n_kv_heads,
        d_head=model.d_head,
        context=model.context,
        # a run that stopped, or diverged, is shown as far as it came
        last_step=max(run.last_step, run.last_recorded),
        default=DEFAULT,
        measures=_measures(run, scores),
        gain=_gain(run),
        texts=tuple(Text(tuple(text["tokens"]), tuple(text["separator"])) for text in run.probe["short_texts"]),
        kinds=None if scores is None else _kinds(model, scores),
        patterns=_patterns(run),
        curves=_curves(run),
        alarms=_alarms(run),
        status=str(run.manifest["status"]),
    )


def _curves(run: Run) -> tuple[Curve, ...]:
    """Losses over training: on the training batches, and on held-out texts at snapshots, their mean."""
    told = {"train": "loss on the training batch", "probe_loss": "loss on held-out texts"}
    found = []
    for name, label in told.items():
        table = _or_none(lambda name=name: run.table(name))  # type: ignore[misc] # mypy infers no default's type
        if table is None or not len(table) or table["loss"].isna().all():
            continue
        loss = table.groupby("step")["loss"].mean()
        found.append(Curve(name, label, _steps(loss.index), loss.to_numpy(dtype=float)))
    return tuple(found)


def _alarms(run: Run) -> tuple[Alarm, ...]:
    """The step after which a run diverged; of a watched run, steps at which heads passed thresholds that its user set."""
    found = []
    table = _or_none(lambda: run.table("alarms")) if run.watched else None
    if table is not None:
        for (step, alarm), rows in table.groupby(["step", "alarm"]):
            found.append(Alarm(int(step), f"{alarm} of {len(rows)} heads passed its threshold"))
    if run.manifest["status"] == "diverged":
        found.append(Alarm(run.last_step, "diverged: the next steps were not finite"))
    return tuple(found)


def _or_none(read: Callable[[], Found]) -> Found | None:
    """What ``read`` gives; None where a watched run lacks it."""
    try:
        return read()
    except RunLacks:
        return None


def _table_of(run: Run, measure: Measure, scores: pd.DataFrame | None) -> pd.DataFrame | None:
    if scores is not None and measure.key in scores:
        return scores
    table = _or_none(lambda: run.table(measure.table))
    return table if table is not None and measure.key in table else None


def _measures(run: Run, scores: pd.DataFrame | None) -> tuple[Series, ...]:
    """Every measure that the run has, with its null."""
    isotropic, permuted = _isotropic(run), permuted_gain_band(run)
    found = []
    for measure in MEASURES.values():
        if measure.watched and not run.watched:
            continue
        table = _table_of(run, measure, scores)
        if table is None or table[measure.key].isna().all():
            continue
        steps, values = _cube(run.config.model, table, measure)
        found.append(
            Series(
                key=measure.key,
                label=measure.label,
                unit=measure.unit.replace("d_head", str(run.config.model.d_head)),
                owner=measure.owner,
                says=measure.says,
                steps=steps,
                values=values,
                null=_null(
                    measure, steps, values, isotropic, permuted, "before training" if not run.watched else "at first"
                ),
            )
        )
    return tuple(found)


def _cube(model: ModelConfig | WatchedModel, table: pd.DataFrame, measure: Measure) -> tuple[Steps, np.ndarray]:
    """Steps, and values [tick, layer, head]: the mean over probe texts, where it was measured on several."""
    cube = table.groupby(["step", "layer", measure.owner])[measure.key].mean().unstack(["layer", measure.owner])
    n_heads = model.n_kv_heads if measure.owner == "kv_head" else model.n_query_heads
    columns = pd.MultiIndex.from_product([range(model.n_layers), range(n_heads)])
    values = cube.reindex(columns=columns).to_numpy(dtype=float)
    return _steps(cube.index), values.reshape(len(cube), model.n_layers, n_heads)


def _steps(steps: Sequence[int] | np.ndarray | pd.Index) -> Steps:
    return tuple(int(step) for step in steps)


def _null(
    measure: Measure,
    steps: Steps,
    values: np.ndarray,
    isotropic: tuple[Steps, dict[str, np.ndarray]],
    permuted: tuple[Steps, np.ndarray],
    begun: str,
) -> Null | None:
    """What ``measure`` is seen against; None without a gain, for a null that rests on one."""
    if measure.null == "untrained":
        ends = np.nanmin(values[0]), np.nanmax(values[0])
        band = np.broadcast_to(np.array(ends, dtype=float), (1, values.shape[1], 2))
        null = Null(f"all heads {begun}", (steps[0],), band)
    elif measure.null == "permuted_gain":
        null = Null("95% of root-mean-square norms under a permuted gain", *permuted)
    else:
        at, scores = isotropic
        null = Null("random keys under this gain", at, np.repeat(scores[measure.key][..., None], 2, axis=-1))
    return None if np.isnan(null.band).all() else null


def _isotropic(run: Run) -> tuple[Steps, dict[str, np.ndarray]]:
    """Steps, and what random keys score under each layer's gain there: measure -> [step, layer]; undefined without a gain.

    Every fourth snapshot, since the gain moves slowly and each takes a second for a deep model.
    """
    gains, snapshots = _or_none(lambda: run.array("gain")), run.snapshots
    if gains is None or not snapshots:
        return (0,), {measure: np.full((1, run.config.model.n_layers), np.nan) for measure in rank.MEASURES}
    # an unfinished run, or one recorded slim, may lack the gain of a snapshot
    there = np.intersect1d(snapshots, gains["step"])
    if not len(there):
        return (0,), {measure: np.full((1, run.config.model.n_layers), np.nan) for measure in rank.MEASURES}
    steps = sorted({*there[::4].tolist(), int(there[-1])})
    k_gain = gains["k_gain"][rows_of(gains["step"], steps)].astype(float)
    scores = {measure: np.full(k_gain.shape[:2], np.nan) for measure in rank.MEASURES}
    for row, layer in np.ndindex(*k_gain.shape[:2]):
        if np.isfinite(k_gain[row, layer]).all():
            for measure, score in rank.isotropic_null(run.config.model.context, k_gain[row, layer]).items():
                scores[measure][row, layer] = score
    return _steps(steps), scores


def permuted_gain_band(run: Run) -> tuple[Steps, np.ndarray]:
    """Steps, and 95% of a head's norm under a gain dealt anew to the RoPE pairs: [step, layer, (low, high)].

    sqrt(sum_j h_j^2 E_j) with E the head's mean pre-gain energy and h the permuted gain; over all KV heads of the layer.
    Undefined where the layer has no gain.
    """
    energy, gains = _or_none(lambda: run.array("energy")), _or_none(lambda: run.array("gain"))
    order = _or_none(lambda: rope.pair_order(run.config))
    if energy is None or gains is None or order is None:
        return (0,), np.full((1, run.config.model.n_layers, 2), np.nan)
    steps = _steps(np.intersect1d(run.config.snapshot_steps(), np.intersect1d(energy["step"], gains["step"])))
    at_energy, at_gain = rows_of(energy["step"], steps), rows_of(gains["step"], steps)
    band = np.full((len(steps), energy["energy"].shape[1], 2), np.nan)
    for row, (i, j) in enumerate(zip(at_energy, at_gain, strict=True)):
        for layer in range(band.shape[1]):
            squared = gains["k_gain"][j, layer][order].astype(float) ** 2
            if np.isnan(squared).any():
                continue
            dealt = divergence.permute_pairs(squared, generator(9, row, layer), DRAWS)
            band[row, layer] = np.quantile(np.sqrt(dealt @ energy["energy"][i, layer][:, order].T), [0.025, 0.975])
    return steps, band


def _kinds(model: ModelConfig | WatchedModel, scores: pd.DataFrame) -> Kinds:
    codes = scores.assign(code=scores["kind"].map({kind: i for i, kind in enumerate(KINDS)}))
    cube = codes.pivot(index="step", columns=["layer", "query_head"], values="code").sort_index(axis=1)
    return Kinds(
        kinds=tuple(Kind(kind.label, kind.code, kind.color) for kind in KINDS.values()),
        steps=_steps(cube.index),
        codes=cube.to_numpy(dtype=np.uint8).reshape(len(cube), model.n_layers, model.n_query_heads),
    )


def _gain(run: Run) -> Gain:
    model = run.config.model
    final = _or_none(lambda: gain.final_gain(run)) if model.qk_norm == "learned" else None
    golden = np.zeros((model.n_layers, model.d_head), dtype=np.uint8)
    if final is not None:
        golden[final["layer"], final["dimension"]] = final["golden"]
    layer = (model.n_layers, model.d_head)
    energy_steps, energy = _at_snapshots(run, "energy", "energy", (model.n_layers, model.n_kv_heads, model.d_head))
    gain_steps, gains = _at_snapshots(run, "gain", "k_gain", layer)
    ranks = _or_none(lambda: rope.ranks_of(run.config))
    # geometric, so that even steps would swallow the short ones; undefined where nothing says how fast a pair turns
    wavelength = np.full(model.d_head // 2, np.nan, dtype=np.float32)
    if ranks is not None:
        told = rope.wavelengths_of(run.config)[: len(wavelength)]
        wavelength[: len(told)] = told
    return Gain(
        steps=gain_steps,
        gain=gains,
        energy_steps=energy_steps,
        energy=energy,
        golden=golden,
        rank=np.zeros(layer, dtype=np.int32) if ranks is None else ranks.astype(np.int32),
        wavelength=wavelength,
    )


def _at_snapshots(run: Run, name: str, key: str, shape: tuple[int, ...]) -> tuple[Steps, np.ndarray]:
    """Snapshots at which an array was recorded, and its rows there; undefined at step 0 where none was."""
    array = _or_none(lambda: run.array(name))
    if array is None or not len(np.intersect1d(run.config.snapshot_steps(), array["step"])):
        return (0,), np.full((1, *shape), np.nan)
    steps = _steps(np.intersect1d(run.config.snapshot_steps(), array["step"]))
    return steps, array[key][rows_of(array["step"], list(steps))].astype(float)


def _patterns(run: Run) -> Patterns | None:
    if "patterns" in run.manifest.get("left_out", {}):
        return None
    recorded = _or_none(lambda: run.array("patterns"))
    if recorded is None:
        return None
    return Patterns(_steps(recorded["step"]), recorded["pattern"])
