"""What phase 12 says: its tables by scale, its numbers and the sentences that depend on how they come out."""

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from civilwar.analysis import compression, onset, partial, power, strata, suppression, variance_split
from civilwar.analysis.statistics import t_interval
from civilwar.runs.collection import Sweep, open_variants
from civilwar.runs.reader import Run
from civilwar.runs.rungs import label

#: The control that takes away the fall.
CONTROL = "no_gain_decay"
Scales = Mapping[str, Sequence[Run]]
#: What every split is of, in the words of its bar.
SPLITS: Mapping[str, Callable[[Sequence[Run]], pd.DataFrame]] = {
    "key norms of heads": variance_split.of_heads,
    "query norms of heads": lambda runs: variance_split.of_heads(runs, "query"),
    "norms of single keys": variance_split.of_keys,
}


#: Units of the correlations, in words.
UNITS = {"query_head": "query heads", "kv_head": "KV heads"}
NOTHING = "–"


def by_rung(scales: Scales, table: Callable[[Sequence[Run]], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """``table(runs)`` of every rung, under the rung's label."""
    return {label(runs): table(runs) for runs in scales.values()}


def splits(scales: Scales) -> dict[str, pd.DataFrame]:
    """Every split of `SPLITS` at every scale: source, variance, share, by_chance, under the words of its bar."""
    return {f"{what}\n{label(runs)}": split(runs) for what, split in SPLITS.items() for runs in scales.values()}


def onset_curves(scales: Scales, unit: onset.Unit) -> dict[str, pd.DataFrame]:
    """`civilwar.analysis.onset.curves` of every rung, under its label."""
    return by_rung(scales, lambda runs: onset.curves(runs, unit))


def together(tables: Mapping[str, pd.DataFrame], name: str = "of") -> pd.DataFrame:
    """Tables under each other, their labels as a column."""
    return pd.concat(
        [table.assign(**{name: key.replace("\n", ", ")})[[name, *table.columns]] for key, table in tables.items()],
        ignore_index=True,
    )


def mean_and_interval(values: pd.Series, digits: int = 2) -> str:
    """A mean over seeds with its 95% interval where there is one, in words."""
    values = values.dropna()
    if not len(values):
        return "undefined"
    low, high = t_interval(values)
    if math.isnan(low):
        return f"{values.mean():.{digits}f}"
    return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _told_from(values: pd.Series, null: float) -> bool | None:
    """Whether the interval over seeds leaves out ``null``; None with too few seeds for one."""
    low, high = t_interval(values)
    return None if math.isnan(low) else bool(low > null or high < null)


def key_norm_given_query_norm(questions: Mapping[str, pd.DataFrame]) -> str:
    """A sentence for every scale: what key norm keeps of its correlation with entropy, once query norm is held."""
    said = []
    for rung, table in questions.items():
        heads = table[table["unit"] == "query_head"]
        rho = heads[(heads["x"] == "key_norm") & (heads["given"] == "query_norm")]["rho"].dropna()
        if not len(rho):
            said.append(f"At {rung}, key norms or query norms do not differ, and nothing can be held.")
            continue
        verdict = {
            True: "which its interval over seeds tells from 0",
            False: "which its interval over seeds does not tell from 0",
            None: "of which one run has no interval",
        }[_told_from(rho, 0.0)]
        said.append(f"At {rung}, what is left of key norm's correlation is {mean_and_interval(rho)}, {verdict}.")
    return " ".join(said)


def beyond_the_trend(nulls: Mapping[str, pd.DataFrame], claim: str = "C03") -> str:
    """A sentence for every scale: the spread over the free null's, and over that of neighbours."""
    said = []
    for rung, table in nulls.items():
        own = table[table["claim"] == claim]
        free = own[own["width"].isna()]["value"]
        near = own[own["width"] == strata.NEIGHBOURS]["value"]
        if free.notna().any() and near.notna().any():
            ratios = f"{free.mean():.2f} times the free null's and {near.mean():.2f} times the other's"
            said.append(f"At {rung} the spread is {ratios}.")
    return " ".join(said) or "This run has no gain that varies, so there is nothing to deal anew."


def calm_tables(run: Run, sweep: Sweep) -> dict[str, pd.DataFrame]:
    """`civilwar.analysis.compression.over_pairs` of the baseline and its control without decay: sweep, then the run shown.

    Under the labels of their scales; only of those that have such a pair.
    """
    tables = {}
    for pairs in (sweep.pairs(CONTROL), open_variants(run).pairs(CONTROL)):
        if pairs:
            tables[label([base for base, _ in pairs])] = compression.over_pairs(pairs)
    return tables


def calm_in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What effective rank does while norms fall, with decay and without, at the largest scale; two sentences."""
    if not tables:
        return "No control without decay on the gain is recorded at this preset: nothing stands beside the baseline."
    rung, table = list(tables.items())[-1]
    norm, rank = (
        table[table["measure"] == measure][["base", "control"]].mean() for measure in ("norm", "effective_rank")
    )
    return (
        f"At {rung}, while norms change by {norm['base']:+.1%}, the effective rank of keys changes by {rank['base']:+.1%}. "
        f"Without decay on the gain norms change by {norm['control']:+.1%}, and the rank by {rank['control']:+.1%}."
    )


def power_in_words(shape: tuple[int, int, int], icc: float) -> str:
    """What the dip test finds in a sweep of this shape: equal halves, then one loud head of each layer; a sentence each."""
    halves, alike = power.power(shape), power.power(shape, icc=icc)
    one, one_alike = (power.power(shape, membership="one a layer", icc=at) for at in (0.0, icc))
    if math.isnan(icc):
        return (
            "With fewer than two seeds nothing tells how alike heads are. "
            f"Two halves of independent ones would be found {halves:.0%} of the time."
        )
    return (
        f"Two halves, five deviations apart, are found {halves:.0%} of the time if heads are independent, {alike:.0%} if they "
        f"are as alike as measured. One loud head of each layer is found {one:.0%} of the time, and {one_alike:.0%}."
    )


def summary(run: Run, scales: Scales) -> dict[str, float]:
    """The page's numbers: of the run's own scale, or of the largest that is there."""
    runs = list(scales.values())[-1]
    heads = variance_split.of_heads(runs).set_index("source")
    ranges = variance_split.ranges(run).set_index("layer")["range"]
    middle = run.config.model.n_layers // 2
    turned = suppression.over_runs(runs)
    curve = onset.curves(runs, "noise")
    means = curve.groupby("threshold")["onset"].mean() if len(curve) else pd.Series(dtype=float)
    return {
        "effects_layers_percent": 100 * float(heads["share"].get("layer", math.nan)),
        "effects_layers_chance_percent": 100 * float(heads["by_chance"].get("layer", math.nan)),
        "effects_range_percent": 100 * float(ranges.median()),
        "effects_middle_layer": middle,
        "effects_middle_range_percent": 100 * float(ranges[middle]),
        "effects_onset_half": float(means.get(0.5, math.nan)),
        "effects_onset_once": float(means.get(1.0, math.nan)),
        "effects_onset_twice": float(means.get(2.0, math.nan)),
        "effects_onset_slope": onset.steepness(curve) if len(curve) else math.nan,
        "effects_rho_all": float(turned["rho_all"].mean()),
        "effects_rho_fast": float(turned["rho_fast"].mean()),
        "effects_golden_auc": float(turned["golden_auc_fast"].mean()),
        "effects_slow_percent": 100 * float(turned["slow_share"].mean()),
        "effects_neighbours": strata.NEIGHBOURS,
        "effects_fall_with_rank": compression.fall_with_rank(run),
    }


def question_table(questions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a question and unit, one column a scale: mean and interval as text."""
    rows = []
    for unit in ("query_head", "kv_head"):
        for x, given in partial.QUESTIONS:
            names = [one.replace("_", " ") for one in (x, *given)]
            row: dict[str, object] = {
                "unit": UNITS[unit],
                "with entropy": names[0],
                "held": ", ".join(names[1:]) or NOTHING,
            }
            for rung, table in questions.items():
                own = table[(table["unit"] == unit) & (table["x"] == x) & (table["given"] == ", ".join(given))]
                row[rung] = mean_and_interval(own["rho"])
            rows.append(row)
    return pd.DataFrame(rows)
