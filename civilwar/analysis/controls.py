"""Phase 6: every control beside the baseline. Each changes one knob, and then which phenomena change with it?

Runs of one seed share their initial weights and their text in the same order, whatever their variant. So a control is
compared with the baseline of its own seed, and the differences are averaged over seeds.
"""

import math

import numpy as np
import pandas as pd

from civilwar.analysis import divergence, focus, gain, rank, statistics
from civilwar.analysis.statistics import NO_SPREAD, spearman
from civilwar.names.variants import VARIANTS
from civilwar.recipe.plan import BASELINE
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run

#: Draws of the focus law's null in each run; it is shown, not tested.
NULL_DRAWS = 199
#: What is followed over steps: ``norm`` and ``spread`` every `EVERY` steps and at the end, the others at the snapshots.
MEASURES = ("norm", "spread", "entropy", "focus", "coordinate_ratio", "covariance_ratio", "loss")
EVERY = 4
#: What a knob may change: the measures at the end, and what only a whole run has. Name to decimals shown.
PHENOMENA = {
    "fall": 2,
    "norm": 2,
    "spread": 2,
    "onset": 0,
    "entropy": 3,
    "focus": 2,
    "coordinate_ratio": 1,
    "covariance_ratio": 1,
    "frequency": 2,
    "settle": 0,
    "loss": 3,
}


# ---------------------------------------------------------------- over steps


def curves_of(run: Run) -> pd.DataFrame:
    """Every measure of one run, mean over layers and heads: step, measure, value. ``focus`` is null at equal norms.

    ``norm`` and ``spread`` (standard deviation between the KV heads of a layer) on the training batch; ``entropy``
    (causal, normalised), ``focus`` (its rank correlation with key norm within layers), ``coordinate_ratio`` and
    ``covariance_ratio`` (participation ratios) and ``loss`` on the held-out probe texts.
    """
    ranks = rank.layer_means(run).groupby(["measure", "step"])["value"].mean()
    focused = focus.correlations_over_time(run, draws=1)
    by_measure = {
        "norm": divergence.key_norms(run).groupby("step")["norm"].mean(),
        "spread": divergence.spreads(run).groupby("step")["spread"].mean(),
        "entropy": focus.head_points(run).groupby("step")["entropy_normalised"].mean(),
        "focus": focused[focused["measure"] == "causal"].set_index("step")["rho"],
        "coordinate_ratio": ranks["coordinate_participation_ratio"],
        "covariance_ratio": ranks["participation_ratio"],
        "loss": run.table("probe_loss").groupby("step")["loss"].mean(),
    }
    for measure in ("norm", "spread"):
        step = by_measure[measure].index
        by_measure[measure] = by_measure[measure][(step % EVERY == 0) | (step == step.max())]
    table = pd.concat(by_measure, names=["measure", "step"]).rename("value").reset_index()
    return table[["step", "measure", "value"]]


def curves(sweep: Sweep) -> pd.DataFrame:
    """`curves_of` every run: variant, seed, step, measure, value."""
    tables = [
        curves_of(run).assign(variant=variant, seed=run.config.seed)
        for variant in sweep.variants
        for run in sweep.of(variant)
    ]
    columns = ["variant", "seed", "step", "measure", "value"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def measure_over_seeds(curves: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One measure over seeds: variant, step, mean, low and high (the range over seeds), n. Null values do not count."""
    return mean_and_range(curves[curves["measure"] == measure])


def mean_and_range(values: pd.DataFrame) -> pd.DataFrame:
    """Values by variant, seed and step over seeds: variant, step, mean, low and high (the range), n."""
    by_step = values.dropna(subset=["value"]).groupby(["variant", "step"], sort=False)["value"]
    return by_step.agg(mean="mean", low="min", high="max", n="count").reset_index()


def ends(table: pd.DataFrame) -> pd.Series:
    """`mean_and_range` at the last step: mean by variant, lowest first."""
    return table[table["step"] == table["step"].max()].set_index("variant")["mean"].sort_values()


def less_baseline(curves: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One measure less that of the baseline of the same seed: variant, seed, step, measure, value. Controls only."""
    values = curves[curves["measure"] == measure]
    base = values[values["variant"] == BASELINE][["seed", "step", "value"]]
    paired = values[values["variant"] != BASELINE].merge(base, on=["seed", "step"], suffixes=("", "_base"))
    return paired.assign(value=paired["value"] - paired["value_base"]).drop(columns="value_base")


def decay_only(sweep: Sweep) -> pd.DataFrame:
    """What weight decay alone would do to the key norm of each variant: variant, step, norm. Flat without decay."""
    tables = [
        divergence.decay_only_curve(sweep.of(variant)[0]).rename("norm").reset_index().assign(variant=variant)
        for variant in sweep.variants
    ]
    columns = ["variant", "step", "norm"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def focus_null(sweep: Sweep) -> pd.DataFrame:
    """95% of the focus law's null in one run, bounds averaged over the baseline's runs: step, low, high."""
    tables = [focus.correlations_over_time(run, draws=NULL_DRAWS) for run in sweep.baseline]
    if not tables:
        return pd.DataFrame(columns=["step", "low", "high"])
    table = pd.concat(tables)
    causal = table[table["measure"] == "causal"].dropna(subset=["null_low"])
    bounds = causal.groupby("step", as_index=False)[["null_low", "null_high"]].mean()
    return bounds.rename(columns={"null_low": "low", "null_high": "high"})


# ---------------------------------------------------------------- gain and frequency


def gain_profiles(sweep: Sweep, variant: str) -> pd.DataFrame:
    """Final gain of every dimension pair: variant, seed, layer, pair (place among dimensions), rank (0 fastest), gain.

    Gains of pairs as in `civilwar.analysis.gain.pair_gains`. Empty for a variant that learns no gain.
    """
    tables = []
    for run in sweep.of(variant):
        if run.config.model.qk_norm != "learned":
            continue
        tables.append(gain.pair_gains(run).assign(variant=variant, seed=run.config.seed))
    columns = ["variant", "seed", "layer", "pair", "rank", "gain"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def mean_profile(profiles: pd.DataFrame, order: str) -> pd.DataFrame:
    """Mean of `gain_profiles` over layers and seeds at every place of ``order`` (``rank`` or ``pair``): order, gain."""
    return profiles.groupby(order, as_index=False)["gain"].mean()


def trend(profiles: pd.DataFrame, order: str) -> float:
    """Spearman's rho of gain and ``order`` (``rank`` or ``pair``), mean over layers and runs. NaN where there are none."""
    by_layer = [
        spearman(table["gain"].to_numpy(dtype=float), table[order].to_numpy(dtype=float))
        for _, table in profiles.groupby(["seed", "layer"])
    ]
    return float(np.mean(by_layer)) if by_layer else math.nan


# ---------------------------------------------------------------- which knob changes what


def fall(run: Run) -> float:
    """How far a layer's mean norm falls from its start to its minimum in the first half, mean over layers; at least 0."""
    norms = divergence.key_norms(run)
    norms = norms[norms["step"] <= run.config.moments()["mid"]]
    by_layer = norms.groupby(["step", "layer"])["norm"].mean().unstack("layer")
    return float((by_layer.iloc[0] - by_layer.min()).mean())


def onset(run: Run) -> float:
    """Step from which the spread stays above batch noise, median over layers; one that never parts counts as the end.

    NaN under a frozen gain: all norms are equal there but for rounding, and rounding has no noise of batches.
    """
    if run.config.model.qk_norm == "frozen":
        return math.nan
    return float(divergence.onsets(run)["onset_step"].fillna(run.last_step).median())


def outcomes(sweep: Sweep, curves: pd.DataFrame) -> pd.DataFrame:
    """Every phenomenon of every run: variant, seed, phenomenon, value. Null where undefined.

    The measures of ``curves`` at the last step; `fall`; `onset`; ``frequency`` (rank correlation of final gain and RoPE
    frequency rank) and ``settle`` (step from which the gain keeps its direction), means over layers, which need a learned
    gain.
    """
    rows = []
    for variant in sweep.variants:
        for run in sweep.of(variant):
            own = curves[(curves["variant"] == variant) & (curves["seed"] == run.config.seed)]
            values = own[own["step"] == run.last_step].set_index("measure")["value"].to_dict()
            learned = run.config.model.qk_norm == "learned"
            values |= {
                "fall": fall(run),
                "onset": onset(run),
                "frequency": float(gain.frequency_trend(run, draws=1)["rho"].mean()) if learned else math.nan,
                "settle": float(gain.settle_steps(run)["settle_step"].mean()) if learned else math.nan,
            }
            rows += [
                {"variant": variant, "seed": run.config.seed, "phenomenon": p, "value": values[p]} for p in PHENOMENA
            ]
    return pd.DataFrame(rows, columns=["variant", "seed", "phenomenon", "value"])


def side_by_side(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a phenomenon, in `PHENOMENA`'s order, one column a variant: means over that variant's runs."""
    table = outcomes.groupby(["phenomenon", "variant"], sort=False)["value"].mean().unstack("variant")
    columns = [variant for variant in VARIANTS if variant in table]
    return table.reindex(index=list(PHENOMENA), columns=columns).rename_axis(columns=None).reset_index()


def changes(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Paired differences to the baseline: variant, phenomenon, change, low, high, n, baseline, deviations, clear.

    ``change``: mean over seeds; ``low`` and ``high``: its 95% t interval, null with fewer than two; ``clear``: whether that
    leaves out 0. ``baseline``: mean over all of its runs. ``deviations``: the change in standard deviations between the
    baseline's runs, null where there are fewer than two or where they are equal.
    """
    base = outcomes[outcomes["variant"] == BASELINE]
    paired = outcomes[outcomes["variant"] != BASELINE].merge(base, on=["seed", "phenomenon"], suffixes=("", "_base"))
    paired = paired.assign(change=paired["value"] - paired["value_base"])
    keys = ["variant", "phenomenon"]
    table = statistics.over_seeds(paired.groupby(keys, sort=False)["change"]).reset_index()
    table = table.rename(columns={"mean": "change"})
    of_base = base.groupby("phenomenon")["value"].agg(["mean", "std"])
    unit = table["phenomenon"].map(of_base["std"]).astype(float)
    return table.assign(
        # the interval leaves out 0
        clear=(table["low"] > 0) | (table["high"] < 0),
        baseline=table["phenomenon"].map(of_base["mean"]).astype(float),
        deviations=table["change"] / unit.where(unit > NO_SPREAD),
    )[[*keys, "change", "low", "high", "n", "baseline", "deviations", "clear"]]


def summary(outcomes: pd.DataFrame, changes: pd.DataFrame, place: float) -> dict[str, float]:
    """The phase's numbers for the prose: seeds behind it, and every variant's mean of what the prose speaks of.

    ``place``: the rank correlation of gain and place among dimensions under shuffled frequencies.
    """
    means = outcomes.groupby(["phenomenon", "variant"])["value"].mean()
    seeds = outcomes.groupby("variant")["seed"].nunique()
    defined = changes.dropna(subset=["low"])
    numbers: dict[str, float] = {
        "controls_baseline_seeds": int(seeds.get(BASELINE, 0)),
        "controls_seeds_min": int(seeds.drop(BASELINE, errors="ignore").min()) if len(seeds) > 1 else 0,
        "controls_n_changes": len(defined),
        "controls_n_clear": int(defined["clear"].sum()),
        "controls_by_chance": 0.05 * len(defined),
        "controls_place_shuffled_rope": place,
    }
    said = {
        "fall": ("baseline", "no_gain_decay", "pure_bf16"),
        "frequency": ("baseline", "shuffled_rope"),
        "loss": ("baseline",),
    }
    return numbers | {
        f"controls_{phenomenon}_{variant}": float(means.get((phenomenon, variant), math.nan))
        for phenomenon, variants in said.items()
        for variant in variants
    }
