"""From the sweep's runs to a verdict on every claim, by the rules in `civilwar.evidence.rules` and nothing else.

A criterion's number is estimated once per run (`civilwar.evidence.estimators`); its mean over seeds gets a 95% t interval and a
one-sided t test against the threshold. Holm's correction runs over all deciding criteria of all claims together.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from civilwar.analysis.statistics import NO_SPREAD, on_side, one_sided_t, t_interval
from civilwar.evidence.estimators import ESTIMATORS
from civilwar.evidence.rule import LEVEL, Criterion, Rule, Side
from civilwar.evidence.rules import RULES
from civilwar.names.verdicts import PENDING, VERDICTS
from civilwar.recipe.plan import BASELINE, seeds_of
from civilwar.runs.collection import Sweep

#: Roles whose criteria decide, and are therefore corrected for being many.
DECIDING = ("claim", "artefact", "premise")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the data say of one criterion."""

    rule: Rule
    criterion: Criterion
    value: float
    """Mean over runs or pairs, or the sweep's number."""
    low: float
    high: float
    """95% t interval over seeds; NaN where the unit is not a seed."""
    n: int
    """Runs or pairs behind it, or what a sweep's number counts (KV heads in C06)."""
    per_seed: dict[int, float]
    p: float
    """One-sided, against the threshold. NaN where there is nothing to test: arithmetic, a simulation, too few runs."""
    p_adjusted: float = math.nan
    """Holm, over all deciding criteria of all claims."""

    @property
    def defined(self) -> bool:
        """Whether there is a number, and a test of it where one is due."""
        return not math.isnan(self.value) and (self.untested or not math.isnan(self.p))

    @property
    def untested(self) -> bool:
        """Whether the criterion is decided by its value alone: arithmetic, a law that no run may break, or a simulation."""
        return (
            self.criterion.role == "construction"
            or ESTIMATORS[self.criterion.name].unit == "arithmetic"
            or (self.criterion.role == "premise" and ESTIMATORS[self.criterion.name].unit == "sweep")
        )

    @property
    def holds(self) -> bool:
        """Whether the criterion is met."""
        if not self.defined:
            return False
        on_side = on_the_side(self.value, self.criterion.side, self.criterion.threshold)
        return on_side and (self.untested or self.p_adjusted < LEVEL)


@dataclass(frozen=True)
class Verdict:
    """What the rules make of one claim's findings."""

    rule: Rule
    verdict: str
    findings: tuple[Finding, ...]

    @property
    def headline(self) -> Finding:
        """The finding to show first: what explains an artefact, otherwise the first that decides."""
        role = {"artefact": "artefact", "not testable here": "premise"}.get(self.verdict, "claim")
        of_role = [f for f in self.findings if f.criterion.role == role]
        undefined = [f for f in self.findings if f.criterion.role in DECIDING and not f.defined]
        return (of_role or (undefined if self.verdict == "not testable here" else []) or list(self.findings))[0]


def on_the_side(value: float, side: Side, threshold: float | tuple[float, float]) -> bool:
    """Whether a number lies where a criterion wants it."""
    if isinstance(threshold, tuple):
        return threshold[0] <= value <= threshold[1]
    return on_side(value, threshold, "above" if side == "above" else "below")


def one_sided_p(values: Sequence[float], side: Side, threshold: float | tuple[float, float]) -> float:
    """`one_sided_t` of the mean over seeds; ``within`` takes the larger of its two ends' p."""
    if isinstance(threshold, tuple):
        return max(one_sided_t(values, threshold[0], "above"), one_sided_t(values, threshold[1], "below"))
    return one_sided_t(values, threshold, "above" if side == "above" else "below")


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values; NaN stays and is not counted."""
    adjusted = [math.nan] * len(ps)
    order = sorted((p, i) for i, p in enumerate(ps) if not math.isnan(p))
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = highest
    return adjusted


def find(rule: Rule, criterion: Criterion, sweep: Sweep) -> Finding:
    """Estimate one criterion."""
    estimator = ESTIMATORS[criterion.name]
    if estimator.unit == "arithmetic":
        value = estimator.compute()
        assert isinstance(value, float)
        return _finding(rule, criterion, value, n=1)
    if estimator.unit == "sweep":
        found = estimator.compute(sweep)
        assert isinstance(found, tuple)
        value, p, n = found
        return _finding(rule, criterion, value, n=n, p=p)
    if estimator.unit == "pair":
        computed = {base.config.seed: estimator.compute(base, run) for base, run in sweep.pairs(estimator.variant)}
    else:
        computed = {run.config.seed: estimator.compute(run) for run in sweep.of(estimator.variant)}
    per_seed = {seed: float(value) for seed, value in computed.items() if isinstance(value, int | float)}
    values = [value for value in per_seed.values() if not math.isnan(value)]
    if not values:
        return _finding(rule, criterion, math.nan, n=0, per_seed=per_seed)
    if criterion.role == "construction":  # every run has to obey, so the worst one decides
        worst = max(values) if criterion.side == "below" else min(values)
        return _finding(rule, criterion, worst, n=len(values), per_seed=per_seed)
    return _finding(
        rule,
        criterion,
        float(np.mean(values)),
        n=len(values),
        per_seed=per_seed,
        interval=t_interval(values),
        p=one_sided_p(values, criterion.side, criterion.threshold),
    )


def _finding(
    rule: Rule,
    criterion: Criterion,
    value: float,
    *,
    n: int,
    per_seed: Mapping[int, float] | None = None,
    interval: tuple[float, float] = (math.nan, math.nan),
    p: float = math.nan,
) -> Finding:
    low, high = interval
    return Finding(
        rule=rule, criterion=criterion, value=value, low=low, high=high, n=n, per_seed=dict(per_seed or {}), p=p
    )


def adjust(findings: Sequence[Finding]) -> list[Finding]:
    """Holm's correction over the deciding criteria; context is left uncorrected, since it decides nothing."""
    deciding = [f.criterion.role in DECIDING and not f.untested for f in findings]
    adjusted = iter(holm([f.p for f, decides in zip(findings, deciding, strict=True) if decides]))
    return [replace(f, p_adjusted=next(adjusted)) if d else f for f, d in zip(findings, deciding, strict=True)]


def verdict_of(findings: Iterable[Finding]) -> str:
    """One of `civilwar.names.verdicts.VERDICTS`, from the findings of one claim."""
    by_role: dict[str, list[Finding]] = {}
    for finding in findings:
        by_role.setdefault(finding.criterion.role, []).append(finding)
    construction, premise = by_role.get("construction", []), by_role.get("premise", [])
    claim, artefact = by_role.get("claim", []), by_role.get("artefact", [])
    if construction and all(f.holds for f in construction):
        return "true by construction"
    if not all(f.holds for f in premise) or not all(f.defined for f in [*construction, *claim]):
        return "not testable here"
    met = sum(f.holds for f in claim)
    if not met:
        return "not supported"
    # only what is there needs another reason
    if not all(f.defined for f in artefact):
        return "not testable here"
    if artefact and all(f.holds for f in artefact):
        return "artefact"
    return "supported" if met == len(claim) else "supported in part"


def decide(sweep: Sweep, rules: Sequence[Rule] = RULES) -> list[Verdict]:
    """The verdict on every claim; `civilwar.names.verdicts.PENDING` where the sweep still lacks the runs to give one."""
    findings = adjust([find(rule, criterion, sweep) for rule in rules for criterion in rule.criteria])
    verdicts = []
    for rule in rules:
        own = tuple(f for f in findings if f.rule.id == rule.id)
        pending = not sweep.complete and any(_lacks_runs(f, sweep) for f in own)
        verdicts.append(Verdict(rule, PENDING.label if pending else verdict_of(own), own))
    return verdicts


def _lacks_runs(finding: Finding, sweep: Sweep) -> bool:
    estimator = ESTIMATORS[finding.criterion.name]
    if finding.criterion.role not in DECIDING or estimator.unit == "arithmetic":
        return False
    runs = sweep.pairs(estimator.variant) if estimator.unit == "pair" else sweep.of(estimator.variant)
    return len(runs) < len(seeds_of(estimator.variant))


def value_of(verdicts: Iterable[Verdict], criterion: str) -> float:
    """The estimate of one criterion by name."""
    return next(f.value for v in verdicts for f in v.findings if f.criterion.name == criterion)


def summary(verdicts: Sequence[Verdict]) -> dict[str, float | str]:
    """What prose quotes from the ledger: counts of verdicts, each claim's verdict, and every criterion's estimate."""
    counts = {name: sum(v.verdict == name for v in verdicts) for name in (*VERDICTS, PENDING.label)}
    numbers: dict[str, float | str] = {
        "n_claims": len(verdicts),
        "verdict_counts": ", ".join(f"{n} {name}" for name, n in counts.items() if n),
    }
    numbers |= {f"verdict_{v.rule.id.lower()}": v.verdict for v in verdicts}
    for finding in (f for v in verdicts for f in v.findings):
        name = f"{finding.rule.id.lower()}_{finding.criterion.name}"
        numbers |= {
            name: finding.value,
            f"{name}_low": finding.low,
            f"{name}_high": finding.high,
            f"{name}_n": finding.n,
        }
    return numbers


def shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Some estimates again, in the units that prose uses: percentages, and a ratio in place of its logarithm."""
    return {
        "c02_share_percent": 100 * value_of(verdicts, "dip_removed_without_decay"),
        "c03_ratio_alignment": math.exp(value_of(verdicts, "spread_over_alignment")),
        "same_loudest_percent": 100 * value_of(verdicts, "same_loudest_head"),
        "c10_explained_percent": 100 * value_of(verdicts, "fall_explained_by_gain"),
        "c11_kept_percent": 100 * value_of(verdicts, "kept_by_directions"),
        "c11_gains_percent": 100 * value_of(verdicts, "kept_by_gains"),
        "c14_others_more": -value_of(verdicts, "golden_energy_sinks_less_others"),
        "c17_share_percent": 100 * value_of(verdicts, "dip_in_pure_bfloat16"),
    }


# ---------------------------------------------------------------- tables


def ledger(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One row a claim: id, claim, verdict, the headline's name, estimate, low, high, n, and the null."""
    return pd.DataFrame(
        [
            {
                "id": v.rule.id,
                "claim": v.rule.statement,
                "verdict": v.verdict,
                "criterion": v.headline.criterion.says,
                "estimate": v.headline.value,
                "low": v.headline.low,
                "high": v.headline.high,
                "n": v.headline.n,
                "null": v.rule.null,
            }
            for v in verdicts
        ]
    )


def criteria_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One row a criterion: id, criterion, role, side, threshold, estimate, low, high, n, p, p_adjusted, outcome, reason."""
    return pd.DataFrame(
        [
            {
                "id": f.rule.id,
                "criterion": f.criterion.name,
                "says": f.criterion.says,
                "role": f.criterion.role,
                "wanted": wanted(f.criterion),
                "estimate": f.value,
                "low": f.low,
                "high": f.high,
                "n": f.n,
                "p": f.p,
                "p_adjusted": f.p_adjusted,
                "outcome": _outcome(f),
                "reason": f.criterion.reason,
            }
            for v in verdicts
            for f in v.findings
        ]
    )


def wanted(criterion: Criterion) -> str:
    """The side and threshold that a criterion asks for, in words."""
    if isinstance(criterion.threshold, tuple):
        return f"{criterion.threshold[0]:g} to {criterion.threshold[1]:g}"
    return f"{criterion.side} {criterion.threshold:g}"


def _outcome(finding: Finding) -> str:
    if not finding.defined:
        return "undefined"
    if finding.criterion.role == "context":
        return "shown only"
    return "holds" if finding.holds else "does not hold"


def per_seed_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Every number behind every mean: id, criterion, variant, seed, value."""
    return pd.DataFrame(
        [
            {"id": f.rule.id, "criterion": f.criterion.name, "variant": variant, "seed": seed, "value": value}
            for v in verdicts
            for f in v.findings
            for variant in [ESTIMATORS[f.criterion.name].variant or BASELINE]
            for seed, value in f.per_seed.items()
        ],
        columns=["id", "criterion", "variant", "seed", "value"],
    )


def distances(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """How far each seed-level criterion that decides lies from its threshold: id, criterion, distance, low, high, holds.

    In standard deviations between seeds, positive on the side that the criterion asks for. ``within`` is measured from the
    nearer end. Criteria whose seeds all agree have no such unit and are left out.
    """
    rows = []
    for finding in (f for v in verdicts for f in v.findings if f.criterion.role in DECIDING):
        values = np.array([value for value in finding.per_seed.values() if not math.isnan(value)])
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        if finding.untested or spread < NO_SPREAD:
            continue
        sign, edge = _nearest_edge(finding)
        ends = sorted(sign * (x - edge) / spread for x in (finding.low, finding.high))
        rows.append(
            {
                "id": finding.rule.id,
                "criterion": finding.criterion.name,
                "distance": sign * (finding.value - edge) / spread,
                "low": ends[0],
                "high": ends[1],
                "holds": finding.holds,
            }
        )
    return pd.DataFrame(rows, columns=["id", "criterion", "distance", "low", "high", "holds"])


def _nearest_edge(finding: Finding) -> tuple[int, float]:
    """(1 where more is better, -1 where less is; the threshold)."""
    threshold = finding.criterion.threshold
    if not isinstance(threshold, tuple):
        return (1 if finding.criterion.side == "above" else -1), threshold
    low, high = threshold
    return (1, low) if abs(finding.value - low) < abs(finding.value - high) else (-1, high)
