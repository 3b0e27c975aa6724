"""Sums, counts and maxima of steps -> rows of the schema's tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from civilwar.hear.statistics import EDGES
from civilwar.runs.records import Records
from civilwar.runs.tidy import tidy
from civilwar.watching.layers import Layers
from civilwar.watching.sums import Step, on_host
from civilwar.watching.tables import joined, table

#: A head is a sink where more than this share of its attention lies on the first token (Gu et al. 2024).
SINK = 0.3


def records_of(steps: Sequence[Step], layers: Layers) -> Records:
    """The every-step tables and arrays of what was heard of ``steps``."""
    if not steps:
        return Records()
    tables: list[dict[str, pd.DataFrame]] = []
    gains: list[dict[str, np.ndarray]] = []
    gain_steps: list[int] = []
    for step, found in zip(steps, on_host(steps), strict=True):
        tables.append(_of_step(step.step, found, layers))
        loss = found.get((-1, "loss"), {}).get("loss")
        tables[-1]["train"] = pd.DataFrame(
            {"step": np.array([step.step], np.int32), "loss": np.array([_number(loss)], np.float32)}
        )
        if (-1, "gain") in found:
            gains.append({name: value.numpy().astype(np.float32) for name, value in found[-1, "gain"].items()})
            gain_steps.append(step.step)
            rms = {f"{name}_rms": np.sqrt(np.square(value).mean(-1)) for name, value in gains[-1].items()}
            at = {"step": np.array([step.step], np.int32), "layer": None}
            tables[-1]["step_layers"] = tidy(at, {name: value[None] for name, value in rms.items()})
    arrays = {}
    if gains:
        stacked = {name: np.stack([one[name] for one in gains]) for name in gains[0]}
        arrays["gain"] = {"step": np.array(gain_steps, np.int32)} | stacked
    return Records(joined(tables), arrays)


def _number(value: Tensor | None) -> float:
    return np.nan if value is None else float(value)


def _of_step(
    step: int, found: Mapping[tuple[int, str], Mapping[str, Tensor]], layers: Layers
) -> dict[str, pd.DataFrame]:
    queries: dict[int, dict[str, np.ndarray]] = {}
    keys: dict[int, dict[str, np.ndarray]] = {}
    attention: dict[int, dict[str, np.ndarray]] = {}
    gradients: dict[int, dict[str, np.ndarray]] = {}
    for (layer, kind), heads in found.items():
        sums = {name: value.numpy() for name, value in heads.items()}
        if kind == "kv_head" and "key_count" in sums:
            keys[layer] = lengths(sums, "key")
            if "key_gradient_sum" in sums:
                gradients[layer] = {"key_gradient": np.sqrt(sums["key_gradient_sum"])}
        if kind == "query_head" and "query_count" in sums:
            queries[layer] = {"query_norm_mean": ratio(sums["query_norm_sum"], sums["query_count"])}
            attention[layer] = of_attention(sums)
    for layer, columns in queries.items():
        if layer in keys:
            read = np.repeat(keys[layer]["norm_mean"], layers.group_sizes[layer])
            columns["query_key_norm_ratio"] = ratio(columns["query_norm_mean"], read)
    groups = layers.group_sizes
    made = {}
    if keys:
        made["step_kv_heads"] = table("step_kv_heads", step, _sorted(keys), {"kv_head": None})
    if queries:
        made["step_query_heads"] = table("step_query_heads", step, _sorted(queries), {"query_head": None}, None, groups)
        made["step_attention"] = table("step_attention", step, _sorted(attention), {"query_head": None}, None, groups)
    if gradients:
        made["step_gradients"] = table("step_gradients", step, _sorted(gradients), {"kv_head": None})
    return made


def _sorted(layers: dict[int, dict[str, np.ndarray]]) -> dict[int, dict[str, np.ndarray]]:
    return dict(sorted(layers.items()))


def ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count; undefined where there is nothing to divide by."""
    out: np.ndarray = np.full(np.broadcast_shapes(np.shape(total), np.shape(count)), np.nan)
    np.divide(total, count, out=out, where=np.asarray(count) != 0)
    return out


def lengths(sums: Mapping[str, np.ndarray], what: str) -> dict[str, np.ndarray]:
    """Mean, spread and quantiles of vectors' lengths: norm_mean, norm_std (with n - 1), norm_q05, norm_q50, norm_q95."""
    n, total, squares = (sums[f"{what}_{name}"] for name in ("count", "norm_sum", "norm_square_sum"))
    mean = ratio(total, n)
    variance = ratio(squares - n * np.square(mean), n - 1)
    found = {"norm_mean": mean, "norm_std": np.sqrt(np.maximum(variance, 0))}
    for name, share in (("norm_q05", 0.05), ("norm_q50", 0.5), ("norm_q95", 0.95)):
        found[name] = quantile(sums[f"{what}_norm_bins_sum"], share)
    return found


def quantile(bins: np.ndarray, share: float) -> np.ndarray:
    """The length that ``share`` of what was counted in ``bins`` [head, bin] falls below, between its bin's edges by log.

    A bin is a quarter of an octave wide, so that the answer is off by a tenth at most. Undefined beyond the outermost edges.
    """
    edges = np.log2(EDGES.double().numpy())
    # nothing bounds the outermost bins
    below = np.concatenate([[np.nan], edges])
    above = np.concatenate([edges, [np.nan]])
    total = bins.cumsum(-1)
    wanted = share * total[:, -1:]
    at = (total < wanted).sum(-1).clip(max=bins.shape[-1] - 1)
    head = np.arange(len(bins))
    before = np.where(at > 0, total[head, at - 1], 0)
    part = ratio(wanted[:, 0] - before, bins[head, at])
    found: np.ndarray = 2.0 ** (below[at] + part * (above[at] - below[at]))
    return found


def of_attention(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of ``step_attention``, as far as the sums go."""
    found = {}
    if "max_logit_max" in sums:
        # of a head whose every query was padding there is no logit
        found["max_logit"] = np.where(np.isneginf(sums["max_logit_max"]), np.nan, sums["max_logit_max"])
        found |= {name: sums[name] for name in ("max_logit_text", "max_logit_key")}
    if "row_count" in sums:
        n = sums["row_count"]
        level = ratio(sums["level_sum"], n)
        spread = ratio(sums["level_square_sum"], n) - np.square(level)
        found |= {"log_sum_exp_mean": level, "log_sum_exp_std": np.sqrt(np.maximum(spread, 0))}
        found |= {"entropy": ratio(sums["entropy_sum"], n)}
        found |= {"entropy_normalised": ratio(sums["entropy_share_sum"], sums["share_count"])}
    for name in ("first", "separator", "previous"):
        if f"{name}_count" in sums:
            found[f"{name}_mass"] = ratio(sums[f"{name}_mass_sum"], sums[f"{name}_count"])
    if "query_gradient_sum" in sums:
        found["query_gradient"] = np.sqrt(sums["query_gradient_sum"])
    return found
