"""Every defensible other choice: what a hostile reader could have done instead of what the rules say.

A choice changes one thing and leaves the rest: the correction, the test, the thresholds, the null, the unit, the measure, or
which layers speak. `civilwar.evidence.robustness` decides every claim anew under each.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from civilwar.analysis import beyond_frequency, compression, divergence, focus, gain, onset, partial, suppression
from civilwar.analysis.strata import NEIGHBOURS
from civilwar.analysis.variance_split import ranges
from civilwar.evidence import decision, of_attention, of_dimensions, of_gains, of_norms
from civilwar.evidence.decision import Outcome, Threshold
from civilwar.evidence.rule import DECIDING, LEVEL, Criterion, Rule, Side, on_the_side
from civilwar.evidence.rules import RULES
from civilwar.runs.reader import Run

Test = Callable[[Sequence[float], Side, Threshold, float], Outcome]
#: How much laxer or stricter thresholds are made: this share of each.
QUARTER = 0.25
#: Draws of the nulls, of which only the median is used.
MEDIAN_DRAWS = 499


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One other way to decide. What it leaves alone stays as the rules say."""

    key: str
    group: str
    """What it changes: correction, test, threshold, null, unit, measure, layers."""
    label: str
    """For the head of a column."""
    says: str
    """In a sentence."""
    shared_by: int | None = None
    """Over how many criteria `LEVEL` is shared, in place of the claim's own."""
    test: Test = decision.by_interval
    laxer: float = 0.0
    """By which share of itself each threshold is made easier to meet; negative, harder."""
    drops: frozenset[str] = frozenset()
    """Criteria that then decide nothing."""
    measures: Callable[[Run], Mapping[str, float]] | None = None
    """Other numbers, by the criterion that they stand for."""
    replaces: frozenset[str] = frozenset()
    """Names of the criteria that ``measures`` has numbers for."""

    def touches(self, rule: Rule) -> bool:
        """Whether the claim's deciding criteria could come out otherwise."""
        deciding = {c.name for c in rule.criteria if c.role in DECIDING}
        if self.replaces or self.drops:
            return bool(deciding & (self.replaces | self.drops))
        return bool(deciding)

    def of(self, rule: Rule) -> Rule:
        """The rule as this choice has it."""
        return replace(rule, criteria=tuple(self._of(criterion) for criterion in rule.criteria))

    def _of(self, criterion: Criterion) -> Criterion:
        if criterion.name in self.drops:
            return replace(criterion, role="context")
        if self.laxer and criterion.role in DECIDING:
            return replace(criterion, threshold=eased(criterion.side, criterion.threshold, self.laxer))
        return criterion


def eased(side: Side, threshold: Threshold, share: float) -> Threshold:
    """A threshold made easier to meet by a share of itself; a range by that share of its half width, about its middle.

    Zero stays zero: a share of it is nothing.
    """
    if isinstance(threshold, tuple):
        middle, half = (threshold[0] + threshold[1]) / 2, (threshold[1] - threshold[0]) / 2
        return middle - (1 + share) * half, middle + (1 + share) * half
    return threshold + (-1 if side == "above" else 1) * share * abs(threshold)


def by_signs(values: Sequence[float], side: Side, threshold: Threshold, level: float) -> Outcome:
    """The outcome if only the side of each seed counts: a two-sided sign test, 2 P(X >= k) of n fair coins."""
    x = [value for value in values if not math.isnan(value)]
    good = sum(on_the_side(value, side, threshold) for value in x)
    if not x or stats.binomtest(good, len(x)).pvalue >= level:
        return "open"
    return "holds" if good > len(x) / 2 else "fails"


def without_any_seed(values: Sequence[float], side: Side, threshold: Threshold, level: float) -> Outcome:
    """The outcome that stays whichever one seed is left out; open where it hangs on one."""
    x = [value for value in values if not math.isnan(value)]
    found = {decision.by_interval([*x[:i], *x[i + 1 :]], side, threshold, level) for i in range(len(x))}
    return found.pop() if len(found) == 1 else "open"


# ---------------------------------------------------------------- other numbers


def by_layer(run: Run) -> pd.DataFrame:
    """What the rules average over layers, layer by layer: a row a layer, a column a criterion. NaN where it is undefined."""
    norms = of_norms.first_half(run)
    end = of_norms.at_end(divergence.spreads(run), run).set_index("layer")
    table = pd.DataFrame(
        {
            "dip_depth": norms.iloc[0] - norms.min(),
            "dip_norm": norms.min(),
            "dip_step": norms.idxmin().astype(float),
            "spread_over_noise": np.log(end["spread"] / end["noise"]),
            "relative_range": ranges(run).set_index("layer")["range"],
        }
    )
    for name, multiple in (("onset_sensitive", 0.5), ("onset_strict", 2.0)):
        steps = onset.onsets_over_thresholds(run, "noise", (multiple,)).set_index("layer")["onset_step"]
        table[name] = steps.fillna(run.last_step)
    for name, width in (("spread_over_alignment", None), ("spread_over_neighbours", NEIGHBOURS)):
        dealt = beyond_frequency.spread(run, width, MEDIAN_DRAWS).set_index("layer")
        table[name] = np.log(dealt["observed"] / dealt["null_median"])
    for name, moment in (("focus_late", "late"), ("focus_early", "early")):
        rho = focus.correlations_per_layer(run, run.config.moments()[moment])
        table[name] = rho[rho["measure"] == "causal"].set_index("layer")["rho"]
    if run.config.model.qk_norm == "learned":
        final = gain.final_gain(run)
        table["golden_gain"] = final[final["golden"]].groupby("layer")["gain"].mean()
        table["settle_step"] = gain.settle_steps(run).set_index("layer")["settle_step"]
        table["fast_half_trend"] = suppression.by_layer(run).set_index("layer")["rho_fast"]
    return table


BY_LAYER = frozenset(
    {
        *(
            "dip_depth",
            "dip_norm",
            "dip_step",
            "spread_over_noise",
            "relative_range",
            "onset_sensitive",
            "onset_strict",
        ),
        *("spread_over_alignment", "spread_over_neighbours", "focus_late", "focus_early"),
        *("golden_gain", "settle_step", "fast_half_trend"),
    }
)
#: What the rules take the median of over layers, where the others are means.
MEDIANS = ("relative_range", "onset_sensitive", "onset_strict")


def other_average(run: Run) -> dict[str, float]:
    """`by_layer`: the median where the rules take the mean, and the mean where they take the median."""
    table = by_layer(run)
    return {
        name: float(table[name].mean() if name in MEDIANS else table[name].median()) for name in BY_LAYER & {*table}
    }


def reports_layer(run: Run) -> dict[str, float]:
    """`by_layer` of the layer half way up alone, number 11 of 22, which the report shows."""
    row = by_layer(run).loc[divergence.middle_layer(run.config)]
    return {name: float(row[name]) for name in BY_LAYER & {*row.index}}


def in_neighbourhoods(width: int) -> Callable[[Run], dict[str, float]]:
    """The nulls that keep frequencies, with blocks of ``width`` pairs."""
    return lambda run: {
        "spread_over_neighbours": of_norms.spread_over_dealt(run, width),
        "golden_energy_of_broad_in_strata": of_gains.golden_energy_of_broad_in_strata(run, width),
        "likeness_in_strata": of_gains.likeness_in_strata(run, width),
        "fall_explained_by_gain": beyond_frequency.fall_explained(run, width),
    }


def of_kv_heads(run: Run) -> dict[str, float]:
    """C05 with KV heads as units: entropy and query norm averaged over the query heads of each."""
    moments = run.config.moments()
    early, late = (partial.by_kv_head(partial.head_scales(run, moments[name])) for name in ("early", "late"))
    entropy = focus.MEASURES["causal"]
    return {
        "focus_early": partial.partial_rho(early, "key_norm", entropy),
        "focus_late": partial.partial_rho(late, "key_norm", entropy),
        "focus_given_query_norm": partial.partial_rho(late, "key_norm", entropy, ("query_norm",)),
    }


def of_reports_entropy(run: Run) -> dict[str, float]:
    """C05 with the report's entropy: before RoPE, without the mask, on the first tokens."""
    late = partial.head_scales(run, run.config.moments()["late"])
    return {
        "focus_early": of_attention.stratified(run, "early", "report"),
        "focus_late": of_attention.stratified(run, "late", "report"),
        "focus_given_query_norm": partial.partial_rho(late, "key_norm", focus.MEASURES["report"], ("query_norm",)),
    }


def of_covariance(run: Run) -> dict[str, float]:
    """C02, C09 and C10 with the covariance participation ratio in place of the measure that the rules take."""
    ratio = of_dimensions.COVARIANCE
    fall = compression.changes(run, compression.calm_end(run))[ratio]
    return {
        "rank_kept_at_dip": float(1 + fall.mean()),
        "start_coordinate_pr": of_dimensions.start_rank(run, ratio),
        "middle_coordinate_pr": float(of_dimensions.ranks(run, ratio, run.last_step)[of_dimensions.middle(run)].mean()),
        "middle_below_edges": of_dimensions.middle_less_edges(run, ratio),
    }


_IN_STRATA = frozenset(
    {
        "spread_over_neighbours",
        "golden_energy_of_broad_in_strata",
        "likeness_in_strata",
        "fall_explained_by_gain",
    }
)
_FOCUS = frozenset({"focus_early", "focus_late", "focus_given_query_norm"})

# ---------------------------------------------------------------- all of them

CHOICES: tuple[Choice, ...] = (
    Choice(
        key="uncorrected",
        group="correction",
        label="no correction",
        says="Every criterion has the whole chance of error to itself.",
        shared_by=1,
    ),
    Choice(
        key="over_all",
        group="correction",
        label="over all claims",
        says="The chance of error is shared by the deciding criteria of all claims.",
        shared_by=sum(c.role in DECIDING for rule in RULES for c in rule.criteria),
    ),
    Choice(
        key="signs",
        group="test",
        label="sign test",
        says="Only the side of each seed counts, not how far it lies from the threshold.",
        test=by_signs,
    ),
    Choice(
        key="leave_one_out",
        group="test",
        label="without any one seed",
        says="A criterion is decided only if it is so whichever one seed is left out.",
        test=without_any_seed,
    ),
    Choice(
        key="laxer",
        group="threshold",
        label="a quarter laxer",
        says="Every threshold is a quarter of itself easier to meet.",
        laxer=QUARTER,
    ),
    Choice(
        key="stricter",
        group="threshold",
        label="a quarter stricter",
        says="Every threshold is a quarter of itself harder to meet.",
        laxer=-QUARTER,
    ),
    Choice(
        key="one_onset",
        group="threshold",
        label="one onset mark",
        says="Heads part where they leave the batch noise itself, not half of it and twice.",
        measures=lambda run: {"onset_sensitive": of_norms.onset(run, 1.0)},
        replaces=frozenset({"onset_sensitive"}),
        drops=frozenset({"onset_strict"}),
    ),
    Choice(
        key="free_null",
        group="null",
        label="free null only",
        says="Dimensions are dealt anew whatever their frequency; the trend counts as a choice of the model.",
        measures=lambda run: {"likeness_detrended": of_gains.likeness(run, "centred")},
        replaces=frozenset({"likeness_detrended"}),
        drops=frozenset({"spread_over_neighbours", "golden_energy_of_broad_in_strata", "likeness_in_strata"}),
    ),
    Choice(
        key="half_null",
        group="null",
        label="fast and slow half",
        says="Dimensions are dealt anew within the faster and within the slower half of the frequencies.",
        measures=in_neighbourhoods(16),
        replaces=_IN_STRATA,
    ),
    Choice(
        key="narrow_null",
        group="null",
        label="four neighbours",
        says="Dimensions are dealt anew among four neighbouring frequencies only.",
        measures=in_neighbourhoods(4),
        replaces=_IN_STRATA,
    ),
    Choice(
        key="kv_heads",
        group="unit",
        label="KV heads",
        says="The KV head is the unit, where it was the query head.",
        measures=of_kv_heads,
        replaces=_FOCUS,
    ),
    Choice(
        key="report_entropy",
        group="measure",
        label="the report's entropy",
        says="Entropy is the report's: before RoPE, without the causal mask, on the first tokens.",
        measures=of_reports_entropy,
        replaces=_FOCUS,
    ),
    Choice(
        key="covariance",
        group="measure",
        label="covariance ratio",
        says="Dimensions are counted by the covariance of keys.",
        measures=of_covariance,
        replaces=frozenset({"rank_kept_at_dip", "start_coordinate_pr", "middle_coordinate_pr", "middle_below_edges"}),
    ),
    Choice(
        key="other_average",
        group="layers",
        label="median of layers",
        says="The median over layers where the rules take the mean, and the mean where they take the median.",
        measures=other_average,
        replaces=BY_LAYER,
    ),
    Choice(
        key="reports_layer",
        group="layers",
        label="the report's layer",
        says="The layer half way up alone, which is what the report shows.",
        measures=reports_layer,
        replaces=BY_LAYER,
    ),
)


def level(choice: Choice, own: float) -> float:
    """The error that a criterion may have under a choice; ``own``, the rule's, where the choice leaves it alone."""
    return own if choice.shared_by is None else LEVEL / choice.shared_by
