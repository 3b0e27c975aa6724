"""Phase 5: kinds of heads. Is a kind there at all, and has a head the same kind at other steps and in other seeds?

A kind is defined by attention (`civilwar.analysis.taxonomy`). What heads of a kind then do stands in `civilwar.analysis.roles`.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from civilwar.analysis import taxonomy
from civilwar.analysis.statistics import DRAWS, generator, permutation_p
from civilwar.analysis.taxonomy import FOCUSED, KINDS
from civilwar.runs.reader import Run

# ---------------------------------------------------------------- scores and thresholds

#: Thresholds to count sinks at; Gu et al. use 0.3.
EPSILONS = tuple(round(0.02 * i, 2) for i in range(1, 31))


def scores_beside_null(run: Run) -> pd.DataFrame:
    """Every score of every query head before and after training: score, trained, layer, query_head, value, threshold, passes.

    ``broad`` is the normalised entropy, with the threshold of a gatherer.
    """
    limits = taxonomy.thresholds(run)
    tables = [
        taxonomy.head_means(taxonomy.scores(run, step))
        .melt(["layer", "query_head"], [*FOCUSED, "broad"], "score")
        .assign(trained=trained)
        for trained, step in ((False, run.first_snapshot), (True, run.last_step))
    ]
    table = pd.concat(tables, ignore_index=True)
    table["threshold"] = table["score"].map(limits | {"broad": limits["gatherer"]})
    passes = np.where(
        table["score"] == "broad", table["value"] >= table["threshold"], table["value"] > table["threshold"]
    )
    return table.assign(passes=passes)[["score", "trained", "layer", "query_head", "value", "threshold", "passes"]]


def sink_sweep(run: Run, epsilons: Sequence[float] = EPSILONS) -> pd.DataFrame:
    """Share of query heads with alpha_k above epsilon at the end: horizon, position, epsilon, share, untrained, uniform.

    ``horizon`` is T and ``position`` k; alpha is averaged over texts. ``untrained``: the same share at step 0; ``uniform``:
    alpha_k of uniform causal attention, (H_T - H_{k-1}) / (T - k + 1).
    """
    table = run.table("probe_sinks")
    first = run.first_snapshot
    table = table[table["step"].isin([first, run.last_step])]
    keys = ["step", "horizon", "position"]
    alpha = table.groupby([*keys, "layer", "query_head"])["alpha"].mean()
    rows = []
    for epsilon in epsilons:
        share = (alpha > epsilon).groupby(keys).mean().unstack("step")
        rows.append(share[[run.last_step, first]].set_axis(["share", "untrained"], axis=1).assign(epsilon=epsilon))
    found = pd.concat(rows).reset_index()
    uniform = [
        float((1 / np.arange(k, horizon + 1)).mean())
        for horizon, k in zip(found["horizon"], found["position"], strict=True)
    ]
    return found.assign(uniform=uniform)[["horizon", "position", "epsilon", "share", "untrained", "uniform"]]


# ---------------------------------------------------------------- how stable labels are


def labels_over_time(run: Run) -> pd.DataFrame:
    """Kind of every query head at every recorded snapshot: step, layer, query_head, kind.

    Thresholds are the same throughout, those of the run before training.
    """
    return taxonomy.labels_at_snapshots(run)[["step", "layer", "query_head", "kind"]]


def counts(labelled: pd.DataFrame, by: str) -> pd.DataFrame:
    """Query heads of each kind: one row per value of column ``by``, one column per kind that ever occurs."""
    table = pd.crosstab(labelled[by], labelled["kind"])
    return table[[kind for kind in KINDS if kind in table]].rename_axis(columns=None)


def persistence(over_time: pd.DataFrame) -> pd.DataFrame:
    """Share of query heads that have their final kind already: step, same, dealt.

    ``dealt``: the expected share if each layer's labels of that step were dealt to its heads anew.
    """
    kinds = over_time.pivot(index=["layer", "query_head"], columns="step", values="kind")
    last = kinds[kinds.columns.max()]
    rows = []
    for step, at_step in kinds.items():
        # a head gets label k with the share that k has in its layer
        dealt = [_shares(at_step[layer]) @ _shares(last[layer]) for layer in last.index.unique("layer")]
        rows.append({"step": step, "same": float((at_step == last).mean()), "dealt": float(np.mean(dealt))})
    return pd.DataFrame(rows)


def _shares(kinds: pd.Series) -> np.ndarray:
    """Share of each of KINDS."""
    shares: np.ndarray = (kinds.to_numpy()[:, None] == np.array(KINDS)).mean(0)
    return shares


def dealt_heads(random: np.random.Generator, shape: tuple[int, ...], group: int) -> np.ndarray:
    """Query heads of each layer in another order, [*shape] with heads last: KV groups anew, and heads within each group.

    Groups stay together, since query heads of one KV head are alike.
    """
    rows, n_groups = shape[:-1], shape[-1] // group
    groups = random.permuted(np.broadcast_to(np.arange(n_groups), (*rows, n_groups)), axis=-1)
    inside = random.permuted(np.broadcast_to(np.arange(group), (*rows, n_groups, group)), axis=-1)
    return (groups[..., None] * group + inside).reshape(shape)


def labels_over_seeds(runs: Sequence[Run]) -> pd.DataFrame:
    """Kind of every query head at the end of every run: seed, layer, query_head, kind."""
    columns = ["seed", "layer", "query_head", "kind"]
    parts = [taxonomy.labels(run, draws=0).assign(seed=run.config.seed)[columns] for run in runs]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def agreement(over_seeds: pd.DataFrame, group: int, draws: int = DRAWS) -> dict[str, float]:
    """How often the same (layer, query_head) has the same kind in two seeds: same, dealt, low, high, p, n_seeds.

    ``dealt`` to ``high``: mean and 95% of labels dealt anew within each layer and seed, in KV groups of ``group`` query
    heads; p is one-sided, for more agreement than that. NaN with fewer than two seeds.
    """
    n_seeds = over_seeds["seed"].nunique()
    if n_seeds < 2:
        return dict.fromkeys(("same", "dealt", "low", "high", "p"), math.nan) | {"n_seeds": n_seeds}
    ordered = over_seeds.sort_values(["seed", "layer", "query_head"])
    codes = pd.Categorical(ordered["kind"], KINDS).codes.reshape(n_seeds, over_seeds["layer"].nunique(), -1)
    observed = float(_agreement(codes[None])[0])
    dealt = dealt_heads(generator(9), (draws, *codes.shape), group)
    null = _agreement(np.take_along_axis(codes[None], dealt, axis=-1))
    low, high = (float(x) for x in np.quantile(null, [0.025, 0.975]))
    p = permutation_p(observed, null)
    return {"same": observed, "dealt": float(null.mean()), "low": low, "high": high, "p": p, "n_seeds": n_seeds}


def _agreement(codes: np.ndarray) -> np.ndarray:
    """[draw, seed, layer, query_head] -> share of equal codes over pairs of seeds, [draw]."""
    pairs = list(combinations(range(codes.shape[1]), 2))
    share: np.ndarray = np.mean([(codes[:, a] == codes[:, b]).mean((1, 2)) for a, b in pairs], axis=0)
    return share


# ---------------------------------------------------------------- for the prose


def summary(run: Run, labelled: pd.DataFrame, persistent: pd.DataFrame) -> dict[str, float]:
    """The numbers of kinds for the prose."""
    mid = run.config.moments()["mid"]
    half = persistent.set_index("step").loc[mid]
    return {
        "n_query_heads": len(labelled),
        "n_sink_heads": int((labelled["sink"] > taxonomy.SINK_EPSILON).sum()),
        "largest_sink_alpha": float(labelled["sink"].max()),
        "sink_epsilon": taxonomy.SINK_EPSILON,
        "sink_horizon": run.config.sink_horizon,
        "kinds_certain_share": float((labelled["certainty"] >= 0.9).mean()),
        "kinds_half_step": mid,
        "kinds_same_at_half": float(half["same"]),
        "kinds_dealt_at_half": float(half["dealt"]),
    }
