"""Verdicts as tables and as numbers for the prose."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from civilwar.analysis.statistics import NO_SPREAD
from civilwar.evidence.answers import answer, brief, headline, rungs_part
from civilwar.evidence.claims import AtRung, Finding, Verdict, untested
from civilwar.evidence.estimators import ESTIMATORS
from civilwar.evidence.registration import registrations
from civilwar.evidence.rule import DECIDING, wanted
from civilwar.names.verdicts import PENDING, VERDICTS


def value_of(verdicts: Iterable[Verdict], criterion: str) -> float:
    """The estimate of one criterion by name."""
    return next(f.value for v in verdicts for f in v.findings if f.criterion.name == criterion)


def summary(verdicts: Sequence[Verdict]) -> dict[str, float | str]:
    """What prose quotes from the ledger: counts of verdicts, each claim's verdict, and every criterion's estimate.

    ``rungs_part``: claims of which a criterion holds at one scale and fails at another; ``verdicts_standing``: who speaks.
    """
    counts = {name: sum(v.verdict == name for v in verdicts) for name in (*VERDICTS, PENDING.label)}
    numbers: dict[str, float | str] = {
        "n_claims": len(verdicts),
        "n_claims_awaiting": counts[PENDING.label],
        "verdict_counts": ", ".join(f"{n} {name}" for name, n in counts.items() if n),
        "rungs_part": ", ".join(v.rule.id for v in verdicts if rungs_part(v)) or "none",
        "verdicts_standing": standing(verdicts),
    }
    numbers |= {f"verdict_{v.rule.id.lower()}": v.verdict for v in verdicts}
    numbers |= {f"answer_{v.rule.id.lower()}": answer(v) for v in verdicts}
    numbers |= {f"brief_{v.rule.id.lower()}": brief(v) for v in verdicts}
    for finding in (f for v in verdicts for f in v.findings):
        name = f"{finding.rule.id.lower()}_{finding.criterion.name}"
        numbers |= {
            name: finding.value,
            f"{name}_low": finding.low,
            f"{name}_high": finding.high,
            f"{name}_n": finding.n,
        }
    return numbers


def standing(verdicts: Sequence[Verdict]) -> str:
    """One sentence on which runs answer."""
    awaited = sum(v.verdict == PENDING.label for v in verdicts)
    exploratory = sum(v.exploratory for v in verdicts if v.verdict != PENDING.label)
    fresh = len(verdicts) - awaited - exploratory
    if fresh == len(verdicts):
        return "Fresh runs, which began after the rules were registered, answer every claim."
    said = [f"exploratory runs, seen before the rules were written, answer {exploratory}"] if exploratory else []
    said += [f"fresh ones answer {fresh}"] if fresh else []
    said += [f"{awaited} await runs"] if awaited else []
    return f"Of {len(verdicts)} claims, {', '.join(said)}."


def shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Some estimates again, in the units that prose uses: percentages, and a ratio in place of its logarithm."""
    removed = {
        f"c02_dip_removed_without_decay{end}": 1 - getattr(_finding(verdicts, "dip_kept_without_decay"), name)
        for end, name in (("", "value"), ("_low", "high"), ("_high", "low"))
    }
    return removed | {
        "c02_share_percent": 100 * removed["c02_dip_removed_without_decay"],
        "c03_ratio_alignment": math.exp(value_of(verdicts, "spread_over_alignment")),
        "c03_ratio_neighbours": math.exp(value_of(verdicts, "spread_over_neighbours")),
        "c03_between_percent": 100 * value_of(verdicts, "share_between_layers"),
        "c03_range_percent": 100 * value_of(verdicts, "relative_range"),
        "same_loudest_percent": 100 * value_of(verdicts, "same_loudest_head"),
        "c10_explained_percent": 100 * value_of(verdicts, "fall_explained_by_gain"),
        "c11_kept_percent": 100 * value_of(verdicts, "kept_by_directions"),
        "c11_gains_percent": 100 * value_of(verdicts, "kept_by_gains"),
        "c14_others_more": -value_of(verdicts, "golden_energy_sinks_less_others"),
        "c17_share_percent": 100 * value_of(verdicts, "dip_in_pure_bfloat16"),
    }


def _finding(verdicts: Iterable[Verdict], criterion: str) -> Finding:
    return next(f for v in verdicts for f in v.findings if f.criterion.name == criterion)


# ---------------------------------------------------------------- tables


def ledger(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One row a claim: id, claim, verdict, answer, which runs, each rung's verdict, and the finding that it turns on."""
    return pd.DataFrame(
        [
            {
                "id": v.rule.id,
                "claim": v.rule.statement,
                "verdict": v.verdict,
                "answer": answer(v),
                "runs": "exploratory" if v.exploratory else "fresh",
                **{one.preset: at_rung_in_words(one) for one in v.at},
                "criterion": headline(v).criterion.says,
                "estimate": headline(v).value,
                "low": headline(v).low,
                "high": headline(v).high,
                "n": headline(v).n,
                "null": v.rule.null,
            }
            for v in verdicts
        ]
    )


def at_rung_in_words(one: AtRung) -> str:
    """A rung's own verdict, and by how many seeds; exploratory where it is."""
    n = one.n_seeds
    if not n:
        return PENDING.label
    seeds = f"{n} {'exploratory ' if one.exploratory else ''}seed{'s' if n > 1 else ''}"
    return f"{one.verdict} ({seeds})"


def criteria_table(verdicts: Iterable[Verdict], every_rung: bool = False) -> pd.DataFrame:
    """One row a criterion: what was asked, what came out, at which rung, by which runs, and what could have been seen.

    The findings that answer, or every rung's.
    """
    found = (
        f for v in verdicts for f in ((f for one in v.at for f in one.findings) if every_rung else iter(v.findings))
    )
    return pd.DataFrame(
        [
            {
                "id": f.rule.id,
                "criterion": f.criterion.name,
                "label": f.criterion.label,
                "says": f.criterion.says,
                "role": f.criterion.role,
                "wanted": wanted(f.criterion),
                "rung": f.preset,
                "runs": "exploratory" if f.exploratory else "fresh",
                "estimate": f.value,
                "low": f.low,
                "high": f.high,
                "n": f.n,
                "p": f.p,
                "smallest_effect": f.smallest,
                "outcome": outcome_in_words(f),
                "reason": f.criterion.reason,
            }
            for f in found
        ]
    )


def outcome_in_words(finding: Finding) -> str:
    """Holds, fails, open, undefined, or shown only."""
    if finding.criterion.role == "context":
        return "shown only"
    return finding.outcome if finding.defined else "undefined"


def per_seed_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Every number behind every mean: id, criterion, rung, variant, seed, value."""
    return pd.DataFrame(
        [
            {
                "id": f.rule.id,
                "criterion": f.criterion.name,
                "rung": f.preset,
                "variant": ESTIMATORS[f.criterion.name].variant,
                "seed": seed,
                "value": value,
            }
            for v in verdicts
            for f in v.findings
            for seed, value in f.per_seed.items()
        ],
        columns=["id", "criterion", "rung", "variant", "seed", "value"],
    )


def distances(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """How far each seed-level criterion that decides lies from its threshold: id, criterion, distance, low, high, outcome.

    In standard deviations between seeds, positive on the side that the criterion asks for. ``within`` is measured from the
    nearer end. Criteria whose seeds all agree have no such unit and are left out.
    """
    rows = []
    for finding in (f for v in verdicts for f in v.findings if f.criterion.role in DECIDING):
        values = np.array([value for value in finding.per_seed.values() if not math.isnan(value)])
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        if untested(finding.criterion) or spread < NO_SPREAD:
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
                "outcome": finding.outcome,
            }
        )
    return pd.DataFrame(rows, columns=["id", "criterion", "distance", "low", "high", "outcome"])


def _nearest_edge(finding: Finding) -> tuple[int, float]:
    """(1 where more is better, -1 where less is; the threshold)."""
    threshold = finding.criterion.threshold
    if not isinstance(threshold, tuple):
        return (1 if finding.criterion.side == "above" else -1), threshold
    low, high = threshold
    return (1, low) if abs(finding.value - low) < abs(finding.value - high) else (-1, high)


def amendments() -> pd.DataFrame:
    """Every registration of the rules: registered, hash, note, changed, fresh_runs (begun by then)."""
    return pd.DataFrame(
        [
            {
                "registered": row["date"],
                "hash": row["hash"],
                "note": row["note"],
                "changed": ", ".join(row["changed"]) or "–",
                "fresh_runs": ", ".join(row["fresh_runs"]) or "none",
            }
            for row in registrations()
        ],
        columns=["registered", "hash", "note", "changed", "fresh_runs"],
    )
