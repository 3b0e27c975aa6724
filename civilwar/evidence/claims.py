"""From runs to a verdict on every claim, by the rules in `civilwar.evidence.rules` and nothing else.

At each rung of size a claim's criteria are estimated once per run, decided (`civilwar.evidence.decision`), and give that
rung's verdict. The claim's answer is the report's scale's: each criterion takes the outcome of the largest rung that decides
it, at an error that the rungs share. A smaller rung decides only what the larger ones leave open, and only where their own
means lie on the same side; else it stays open. Of a number that pools a whole sweep and has a p in place of a mean beside a
threshold, the largest rung that has it speaks alone. A rung whose premises do not hold says nothing. Fresh runs answer where
they can; until then exploratory ones do, and are called so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np

from civilwar.analysis.statistics import t_interval
from civilwar.evidence import decision
from civilwar.evidence.decision import Outcome, Pooled
from civilwar.evidence.estimators import ESTIMATORS, Estimator
from civilwar.evidence.rule import DECIDING, LEVEL, Criterion, Role, Rule, on_the_side
from civilwar.evidence.rules import RULES
from civilwar.evidence.rungs import Evidence, Rung, of_sweep
from civilwar.names.verdicts import PENDING
from civilwar.recipe import plan
from civilwar.runs.collection import Sweep

assert set(DECIDING) < set(get_args(Role))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the runs of one rung say of one criterion."""

    rule: Rule
    criterion: Criterion
    preset: str
    """The rung."""
    exploratory: bool
    """Whether the runs behind it are."""
    outcome: Outcome = "open"
    value: float = math.nan
    """Mean over runs or pairs, the worst run's for a construction, or the sweep's number."""
    low: float = math.nan
    high: float = math.nan
    """t interval over seeds at the level of the decision, 1 - `LEVEL` / m at one rung; NaN where the unit is not a seed."""
    n: int = 0
    """Runs or pairs behind it, or what a sweep's number counts (KV heads in C06)."""
    per_seed: Mapping[int, float] = field(default_factory=dict)
    smallest: float = math.nan
    """The smallest distance from the threshold that n seeds would decide four times in five; NaN where the unit is no seed."""
    p: float = math.nan
    """Of a sweep's number, under the null."""
    p_claim: float = math.nan
    """The same under what the claim says."""

    @property
    def holds(self) -> bool:
        """Whether the criterion is met."""
        return self.outcome == "holds"

    @property
    def defined(self) -> bool:
        """Whether there is a number."""
        return not math.isnan(self.value)


@dataclass(frozen=True)
class AtRung:
    """What the runs of one rung make of a claim."""

    preset: str
    verdict: str
    exploratory: bool
    n_seeds: int
    """Baseline runs behind it."""
    findings: tuple[Finding, ...]

    @property
    def tells(self) -> bool:
        """Whether runs are there and every premise holds."""
        return self.verdict != PENDING.label and decision.tells(outcomes(self.findings))


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim."""

    rule: Rule
    verdict: str
    findings: tuple[Finding, ...]
    """Of each criterion the one that answers, whatever its rung."""
    at: tuple[AtRung, ...]
    """Every rung's own, from the smallest to the report's scale."""

    @property
    def exploratory(self) -> bool:
        """Whether any deciding finding rests on exploratory runs."""
        return any(f.exploratory for f in self.findings if f.criterion.role in (*DECIDING, "construction"))


def outcomes(findings: Sequence[Finding]) -> list[tuple[Role, Outcome]]:
    """Roles and outcomes, as `civilwar.evidence.decision` takes them."""
    return [(finding.criterion.role, finding.outcome) for finding in findings]


# ---------------------------------------------------------------- one criterion at one rung


def level_of(rule: Rule) -> float:
    """`LEVEL` over the claim's deciding criteria that have a sampling error; so none of them is decided wrongly at `LEVEL`."""
    return LEVEL / max(1, sum(c.role in DECIDING and not untested(c) for c in rule.criteria))


def untested(criterion: Criterion) -> bool:
    """Whether a criterion is decided by its value: arithmetic, what no run may break, or a simulated power."""
    unit = ESTIMATORS[criterion.name].unit
    return by_worst(criterion) or unit in ("arithmetic", "config") or (criterion.role == "premise" and unit == "sweep")


def by_worst(criterion: Criterion) -> bool:
    """Whether every run has to obey."""
    return criterion.worst or criterion.role == "construction"


def find(rule: Rule, criterion: Criterion, sweep: Sweep, preset: str, exploratory: bool) -> Finding:
    """Estimate and decide one criterion on the runs of one rung."""
    estimator, side = ESTIMATORS[criterion.name], criterion.side
    found = Finding(rule=rule, criterion=criterion, preset=preset, exploratory=exploratory)
    if estimator.unit in ("arithmetic", "config"):
        value = estimator.compute() if estimator.unit == "arithmetic" else estimator.compute(sweep.config)
        assert isinstance(value, float)
        return replace(found, outcome=decision.by_value(value, side, criterion.threshold), value=value, n=1)
    if estimator.unit == "sweep":
        pooled = estimator.compute(sweep)
        assert isinstance(pooled, Pooled)
        outcome = decision.by_value(pooled.value, side, criterion.threshold) if untested(criterion) else "open"
        found = replace(found, outcome=outcome, value=pooled.value, n=pooled.n, p=pooled.p_null, p_claim=pooled.p_claim)
        return decided(found, level_of(rule))
    per_seed = numbers(estimator, sweep)
    values = [value for value in per_seed.values() if not math.isnan(value)]
    if not values:
        return replace(found, per_seed=per_seed)
    value = float(np.mean(values))
    if by_worst(criterion):
        value = max(values) if side == "below" else min(values)
    return decided(replace(found, value=value, n=len(values), per_seed=per_seed), level_of(rule))


def decided(finding: Finding, level: float) -> Finding:
    """The finding with its outcome at a two-sided error of ``level``, from the numbers behind it; as it is without any.

    A planned run whose number is undefined leaves it open, but where the estimator takes only runs that have one.
    """
    criterion, values = finding.criterion, [value for value in finding.per_seed.values() if not math.isnan(value)]
    side, threshold = criterion.side, criterion.threshold
    if finding.per_seed and not values:
        return finding
    if not finding.per_seed:
        if untested(criterion) or math.isnan(finding.p):
            return finding
        pooled = Pooled(finding.value, finding.p, finding.p_claim, finding.n)
        return replace(finding, outcome=decision.by_chance(pooled, level))
    lacking = len(values) < len(finding.per_seed) and not ESTIMATORS[criterion.name].may_lack
    if by_worst(criterion):
        return replace(finding, outcome="open" if lacking else decision.by_value(finding.value, side, threshold))
    low, high = t_interval(values, 1 - level)
    outcome = "open" if lacking else decision.by_interval(values, side, threshold, level)
    return replace(finding, outcome=outcome, low=low, high=high, smallest=decision.smallest_effect(values, level))


def numbers(estimator: Estimator, sweep: Sweep) -> dict[int, float]:
    """A criterion's number by seed: of runs, or of pairs of a baseline and a control."""
    if estimator.unit == "pair":
        made = {base.config.seed: estimator.compute(base, run) for base, run in sweep.pairs(estimator.variant)}
    else:
        made = {run.config.seed: estimator.compute(run) for run in sweep.of(estimator.variant)}
    return {seed: float(value) for seed, value in made.items() if isinstance(value, int | float)}


# ---------------------------------------------------------------- one claim


def needed(rule: Rule, preset: str) -> list[str]:
    """Variants that the claim's deciding criteria take, as far as they are planned at a rung."""
    wanted = {plan.BASELINE}
    for criterion in rule.criteria:
        if criterion.role in (*DECIDING, "construction"):
            wanted.add(ESTIMATORS[criterion.name].variant)
    return [variant for variant in plan.group_of(preset).seeds if variant in wanted]


def at_rung(rule: Rule, rung: Rung) -> AtRung:
    """What one rung makes of a claim."""
    sweep, exploratory, awaited = rung.speaking(needed(rule, rung.preset))
    findings = tuple(find(rule, criterion, sweep, rung.preset, exploratory) for criterion in rule.criteria)
    verdict = PENDING.label if awaited else decision.verdict_of(outcomes(findings))
    return AtRung(rung.preset, verdict, exploratory, len(sweep.baseline), findings)


def answer_of(rule: Rule, at: Sequence[AtRung]) -> Verdict:
    """The claim's answer from those of its rungs, the smallest first."""
    there = [one for one in reversed(at) if one.verdict != PENDING.label]
    if not there:
        return Verdict(rule, PENDING.label, at[0].findings, tuple(at))
    telling = [one for one in there if one.tells] or there[:1]
    speaking = [one for one in telling if not one.exploratory] or telling
    # any of them may answer a criterion, so all of them share its error
    level = level_of(rule) / len(speaking)
    again = [[decided(finding, level) for finding in one.findings] for one in speaking]
    findings = tuple(_settled([of_rung[i] for of_rung in again]) for i in range(len(rule.criteria)))
    return Verdict(rule, decision.verdict_of(outcomes(findings)), findings, tuple(at))


def _settled(findings: Sequence[Finding]) -> Finding:
    """The finding that answers a criterion, of those of the rungs, the report's scale first."""
    defined = [finding for finding in findings if finding.defined]
    if not defined:
        return findings[0]
    if ESTIMATORS[defined[0].criterion.name].unit == "sweep":
        return defined[0]
    larger: list[Finding] = []
    for finding in defined:
        holds = finding.outcome == "holds"
        if finding.outcome != "open":
            agree = all(on_the_side(f.value, f.criterion.side, f.criterion.threshold) == holds for f in larger)
            return finding if agree else larger[0]
        larger.append(finding)
    return defined[0]


def decide(runs: Evidence | Sweep, rules: Sequence[Rule] = RULES) -> list[Verdict]:
    """The verdict on every claim, from every rung's runs, or from those of one sweep taken as they are."""
    rungs = of_sweep(runs) if isinstance(runs, Sweep) else runs
    return [answer_of(rule, [at_rung(rule, rung) for rung in rungs]) for rule in rules]
