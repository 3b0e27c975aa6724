"""The robustness map: every claim's verdict under every other choice that one could have made.

Columns are choices of `civilwar.evidence.alternatives`; each rung of size alone; the seeds that were seen before the rules were
written, and the fresh ones; and other texts. A cell is the verdict by the same rules (`civilwar.evidence.decision`), with one
thing changed. It says *not touched* where the choice changes nothing that the claim rests on.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from civilwar.analysis.statistics import t_interval
from civilwar.evidence import claims, decision
from civilwar.evidence.alternatives import CHOICES, Choice, level
from civilwar.evidence.claims import AtRung, Finding, Verdict, answer_of, at_rung, level_of, untested
from civilwar.evidence.decision import Pooled
from civilwar.evidence.estimators import ESTIMATORS
from civilwar.evidence.rule import DECIDING, Rule
from civilwar.evidence.rungs import Evidence, Rung
from civilwar.names.verdicts import PENDING
from civilwar.recipe.config import NAMED_CORPORA
from civilwar.runs.collection import Sweep, open_fresh

#: What a cell says where a choice changes nothing that the claim rests on.
UNTOUCHED = "not touched"
#: Columns that change no rule but what speaks, and what they change.
STATED = "as the rules say"
SEEN, FRESH = "seeds seen before", "fresh seeds"
#: Other texts, by the corpus that they are.
TEXTS = {"source": "Python source", "prose": "prose"}
#: A verdict that decides nothing.
UNDECIDED = ("open", PENDING.label)

assert set(TEXTS) == set(NAMED_CORPORA)


@dataclass(frozen=True)
class Column:
    """One choice, as a column of the map."""

    label: str
    group: str
    says: str
    verdicts: Mapping[str, str]
    """By claim."""


def columns(verdicts: Sequence[Verdict], evidence: Evidence, texts: Mapping[str, Sweep] | None = None) -> list[Column]:
    """Every column of the map, that of the rules first.

    ``texts``: runs by corpus, by default those that are recorded.
    """
    stated = Column(STATED, "rules", "The verdict of the ledger.", {v.rule.id: v.verdict for v in verdicts})
    return [
        stated,
        *(_under(choice, verdicts, evidence) for choice in CHOICES),
        *_rungs(verdicts),
        *_seeds(verdicts, evidence),
        *_texts([v.rule for v in verdicts], open_texts() if texts is None else texts),
    ]


def open_texts() -> dict[str, Sweep]:
    """The runs on every other text, as far as they are there."""
    return {corpus: open_fresh("laptop", corpus) for corpus in TEXTS}


# ---------------------------------------------------------------- choices


def _under(choice: Choice, verdicts: Sequence[Verdict], evidence: Evidence) -> Column:
    return Column(choice.label, choice.group, choice.says, {v.rule.id: under(choice, v, evidence) for v in verdicts})


#: Runs that speak, and criterion -> seed -> what a choice measures of them.
_Measured = tuple[Sweep, dict[str, dict[int, float]]]


def under(choice: Choice, verdict: Verdict, evidence: Evidence) -> str:
    """The verdict on one claim under a choice, or `UNTOUCHED`."""
    if not choice.touches(verdict.rule) or verdict.verdict == PENDING.label:
        return UNTOUCHED if not choice.touches(verdict.rule) else PENDING.label
    rule = choice.of(verdict.rule)
    measured = [_measured(rule, one, rung, choice) for one, rung in zip(verdict.at, evidence, strict=True)]

    def at(share: int) -> list[AtRung]:
        return [_at(rule, one, of_rung, choice, share) for one, of_rung in zip(verdict.at, measured, strict=True)]

    # rungs that may answer share the error of the answer, as in the ledger
    return answer_of(rule, at(max(1, _speaking(at(1))))).verdict


def _speaking(at: Sequence[AtRung]) -> int:
    """How many rungs may answer: those that can tell, and of them the fresh ones where there are any."""
    telling = [one for one in at if one.verdict != PENDING.label and one.tells]
    return len([one for one in telling if not one.exploratory] or telling)


def _measured(rule: Rule, one: AtRung, rung: Rung, choice: Choice) -> _Measured | None:
    """The runs that speak at a rung, and what the choice measures of them; None where runs are awaited."""
    if one.verdict == PENDING.label:
        return None
    sweep, *_ = rung.speaking(claims.needed(rule, rung.preset))
    return sweep, _other_numbers(rule, sweep, choice)


def _at(rule: Rule, one: AtRung, measured: _Measured | None, choice: Choice, share: int) -> AtRung:
    """What a rung makes of a claim under a choice, ``share`` rungs sharing the error.

    Its numbers are taken over where the choice leaves them alone. Findings come without the seeds behind them, since the choice
    has decided: the ledger's own test would decide them again.
    """
    if measured is None:
        return replace(one, findings=tuple(_named(rule, i, f) for i, f in enumerate(one.findings)))
    sweep, other = measured
    allowed = level(choice, level_of(rule)) / share
    findings = tuple(
        replace(_decided(_named(rule, i, finding), other, sweep, choice, allowed), per_seed={}, p=math.nan)
        for i, finding in enumerate(one.findings)
    )
    return replace(one, findings=findings, verdict=decision.verdict_of(claims.outcomes(findings)))


def _named(rule: Rule, place: int, finding: Finding) -> Finding:
    return replace(finding, rule=rule, criterion=rule.criteria[place])


def _other_numbers(rule: Rule, sweep: Sweep, choice: Choice) -> dict[str, dict[int, float]]:
    """Criterion -> seed -> what the choice measures in its place."""
    names = {c.name for c in rule.criteria if c.role in DECIDING} & choice.replaces
    if choice.measures is None or not names:
        return {}
    measured = {run.config.seed: choice.measures(run) for run in sweep.baseline}
    return {name: {seed: of.get(name, math.nan) for seed, of in measured.items()} for name in names}


def _decided(
    finding: Finding, other: Mapping[str, dict[int, float]], sweep: Sweep, choice: Choice, allowed: float
) -> Finding:
    """A finding under a choice. What rests on no seeds is decided by its value, or by its chance at another level."""
    criterion = finding.criterion
    if criterion.role not in DECIDING:
        return finding
    if untested(criterion) or not (finding.per_seed or criterion.name in other):
        return _without_seeds(finding, sweep, allowed)
    per_seed = other.get(criterion.name, finding.per_seed)
    values = [value for value in per_seed.values() if not math.isnan(value)]
    if not values:
        return replace(finding, outcome="open", value=math.nan, n=0)
    lacking = len(values) < len(per_seed) and not ESTIMATORS[criterion.name].may_lack
    if claims.by_worst(criterion):
        outcome = decision.by_value(finding.value, criterion.side, criterion.threshold)
        return replace(finding, outcome="open" if lacking else outcome)
    low, high = t_interval(values, 1 - allowed)
    return replace(
        finding,
        outcome="open" if lacking else choice.test(values, criterion.side, criterion.threshold, allowed),
        value=float(np.mean(values)),
        low=low,
        high=high,
        n=len(values),
        per_seed=per_seed,
    )


def _without_seeds(finding: Finding, sweep: Sweep, allowed: float) -> Finding:
    criterion = finding.criterion
    estimator = ESTIMATORS[criterion.name]
    if untested(criterion):
        return replace(finding, outcome=decision.by_value(finding.value, criterion.side, criterion.threshold))
    if estimator.unit != "sweep":
        return finding
    pooled = estimator.compute(sweep)
    assert isinstance(pooled, Pooled)
    return replace(finding, outcome=decision.by_chance(pooled, allowed))


# ---------------------------------------------------------------- who speaks


def _rungs(verdicts: Sequence[Verdict]) -> list[Column]:
    presets = [one.preset for one in verdicts[0].at] if verdicts else []
    return [
        Column(
            f"{preset} alone",
            "scale",
            f"The runs of the preset {preset} alone, whatever other sizes say.",
            {v.rule.id: v.at[place].verdict for v in verdicts},
        )
        for place, preset in enumerate(presets)
        if len(presets) > 1
    ]


def _seeds(verdicts: Sequence[Verdict], evidence: Evidence) -> list[Column]:
    """The exploratory seeds by themselves and the fresh ones by themselves."""
    said = {
        SEEN: "Seeds that were seen before the rules were written.",
        FRESH: "Seeds that began after the rules were registered.",
    }
    return [
        Column(label, "seeds", says, {v.rule.id: _by_seeds(v, evidence, label == SEEN) for v in verdicts})
        for label, says in said.items()
    ]


def _by_seeds(verdict: Verdict, evidence: Evidence, exploratory: bool) -> str:
    deciding = [one for one in verdict.at if one.verdict != PENDING.label]
    if deciding and all(one.exploratory == exploratory for one in deciding):
        # they are the ones that speak already
        return verdict.verdict
    at = []
    for rung in evidence:
        chosen, other = (rung.exploratory, rung.fresh) if exploratory else (rung.fresh, rung.exploratory)
        nobody = replace(other, runs={})
        only = Rung(rung.preset, nobody, chosen) if exploratory else Rung(rung.preset, chosen, nobody)
        at.append(at_rung(verdict.rule, only))
    return answer_of(verdict.rule, at).verdict


def _texts(rules: Sequence[Rule], texts: Mapping[str, Sweep]) -> list[Column]:
    return [
        Column(
            TEXTS[corpus],
            "text",
            f"Small models trained on {TEXTS[corpus]} instead of docstrings.",
            {rule.id: _on_text(rule, sweep) for rule in rules},
        )
        for corpus, sweep in texts.items()
    ]


def _on_text(rule: Rule, sweep: Sweep) -> str:
    if not sweep.baseline:
        return PENDING.label
    findings = [claims.find(rule, criterion, sweep, "laptop", False) for criterion in rule.criteria]
    return decision.verdict_of(claims.outcomes(findings))


# ---------------------------------------------------------------- tables


def table(found: Sequence[Column]) -> pd.DataFrame:
    """A row a claim and column: id, choice, group, says, verdict, against (`against` of the rules' verdict)."""
    stated = found[0].verdicts
    return pd.DataFrame(
        [
            {
                "id": claim,
                "choice": column.label,
                "group": column.group,
                "says": column.says,
                "verdict": verdict,
                "against": against(stated[claim], verdict),
            }
            for column in found
            for claim, verdict in column.verdicts.items()
        ],
        columns=["id", "choice", "group", "says", "verdict", "against"],
    )


def against(stated: str, other: str) -> str:
    """How another choice's verdict stands to the rules': same, settled, unsettled, other, or untouched.

    ``settled``: it decides what the rules leave open; ``unsettled``: it leaves open what they decide; ``other``: both decide,
    and not alike. What awaits runs is untouched.
    """
    if other in (UNTOUCHED, PENDING.label):
        return "untouched"
    if stated == other:
        return "same"
    if stated in UNDECIDED:
        return "settled"
    return "unsettled" if other in UNDECIDED else "other"


def standing(long: pd.DataFrame) -> pd.DataFrame:
    """One row a claim: id, verdict, choices (that touch it), same, unsettled, settled, other, and ``others``, in words."""
    rows = []
    for claim, of_claim in long.groupby("id", sort=False):
        stated, rest = of_claim[of_claim["choice"] == STATED], of_claim[of_claim["choice"] != STATED]
        counts = Counter(rest["against"])
        parting = Counter(rest[rest["against"].isin(["other", "settled"])]["verdict"])
        rows.append(
            {
                "id": claim,
                "verdict": stated["verdict"].iloc[0],
                "choices": len(rest) - counts["untouched"],
                **{name: counts[name] for name in ("same", "unsettled", "settled", "other")},
                "others": ", ".join(f"{name} ({n})" for name, n in parting.most_common()) or "–",
            }
        )
    names = ["id", "verdict", "choices", "same", "unsettled", "settled", "other", "others"]
    return pd.DataFrame(rows, columns=names)


def summary(standings: pd.DataFrame) -> dict[str, float | str]:
    """Numbers of the map for the prose: claims, how many are decided, and which of these no choice decides otherwise."""
    decided = standings[~standings["verdict"].isin(UNDECIDED)]
    firm = decided[decided["other"] == 0]
    unmoved = firm[firm["unsettled"] == 0]
    return {
        "robust_n_claims": len(standings),
        "robust_n_decided": len(decided),
        "robust_n_firm": len(firm),
        "robust_firm": ", ".join(firm["id"]) or "none",
        "robust_parted": ", ".join(decided[decided["other"] > 0]["id"]) or "none",
        "robust_unmoved": ", ".join(unmoved["id"]) or "none",
        "robust_n_choices": len(CHOICES),
    }
