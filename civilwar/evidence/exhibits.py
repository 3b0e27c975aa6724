"""The head that shows a claim best, in one run: where the ledger sends a reader who wants to see for themselves.

An exhibit proves nothing: the verdict rests on all heads of all seeds. It is picked by the rule that the claim names
(`civilwar.evidence.rule.Pick`), never by hand, so that another run has exhibits of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import pandas as pd

from civilwar.analysis import divergence, gain, taxonomy
from civilwar.errors import RunLacks
from civilwar.evidence.rules import RULES
from civilwar.runs.reader import Run

#: (layer, query head, step).
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Exhibit:
    """One claim's head: what it is, and the inspector's state that shows it."""

    claim: str
    chosen: str
    """By what rule, as a noun phrase."""
    layer: int
    query_head: int
    step: int
    metric: str

    @property
    def address(self) -> str:
        """The part of the inspector's address after ``#``."""
        state = {"layer": self.layer, "head": self.query_head, "step": self.step, "metric": self.metric}
        return urlencode(state)


def exhibits(run: Run) -> list[Exhibit]:
    """Exhibits of the claims that one head of this run can show, in the claims' order."""
    # several claims may pick in the same way
    places = {by: _picked(by, run) for by in {rule.head.by for rule in RULES if rule.head}}
    return [
        Exhibit(rule.id, rule.head.says, *place, rule.head.metric)
        for rule in RULES
        if rule.head and (place := places[rule.head.by])
    ]


def exhibit(run: Run, claim: str) -> Exhibit:
    """The exhibit of one claim.

    Raises KeyError where no head can show it, in this run or in any, or RunLacks where a watched run lacks what it rests on.
    """
    for rule in RULES:
        if rule.id == claim and rule.head and (place := PICKS[rule.head.by](run)):
            return Exhibit(rule.id, rule.head.says, *place, rule.head.metric)
    if run.watched:
        raise RunLacks(f"no head of {run.name} shows what {claim} is about, so none is opened here.")
    raise KeyError(f"no head of {run.name} shows {claim}.")


def _picked(by: str, run: Run) -> Place | None:
    """Where a pick leads; nowhere where a watched run lacks what it rests on."""
    try:
        return PICKS[by](run)
    except RunLacks:
        return None


# ---------------------------------------------------------------- picks by key norm


def _end_norms(run: Run) -> pd.DataFrame:
    norms = divergence.key_norms(run)
    return norms[norms["step"] == run.last_step]


def _kv_head(run: Run, row: pd.Series) -> Place:
    """The first of the query heads that read a KV head, at the end."""
    return int(row["layer"]), int(row["kv_head"]) * run.config.model.group_size, run.last_step


def middle_before_training(run: Run) -> Place:
    """The middle layer's first head at step 0."""
    return divergence.middle_layer(run.config), 0, 0


def middle_at_lowest(run: Run) -> Place:
    """The middle layer's first head at the step where the layer's mean norm is lowest in the first half."""
    middle = divergence.middle_layer(run.config)
    return middle, 0, int(divergence.dips(run).set_index("layer").loc[middle]["dip_step"])


def loudest_where_spread(run: Run) -> Place:
    """The head with the largest final norm in the layer whose heads' final norms differ most."""
    spread = divergence.onsets(run).set_index("layer")["end_spread"]
    end = _end_norms(run)
    of_layer = end[end["layer"] == spread.idxmax()]
    return _kv_head(run, of_layer.loc[of_layer["norm"].idxmax()])


def loudest(run: Run) -> Place:
    """The head with the largest final norm of all."""
    end = _end_norms(run)
    return _kv_head(run, end.loc[end["norm"].idxmax()])


def quietest(run: Run) -> Place:
    """The head with the smallest final norm of all."""
    end = _end_norms(run)
    return _kv_head(run, end.loc[end["norm"].idxmin()])


# ---------------------------------------------------------------- picks by dimensions in use


def _end_ranks(run: Run) -> pd.DataFrame:
    """Measures of each KV head's keys at the end, means over probe texts."""
    ranks = run.table("probe_kv_heads")
    return ranks[ranks["step"] == run.last_step].groupby(["layer", "kv_head"], as_index=False).mean(numeric_only=True)


def first_before_training(run: Run) -> Place:
    """The first layer's first head at step 0."""
    return 0, 0, 0


def middle_fewest_coordinates(run: Run) -> Place:
    """The middle layer's head with the lowest coordinate participation ratio at the end."""
    ranks = _end_ranks(run)
    ranks = ranks[ranks["layer"] == divergence.middle_layer(run.config)]
    return _kv_head(run, ranks.loc[ranks["coordinate_participation_ratio"].idxmin()])


def fewest_directions(run: Run) -> Place:
    """The head with the lowest covariance participation ratio at the end."""
    ranks = _end_ranks(run)
    return _kv_head(run, ranks.loc[ranks["participation_ratio"].idxmin()])


# ---------------------------------------------------------------- picks by gain


def steepest_gain(run: Run) -> Place | None:
    """The layer whose gain falls most with wavelength, at the end; None without a learned gain."""
    if run.config.model.qk_norm != "learned":
        return None
    return int(gain.frequency_trend(run, draws=1).set_index("layer")["rho"].idxmin()), 0, run.last_step


def settles_last(run: Run) -> Place | None:
    """The layer whose gain settles last, at that step; None where no gain settles."""
    if run.config.model.qk_norm != "learned":
        return None
    settled = gain.settle_steps(run).set_index("layer")["settle_step"].dropna()
    return (int(settled.idxmax()), 0, int(settled.max())) if len(settled) else None


# ---------------------------------------------------------------- picks by attention


def _highest(run: Run, score: str, repeated: bool = False) -> Place:
    """The query head with the highest of the taxonomy's scores at the end, on text or on repeated random tokens."""
    on_texts, on_repeated = taxonomy.scores(run, run.last_step)
    scores = (on_repeated if repeated else on_texts).groupby(taxonomy.HEAD, as_index=False).mean()
    row = scores.loc[scores[score].idxmax()]
    return int(row["layer"]), int(row["query_head"]), run.last_step


PICKS: dict[str, Callable[[Run], Place | None]] = {
    "middle_before_training": middle_before_training,
    "middle_at_lowest": middle_at_lowest,
    "loudest_where_spread": loudest_where_spread,
    "loudest": loudest,
    "quietest": quietest,
    "first_before_training": first_before_training,
    "middle_fewest_coordinates": middle_fewest_coordinates,
    "fewest_directions": fewest_directions,
    "steepest_gain": steepest_gain,
    "settles_last": settles_last,
    "most_on_separators": lambda run: _highest(run, "separator"),
    "broadest": lambda run: _highest(run, "broad"),
    "best_retriever": lambda run: _highest(run, "retriever", repeated=True),
}
