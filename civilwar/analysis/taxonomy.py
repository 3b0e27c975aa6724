"""What kind of head is it? Each query head is labelled by what its attention does, never by the norm of its keys.

A score has to pass a threshold that comes from a null: the largest value that any head of the same run has before
training, or what uniform causal attention would score on the same texts, whichever is larger, plus `MARGIN`. A kind
defined by its norm could not fail to have that norm; these can.

============== ============================================================ ==========================================
kind           score, mean over probe texts                                 threshold
============== ============================================================ ==========================================
sink           alpha_1 at T = 64: attention on the first token              0.3 (Gu et al. 2024), at least the null's top
separator      attention on separators above what uniform attention has     null's top + margin
previous_token attention on the token before                                null's top + margin
nearby         attention on itself and 2 to 7 tokens back                   null's top + margin
induction      attention to the token after the same token's last turn      null's top + margin
retriever      attention to the earlier occurrence of the same token        null's top + margin
gatherer       normalised entropy, if it passes none of the above           no lower than any untrained head's
mixed          none of these
============== ============================================================ ==========================================

A head that passes several is called by the score furthest above its threshold, in units of what is left up to 1.
"""

import numpy as np
import pandas as pd

from civilwar.analysis.statistics import generator
from civilwar.names import kinds as names
from civilwar.runs.reader import Run

KINDS = tuple(names.KINDS)
#: Kinds that need a score above a threshold; the others are what a head without one is called.
FOCUSED = tuple(kind for kind in KINDS if kind not in ("gatherer", "mixed"))
#: How far above the null: a tenth of all attention.
MARGIN = 0.1
#: Gu et al. 2024, section 3: a head attends to a sink when alpha exceeds this.
SINK_EPSILON = 0.3
#: Draws of probe texts behind a label's certainty.
DRAWS = 200

HEAD = ["layer", "query_head", "kv_head"]
#: Scores that are measured on repeated random tokens, which are other texts than those of the rest.
ON_REPEATED = {"induction": "induction_score", "retriever": "duplicate_token_score"}
ON_TEXTS = {"previous_token": "previous_token_score", "nearby": "nearby_mass", "broad": "entropy_normalised"}


def scores(run: Run, step: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every score of every query head and text at a snapshot: (on probe texts, on repeated random tokens).

    Both have layer, query_head, kv_head and text; the first has sink, separator, previous_token, nearby and broad
    (normalised entropy), the second induction and retriever.
    """
    texts, sinks, repeated = (
        _at(run.table(name), step) for name in ("probe_query_heads", "probe_sinks", "probe_induction")
    )
    first = sinks[(sinks["horizon"] == run.config.sink_horizon) & (sinks["position"] == 1)]
    uniform = np.array(run.probe["uniform_attention"]["separator_mass"])
    texts = texts.assign(separator=texts["separator_mass"] - uniform[texts["text"]])
    texts = texts.merge(first[["layer", "query_head", "text", "alpha"]], on=["layer", "query_head", "text"])
    texts = texts.rename(columns={"alpha": "sink"} | {column: kind for kind, column in ON_TEXTS.items()})
    repeated = repeated.rename(columns={column: kind for kind, column in ON_REPEATED.items()})
    return (
        texts[[*HEAD, "text", "sink", "separator", *ON_TEXTS]].sort_values([*HEAD, "text"], ignore_index=True),
        repeated[[*HEAD, "text", *ON_REPEATED]].sort_values([*HEAD, "text"], ignore_index=True),
    )


def _at(table: pd.DataFrame, step: int) -> pd.DataFrame:
    return table[table["step"] == step]


def head_means(of_texts: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    """Scores averaged over texts: layer, query_head, kv_head and one column per score."""
    on_texts, on_repeated = (table.drop(columns="text").groupby(HEAD, as_index=False).mean() for table in of_texts)
    return on_texts.merge(on_repeated, on=HEAD)


def thresholds(run: Run) -> dict[str, float]:
    """What each score has to exceed, from the same run before training and from uniform attention.

    Of a run that was watched from later on, from its first snapshot.
    """
    untrained = head_means(scores(run, run.first_snapshot))
    uniform = run.probe["uniform_attention"]
    null = {
        "separator": 0.0,
        "previous_token": uniform["previous_token_score"],
        "nearby": uniform["nearby_mass"],
        "induction": uniform["induction_score"],
        "retriever": uniform["induction_score"],
    }
    found = {kind: max(floor, float(untrained[kind].max())) + MARGIN for kind, floor in null.items()}
    return {
        "sink": max(SINK_EPSILON, float(untrained["sink"].max())),
        **found,
        "gatherer": float(untrained["broad"].min()),
    }


def name_kinds(means: pd.DataFrame, limits: dict[str, float]) -> np.ndarray:
    """The kind of each row of `head_means`."""
    return _name_kinds(means[[*FOCUSED, "broad"]].to_numpy(), limits)


def _name_kinds(values: np.ndarray, limits: dict[str, float]) -> np.ndarray:
    """Kinds of scores [..., FOCUSED and broad]."""
    limit = np.array([limits[kind] for kind in FOCUSED])
    excess = (values[..., :-1] - limit) / np.maximum(1 - limit, 1e-6)
    broad = values[..., -1] >= limits["gatherer"]
    # a score that is undefined, as in a diverged run, passes nothing
    excess = np.where(np.isnan(excess), -np.inf, excess)
    unfocused = np.where(broad, KINDS.index("gatherer"), KINDS.index("mixed"))
    return np.array(KINDS)[np.where(excess.max(-1) > 0, excess.argmax(-1), unfocused)]


def labels(run: Run, step: int | None = None, draws: int = DRAWS) -> pd.DataFrame:
    """Kind of every query head at a snapshot, by default the last: layer, query_head, kv_head, scores, kind, certainty.

    ``certainty``: the share of redraws of the probe texts, with replacement, that give the same kind. Range (0, 1].
    """
    at = run.last_step if step is None else step
    limits, of_texts = thresholds(run), scores(run, at)
    means = head_means(of_texts)
    named = name_kinds(means, limits)
    same = np.zeros(len(means))
    cubes = [_cube(table) for table in of_texts]
    random = generator(8)
    columns = [c for table in of_texts for c in table.columns if c not in (*HEAD, "text")]
    order = [columns.index(name) for name in (*FOCUSED, "broad")]
    for _ in range(draws):
        redrawn = [cube[:, random.integers(cube.shape[1], size=cube.shape[1])].mean(1) for cube in cubes]
        same += _name_kinds(np.concatenate(redrawn, axis=1)[:, order], limits) == named
    return means.assign(kind=named, certainty=same / draws if draws else np.nan)


def labels_at_snapshots(run: Run) -> pd.DataFrame:
    """Scores and kind of every query head at every snapshot that has all scores: step, layer, query_head, kv_head, ….

    Thresholds are the same throughout, those of the run before training.
    """
    steps = sorted(set(run.table("probe_sinks")["step"]) & set(run.table("probe_query_heads")["step"]))
    limits = thresholds(run)
    tables = []
    for step in steps:
        means = head_means(scores(run, int(step)))
        tables.append(means.assign(step=step, kind=name_kinds(means, limits)))
    return pd.concat(tables, ignore_index=True)


def _cube(table: pd.DataFrame) -> np.ndarray:
    """[head, text, score] of a table sorted by head and text."""
    values = table.drop(columns=[*HEAD, "text"]).to_numpy()
    return values.reshape(-1, table["text"].nunique(), values.shape[1])


def heads_by_kind(labelled: pd.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """(layer, query_head) of every kind that occurs, in the order of `KINDS`."""
    return {
        kind: [(int(layer), int(head)) for layer, head in zip(rows["layer"], rows["query_head"], strict=True)]
        for kind in KINDS
        if len(rows := labelled[labelled["kind"] == kind])
    }
