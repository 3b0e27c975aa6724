"""Phase 6: every control beside the baseline. Each changes one knob, and then which phenomena change with it?

Runs of one seed share their initial weights and their text in the same order, whatever their variant. So a control is
compared with the baseline of its own seed, and the differences are averaged over seeds.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from civilwar.analysis import divergence, focus, gain, rank
from civilwar.analysis.statistics import spearman, t_half_width
from civilwar.recipe.config import VARIANTS
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
#: Below this, the baseline's seeds count as equal: rounding is no unit to measure changes in.
NO_SPREAD = 1e-9


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


def lacking(sweep: Sweep, variants: Sequence[str] = (), baseline_seeds: int = 1) -> str:
    """What a comparison needs and the sweep does not have yet, as a sentence; empty where nothing is lacking.

    Needed: so many runs of the baseline, and runs of ``variants``, or where none are named, any control with a baseline of
    its seed.
    """
    needed = []
    if len(sweep.baseline) < baseline_seeds:
        needed.append(f"at least {baseline_seeds} of the baseline (recorded: {len(sweep.baseline)})")
    needed += [f"one of {variant}" for variant in variants if not sweep.of(variant)]
    if not variants and not any(sweep.pairs(variant) for variant in VARIANTS if variant != BASELINE):
        needed.append("one of a control, with the baseline's of the same seed")
    return f"Nothing to show yet: this comparison needs runs of the sweep, {' and '.join(needed)}." if needed else ""


def curves(sweep: Sweep) -> pd.DataFrame:
    """`curves_of` every run: variant, seed, step, measure, value."""
    tables = [
        curves_of(run).assign(variant=variant, seed=run.config.seed)
        for variant in sweep.variants
        for run in sweep.of(variant)
    ]
    columns = ["variant", "seed", "step", "measure", "value"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def select_measure(curves: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One measure over seeds: variant, step, mean, low and high (the range over seeds), n. Null values do not count."""
    return over_seeds(curves[curves["measure"] == measure])


def over_seeds(values: pd.DataFrame) -> pd.DataFrame:
    """Values by variant, seed and step over seeds: variant, step, mean, low and high (the range), n."""
    by_step = values.dropna(subset=["value"]).groupby(["variant", "step"], sort=False)["value"]
    return by_step.agg(mean="mean", low="min", high="max", n="count").reset_index()


def ends(table: pd.DataFrame) -> pd.Series:
    """`over_seeds` at the last step: mean by variant, lowest first."""
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

    The mean of the pair's two entries. Empty for a variant that learns no gain.
    """
    tables = []
    for run in sweep.of(variant):
        if run.config.model.qk_norm != "learned":
            continue
        final = gain.final_gain(run)
        final = final.assign(pair=final["dimension"] // 2, variant=variant, seed=run.config.seed)
        tables.append(final.groupby(["variant", "seed", "layer", "pair", "rank"], as_index=False)["gain"].mean())
    columns = ["variant", "seed", "layer", "pair", "rank", "gain"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


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


def falls_statement(run: Run, beside: Sweep, names: Mapping[str, str]) -> str:
    """How far a run's norms first fall, and those of the variants ``beside`` it; a clause, which says where none are."""
    said = f"its norms first fall by {fall(run):.2f} on average over layers"
    others = [
        f"{fall(other):.2f} ({names[other.config.variant]})"
        for other in beside.all
        if other.config.variant != run.config.variant
    ]
    return f"{said}, those of other variants by {', '.join(others)}" if others else f"{said}; no other variant is there"


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
    """Paired differences to the baseline: variant, phenomenon, change (mean over seeds), low, high, n, baseline, deviations.

    ``low`` and ``high``: 95% t interval over seeds, null with fewer than two. ``baseline``: mean over all of its runs.
    ``deviations``: the change in standard deviations between the baseline's runs, null where there are fewer than two or
    where they are equal.
    """
    base = outcomes[outcomes["variant"] == BASELINE]
    paired = outcomes[outcomes["variant"] != BASELINE].merge(base, on=["seed", "phenomenon"], suffixes=("", "_base"))
    paired = paired.assign(change=paired["value"] - paired["value_base"])
    keys = ["variant", "phenomenon"]
    table = paired.groupby(keys, sort=False)["change"].agg(change="mean", std="std", n="count").reset_index()
    half = t_half_width(table["std"], table["n"])
    of_base = base.groupby("phenomenon")["value"].agg(["mean", "std"])
    unit = table["phenomenon"].map(of_base["std"]).astype(float)
    return table.assign(
        low=table["change"] - half,
        high=table["change"] + half,
        baseline=table["phenomenon"].map(of_base["mean"]).astype(float),
        deviations=table["change"] / unit.where(unit > NO_SPREAD),
    )[[*keys, "change", "low", "high", "n", "baseline", "deviations"]]


def clear(changes: pd.DataFrame) -> pd.Series:
    """Whether a change's 95% interval leaves out 0."""
    return (changes["low"] > 0) | (changes["high"] < 0)


def attribution(changes: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Which knob moves which phenomenon: phenomenon, baseline, lowered by, raised by, undefined in; the clear changes only.

    Knobs by ``names``, the largest change first.
    """
    rows = []
    for phenomenon in PHENOMENA:
        table = changes[changes["phenomenon"] == phenomenon]
        table = table.assign(size=table["change"].abs(), clear=clear(table)).sort_values("size", ascending=False)
        groups = {
            "lowered by": table["clear"] & (table["change"] < 0),
            "raised by": table["clear"] & (table["change"] > 0),
            "undefined in": table["change"].isna(),
        }
        row: dict[str, object] = {"phenomenon": phenomenon, "baseline": table["baseline"].max()}
        row |= {
            name: ", ".join(names[variant] for variant in table[chosen]["variant"]) or "–"
            for name, chosen in groups.items()
        }
        rows.append(row)
    return pd.DataFrame(rows)


def wide(changes: pd.DataFrame) -> pd.DataFrame:
    """One row per phenomenon, one column per knob: the change and half its interval as text; a dash where undefined."""
    said = changes.assign(
        text=[
            _said(change, high - change, PHENOMENA[phenomenon])
            for phenomenon, change, high in zip(changes["phenomenon"], changes["change"], changes["high"], strict=True)
        ]
    )
    table = said.pivot(index="phenomenon", columns="variant", values="text")
    return table.reindex(index=list(PHENOMENA), columns=list(changes["variant"].unique())).reset_index()


def _said(change: float, half: float, decimals: int) -> str:
    if math.isnan(change):
        return "–"
    number = f"{change:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")
    return number if math.isnan(half) else f"{number} ± {half:.{decimals}f}"


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
        "controls_n_clear": int(clear(defined).sum()),
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
