"""The number behind every criterion of `civilwar.evidence.rules`, by name, and what it is computed from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from civilwar.analysis import roles, strata
from civilwar.evidence import of_attention, of_dimensions, of_gains, of_norms
from civilwar.evidence.decision import Pooled
from civilwar.evidence.of_dimensions import COORDINATE, COVARIANCE
from civilwar.recipe.config import make_config
from civilwar.recipe.plan import BASELINE
from civilwar.runs.reader import Run


@dataclass(frozen=True)
class Estimator:
    """How a criterion's number is computed, and from what."""

    compute: Callable[..., float | Pooled]
    """Of a run; of a (baseline, control) pair; of the sweep; of the configuration that its runs share; or of nothing."""
    unit: Literal["run", "pair", "sweep", "config", "arithmetic"] = "run"
    variant: str = BASELINE
    may_lack: bool = False
    """Whether a run that has nothing to look at is left out, as a premise of the claim sees to; else it leaves the criterion
    open."""


def measuring_share(run: Run) -> float:
    """C17: seconds in snapshots over seconds of training with them, from the manifest; NaN where it does not say.

    Experiments at the end are in neither. What is measured at every step is computed inside the step and is not timed apart.
    """
    timings = run.manifest.get("timings", {})
    training = timings.get("wall_seconds", math.nan)
    return float(timings.get("snapshot_seconds", math.nan)) / training if training else math.nan


def recipe_parameters() -> float:
    """C17, in millions: of the report's recipe."""
    return make_config("paper").model.n_parameters / 1e6


def recipe_tokens() -> float:
    """C17, in millions: of the report's recipe."""
    return make_config("paper").n_tokens / 1e6


def gains_over_random(run: Run) -> float:
    """C12: what the dimensions with the largest gains keep, less what as many random dimensions keep."""
    return of_dimensions.kept(run, "gains") - of_dimensions.kept(run, "random_dimensions")


def directions_over_random(run: Run) -> float:
    """C11: what principal directions keep, less what as many random ones keep."""
    return of_dimensions.kept(run, "directions") - of_dimensions.kept(run, "random_directions")


ESTIMATORS: dict[str, Estimator] = {
    # C01 to C04
    "largest_start_deviation": Estimator(of_norms.largest_start_deviation),
    "dip_depth": Estimator(of_norms.dip_depth),
    "dip_step": Estimator(of_norms.dip_step),
    "dip_norm": Estimator(of_norms.dip_norm),
    "dip_kept_without_decay": Estimator(of_norms.dip_kept, unit="pair", variant="no_gain_decay"),
    "rank_kept_at_dip": Estimator(of_norms.rank_kept_at_dip),
    "cosine_rise_at_dip": Estimator(of_norms.cosine_rise_at_dip),
    "spread_over_noise": Estimator(of_norms.spread_over_noise),
    "relative_range": Estimator(of_norms.relative_range),
    "onset_sensitive": Estimator(lambda run: of_norms.onset(run, 0.5)),
    "onset_strict": Estimator(lambda run: of_norms.onset(run, 2.0)),
    "onset_step": Estimator(of_norms.onset),
    "spread_over_alignment": Estimator(lambda run: of_norms.spread_over_dealt(run, None)),
    "spread_over_neighbours": Estimator(lambda run: of_norms.spread_over_dealt(run, strata.NEIGHBOURS)),
    "share_between_layers": Estimator(of_norms.share_between_layers),
    "same_loudest_head": Estimator(of_norms.same_loudest_head, unit="sweep"),
    "order_of_drift": Estimator(of_norms.order_of_drift),
    "order_persistence_excess": Estimator(of_norms.order_persistence_excess),
    # C05 to C08
    "focus_early": Estimator(lambda run: of_attention.stratified(run, "early", "causal")),
    "focus_late": Estimator(lambda run: of_attention.stratified(run, "late", "causal")),
    "focus_given_query_norm": Estimator(lambda run: of_attention.partial_focus(run, "key_norm", ("query_norm",))),
    "focus_late_without_norm": Estimator(
        lambda run: of_attention.stratified(run, "late", "rescaled") - of_attention.stratified(run, "late", "causal")
    ),
    "focus_of_query_norm": Estimator(lambda run: of_attention.partial_focus(run, "query_norm")),
    "focus_late_report": Estimator(lambda run: of_attention.stratified(run, "late", "report")),
    "focus_shatters": Estimator(
        lambda run: of_attention.stratified(run, "late", "causal") - of_attention.stratified(run, "early", "causal")
    ),
    "power": Estimator(of_attention.least_power, unit="sweep"),
    "norm_dip": Estimator(lambda sweep: of_attention.dip(sweep, "norm"), unit="sweep"),
    "entropy_dip": Estimator(lambda sweep: of_attention.dip(sweep, "entropy_normalised"), unit="sweep"),
    "sinks_scale": Estimator(of_attention.millions_of_parameters, unit="config"),
    "heads_above_11": Estimator(of_attention.heads_above_11),
    "entropy_above_11": Estimator(of_attention.entropy_above_11, may_lack=True),
    "entropy_of_loudest": Estimator(lambda run: of_attention.entropy_of_extreme(run, quietest=False)),
    "gatherers_scale": Estimator(of_attention.millions_of_parameters, unit="config"),
    "norm_of_broadest": Estimator(lambda run: of_attention.of_broadest(run, "norm")),
    "entropy_of_broadest": Estimator(lambda run: of_attention.of_broadest(run, "entropy_normalised")),
    "heads_near_5": Estimator(of_attention.heads_near_5),
    "entropy_of_quietest": Estimator(lambda run: of_attention.entropy_of_extreme(run, quietest=True)),
    # C09 to C11
    "start_coordinate_pr": Estimator(lambda run: of_dimensions.start_rank(run, COORDINATE)),
    "start_distance_from_random": Estimator(lambda run: abs(of_dimensions.start_excess(run))),
    "start_coordinate_pr_excess": Estimator(of_dimensions.start_excess),
    "start_covariance_pr": Estimator(lambda run: of_dimensions.start_rank(run, COVARIANCE)),
    "middle_coordinate_pr": Estimator(of_dimensions.middle_rank),
    "middle_below_edges": Estimator(lambda run: of_dimensions.middle_less_edges(run, COORDINATE)),
    "fall_explained_by_gain": Estimator(of_dimensions.fall_explained_by_gain),
    "middle_below_edges_covariance": Estimator(lambda run: of_dimensions.middle_less_edges(run, COVARIANCE)),
    "evenness_over_alignment": Estimator(lambda run: of_dimensions.evenness_over_dealt(run, None)),
    "evenness_over_neighbours": Estimator(lambda run: of_dimensions.evenness_over_dealt(run, strata.NEIGHBOURS)),
    "kept_by_directions": Estimator(lambda run: of_dimensions.kept(run, "directions")),
    "kept_over_random": Estimator(directions_over_random),
    "kept_by_gains": Estimator(lambda run: of_dimensions.kept(run, "gains")),
    # C12 to C18
    "golden_gain_over_scatter": Estimator(of_gains.golden_gain_over_scatter),
    "golden_gain": Estimator(of_gains.golden_gain),
    "gains_over_random": Estimator(gains_over_random),
    "fast_half_trend": Estimator(lambda run: of_gains.trend(run, fast_half=True)),
    "slow_gain": Estimator(of_gains.slow_gain),
    "frequency_trend": Estimator(of_gains.trend),
    "frequency_trend_shuffled": Estimator(of_gains.trend, variant="shuffled_rope"),
    "index_trend_shuffled": Estimator(lambda run: of_gains.trend(run, by="pair"), variant="shuffled_rope"),
    "settle_step": Estimator(of_gains.settle_step),
    "settle_before_walk": Estimator(of_gains.settle_before_walk),
    "n_static_sinks": Estimator(roles.n_static_sinks),
    "golden_energy_sinks_less_others": Estimator(roles.golden_energy_sinks_less_others, may_lack=True),
    "golden_energy_of_sinks": Estimator(roles.golden_energy_of_sinks, may_lack=True),
    "golden_energy_of_broad": Estimator(roles.golden_energy_of_broad),
    "golden_energy_broad_less_sharp": Estimator(roles.golden_energy_broad_less_sharp),
    "golden_energy_of_broad_in_strata": Estimator(of_gains.golden_energy_of_broad_in_strata),
    "n_retrievers": Estimator(roles.n_retrievers),
    "contrast_of_retrievers": Estimator(roles.contrast_of_retrievers, may_lack=True),
    "contrast_over_others": Estimator(roles.contrast_over_others, may_lack=True),
    "contrast_of_all": Estimator(roles.contrast_of_all),
    "recipe_parameters": Estimator(recipe_parameters, unit="arithmetic"),
    "recipe_tokens": Estimator(recipe_tokens, unit="arithmetic"),
    "measuring_share": Estimator(measuring_share),
    "dip_in_pure_bfloat16": Estimator(of_norms.dip_kept, unit="pair", variant="pure_bf16"),
    "likeness_raw": Estimator(lambda run: of_gains.likeness(run, "raw")),
    "likeness_detrended": Estimator(lambda run: of_gains.likeness(run, "detrended")),
    "likeness_in_strata": Estimator(of_gains.likeness_in_strata),
    "likeness_centred": Estimator(lambda run: of_gains.likeness(run, "centred")),
}
