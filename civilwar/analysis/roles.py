"""Phase 5: what heads of a kind do. Where does the energy of their keys lie, do they follow content, and what are they worth?

Attention belongs to query heads and keys to KV heads: where keys are compared, each KV head that a kind's query heads read
counts once, however many of them read it.
"""

import math

import numpy as np
import pandas as pd

from civilwar.analysis import gain, taxonomy
from civilwar.analysis.kinds import dealt_heads
from civilwar.analysis.statistics import DRAWS, generator, permutation_p
from civilwar.analysis.taxonomy import HEAD, KINDS
from civilwar.runs.reader import Run

#: Kinds that attend to fixed places, and the tokens they point at, as table ``key_energy`` calls them.
STATIC = {"sink": "first", "separator": "separator"}
#: Kinds that attend where the same token stood before, or just after it.
RETRIEVERS = ("retriever", "induction")
#: The broadest and the sharpest heads of a layer: this share of its query heads.
QUARTER = 0.25

# ---------------------------------------------------------------- the criteria of C14, C15 and C16


def n_static_sinks(run: Run) -> float:
    """C14: query heads that are a sink or a separator head at the end."""
    return float(taxonomy.labels(run, draws=0)["kind"].isin(list(STATIC)).sum())


def golden_energy_of_sinks(run: Run) -> float:
    """C14: mean of `golden_energy_at_targets` over the keys that static sinks point at. NaN without any, or without a gain."""
    return float(golden_energy_at_targets(run)["sinks"].mean())


def golden_energy_sinks_less_others(run: Run) -> float:
    """C14: the same less that of the other KV heads of the layer, mean over keys whose layer has others."""
    table = golden_energy_at_targets(run)
    return float((table["sinks"] - table["others"]).mean())


def golden_energy_of_broad(run: Run) -> float:
    """C15: mean over layers of `golden_energy_by_breadth`. NaN without a gain."""
    return float(golden_energy_by_breadth(run)["broad"].mean())


def golden_energy_broad_less_sharp(run: Run) -> float:
    """C15: the same less that of the sharpest quarter."""
    table = golden_energy_by_breadth(run)
    return float((table["broad"] - table["sharp"]).mean())


def n_retrievers(run: Run) -> float:
    """C16: query heads that are a retriever or an induction head at the end."""
    return float(taxonomy.labels(run, draws=0)["kind"].isin(RETRIEVERS).sum())


def contrast_of_retrievers(run: Run) -> float:
    """C16: `contrasts` at the end, mean over those heads. NaN where there is none."""
    found = taxonomy.labels(run, draws=0)[["layer", "query_head", "kind"]].merge(contrasts(run))
    return float(found[found["kind"].isin(RETRIEVERS)]["end"].mean())


def contrast_over_others(run: Run) -> float:
    """C16: `contrast_of_retrievers` over the same mean of all other query heads. NaN where either has none."""
    found = taxonomy.labels(run, draws=0)[["layer", "query_head", "kind"]].merge(contrasts(run))
    retrieves = found["kind"].isin(RETRIEVERS)
    return float(found[retrieves]["end"].mean() / found[~retrieves]["end"].mean())


def contrast_of_all(run: Run) -> float:
    """C16: `contrasts` at the end, mean over all query heads."""
    return float(contrasts(run)["end"].mean())


# ---------------------------------------------------------------- golden energy


def golden_energy(run: Run) -> pd.DataFrame:
    """Mean pre-gain energy on a layer's golden dimensions at the end: layer, kv_head, tokens, energy.

    Energy has mean 1 over dimensions, so 1 is what golden dimensions hold if they are like others. Layers without a golden
    dimension are left out; no rows where the model learns no gain.
    """
    columns = ["layer", "kv_head", "tokens", "energy"]
    if run.config.model.qk_norm != "learned":
        return pd.DataFrame(columns=columns).astype({"energy": float})
    golden = gain.final_gain(run)
    golden = golden[golden["golden"]][["layer", "dimension"]]
    found = run.table("key_energy").merge(golden, on=["layer", "dimension"])
    return found.groupby(columns[:-1], as_index=False)["energy"].mean()


def golden_energy_at_targets(run: Run) -> pd.DataFrame:
    """Golden energy of the keys that static sinks point at: layer, kv_head, tokens, sinks, others.

    One row per KV head and sort of token that a static sink reads there: first tokens for sinks, separators for separator
    heads. ``others``: mean of the layer's KV heads that no static sink reads, at the same tokens; NaN where there is none.
    """
    labelled = taxonomy.labels(run, draws=0)
    static = labelled[labelled["kind"].isin(list(STATIC))]
    keys = static.assign(tokens=static["kind"].map(STATIC))[["layer", "kv_head", "tokens"]].drop_duplicates()
    energy = golden_energy(run)
    read = energy.merge(keys[["layer", "kv_head"]].drop_duplicates(), how="left", indicator="read")["read"] == "both"
    others = energy[~read.to_numpy()].groupby(["layer", "tokens"])["energy"].mean().rename("others").reset_index()
    table = keys.merge(energy.rename(columns={"energy": "sinks"}))
    return table.merge(others, on=["layer", "tokens"], how="left").sort_values(list(keys), ignore_index=True)


def golden_energy_by_breadth(run: Run) -> pd.DataFrame:
    """Golden energy, all tokens, of the KV heads that a layer's broadest and sharpest query heads read: layer, broad, sharp.

    Breadth is the normalised entropy of causal attention, mean over texts. A KV head that both read counts for both.
    """
    heads, energy = breadth(run), golden_energy(run)
    energy = energy[energy["tokens"] == "all"]
    sides = {}
    for side in ("broad", "sharp"):
        read = heads[heads[side]][["layer", "kv_head"]].drop_duplicates()
        sides[side] = read.merge(energy).groupby("layer")["energy"].mean()
    return pd.DataFrame(sides).rename_axis("layer").reset_index()


def breadth(run: Run) -> pd.DataFrame:
    """Which query heads attend broadly at the end: layer, query_head, kv_head, entropy_normalised, broad, sharp (flags).

    A quarter of a layer's query heads is flagged on either side, at least one.
    """
    table = run.table("probe_query_heads")
    table = table[table["step"] == run.last_step]
    heads = table.groupby(HEAD, as_index=False)["entropy_normalised"].mean()
    n_heads = run.config.model.n_query_heads
    n = max(1, math.floor(n_heads * QUARTER))
    rank = heads.groupby("layer")["entropy_normalised"].rank(method="first")
    return heads.assign(broad=rank > n_heads - n, sharp=rank <= n)


# ---------------------------------------------------------------- retrieval


def contrasts(run: Run) -> pd.DataFrame:
    """Spread over queries of the top logit, over the mean of all heads before training: layer, query_head, start, end."""
    table = run.table("probe_query_heads")
    spread = table.groupby(["step", "layer", "query_head"])["top_logit_spread"].mean().unstack("step")
    first = run.first_snapshot
    return (spread[[first, run.last_step]] / spread[first].mean()).set_axis(["start", "end"], axis=1).reset_index()


# ---------------------------------------------------------------- content or position

#: Scores that are measured on shuffled text too, and their columns.
ON_SHUFFLED = {"previous_token": "previous_token_score", "nearby": "nearby_mass", "separator": "separator_mass"}


def on_shuffled_text(run: Run, labelled: pd.DataFrame) -> pd.DataFrame:
    """Scores at the end on the probe texts and on the same tokens in random order: score, layer, query_head, kind, ….

    ``text`` and ``shuffled`` are above uniform attention, which 0 is. Of shuffled separators, uniform attention has their
    share of the tokens.
    """
    uniform = run.probe["uniform_attention"]
    of_tokens = np.array([np.mean(text["separator"]) for text in run.probe["texts"]])
    on_text = run.table("probe_query_heads")
    sides = {
        "text": (on_text[on_text["step"] == run.last_step], np.array(uniform["separator_mass"])),
        "shuffled": (run.table("shuffled_query_heads"), of_tokens),
    }
    parts = []
    for score, column in ON_SHUFFLED.items():
        values = {}
        for side, (table, separators) in sides.items():
            null = separators[table["text"]] if score == "separator" else uniform[column]
            values[side] = (table[column] - null).groupby([table["layer"], table["query_head"]]).mean()
        parts.append(pd.DataFrame(values).reset_index().assign(score=score))
    table = pd.concat(parts, ignore_index=True).merge(labelled[["layer", "query_head", "kind"]])
    return table[["score", "layer", "query_head", "kind", "text", "shuffled"]]


def kept_when_shuffled(shuffled: pd.DataFrame) -> pd.DataFrame:
    """What heads of each kind keep of the score that names them: score, n_heads, text, shuffled, kept (of the means)."""
    own = shuffled[shuffled["kind"] == shuffled["score"]]
    table = own.groupby("score").agg(n_heads=("text", "size"), text=("text", "mean"), shuffled=("shuffled", "mean"))
    table = table.reindex([score for score in ON_SHUFFLED if score in table.index])
    return table.assign(kept=table["shuffled"] / table["text"]).reset_index()


# ---------------------------------------------------------------- what can be read from a kind's outputs


def content_by_kind(run: Run, labelled: pd.DataFrame, draws: int = DRAWS) -> pd.DataFrame:
    """Accuracy of reading a property from one head's output, by kind, against the other heads of the same layers.

    property, kind, n_heads, accuracy, others, difference, null_low, null_high, p, chance. Layers that a kind fills are left
    out, NaN where none remains. The null deals labels to the heads of each layer anew, KV groups staying together; p is
    two-sided and uncorrected.
    """
    table = run.table("head_content").merge(labelled[["layer", "query_head", "kind"]])
    rows = []
    for name, of_property in table.groupby("property", sort=False):
        ordered = of_property.sort_values(["layer", "query_head"])
        accuracy, kinds = (
            ordered[column].to_numpy().reshape(ordered["layer"].nunique(), -1) for column in ("accuracy", "kind")
        )
        dealt = dealt_heads(generator(10), (draws, *accuracy.shape), run.config.model.group_size)
        for kind in (kind for kind in KINDS if (kinds == kind).any()):
            chosen = kinds == kind
            chosen &= ~chosen.all(-1, keepdims=True)
            row = {"property": name, "kind": kind, "n_heads": int(chosen.sum())}
            row |= {"accuracy": math.nan, "others": math.nan, "difference": math.nan}
            row |= {"null_low": math.nan, "null_high": math.nan, "p": math.nan}
            if chosen.any():
                difference = float(_less_others(accuracy, chosen[None])[0])
                null = _less_others(accuracy, np.take_along_axis(chosen[None], dealt, axis=-1))
                low, high = np.quantile(null, [0.025, 0.975])
                own = float(accuracy[chosen].mean())
                row |= {"accuracy": own, "others": own - difference, "difference": difference}
                row |= {"null_low": low, "null_high": high, "p": permutation_p(abs(difference), np.abs(null))}
            rows.append(row | {"chance": float(ordered["chance"].iloc[0])})
    return pd.DataFrame(rows)


def _less_others(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over chosen heads of their value less the mean of their layer's others: [layer, head], [draw, layer, head]."""
    n = chosen.sum(-1)
    own = np.where(chosen, values, 0).sum(-1)
    others = (values.sum(-1) - own) / (values.shape[-1] - n)
    difference: np.ndarray = (own - n * others).sum(-1) / n.sum(-1)
    return difference


# ---------------------------------------------------------------- what a kind is worth

LOSSES = ("loss", "separator_loss", "induction_gain")


def ablation_changes(run: Run) -> pd.DataFrame:
    """Change of every score when heads are silenced: kind, mode, group, draw, n_heads, and one column per score of LOSSES."""
    table = run.table("ablation")
    intact = table[table["group"] == "none"].iloc[0]
    table = table[table["group"] != "none"]
    changes = {score: table[score] - intact[score] for score in LOSSES}
    return table[["kind", "mode", "group", "draw", "n_heads"]].assign(**changes).reset_index(drop=True)


def ablation_by_kind(run: Run, labelled: pd.DataFrame) -> pd.DataFrame:
    """`ablation_changes` of each kind beside its random groups: kind, n_heads, shared, mode, score, change, random, ….

    ``random``, ``low``, ``high``: mean, least and largest change of the random groups; ``beyond``: whether the kind's lies
    outside them. ``shared``: the share of a random group that is expected to be of the kind itself. Where that is 1 the
    kind fills its layers, a random group is the kind itself, and there is no comparison: NaN, and not beyond.
    """
    share = _shared(labelled)
    changes = ablation_changes(run).melt(["kind", "mode", "group", "draw", "n_heads"], list(LOSSES), "score", "change")
    rows = []
    for (kind, mode, score), table in changes.groupby(["kind", "mode", "score"], sort=False):
        own = table[table["group"] == "kind"].iloc[0]
        random = table[table["group"] == "random"]["change"]
        if share.get(kind, math.nan) == 1:
            random = random[:0]
        low, high = random.min(), random.max()
        row = {"kind": kind, "n_heads": int(own["n_heads"]), "shared": share.get(kind, math.nan), "mode": mode}
        row |= {"score": score, "change": own["change"], "random": random.mean(), "low": low, "high": high}
        rows.append(row | {"beyond": bool(own["change"] < low or own["change"] > high), "n_draws": len(random)})
    return pd.DataFrame(rows)


def _shared(labelled: pd.DataFrame) -> dict[str, float]:
    """Of each kind: mean over its heads of the share of the layer's heads that are of the kind."""
    share = pd.crosstab(labelled["layer"], labelled["kind"], normalize="index")
    return {
        kind: float(np.mean([share[kind][layer] for layer in labelled[labelled["kind"] == kind]["layer"]]))
        for kind in share.columns
    }


# ---------------------------------------------------------------- for the prose


def costliest(by_kind: pd.DataFrame) -> pd.Series:
    """The row of `ablation_by_kind` with the largest change of the loss on text when heads are replaced by their mean."""
    table = by_kind[(by_kind["score"] == "loss") & (by_kind["mode"] == "mean")]
    return table.loc[table["change"].idxmax()]


def summary(run: Run) -> dict[str, float]:
    """The numbers of roles for the prose."""
    return {
        "n_retrievers": int(n_retrievers(run)),
        "contrast_of_all": contrast_of_all(run),
        "ablation_draws": run.config.probe.random_draws,
    }
