"""What pages say of numbers, as sentences and tables of words. The numbers come from `civilwar.analysis`."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from civilwar.analysis import beside, controls, roles
from civilwar.names.kinds import KINDS
from civilwar.names.variants import LABELS, VARIANTS
from civilwar.recipe.plan import BASELINE
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run

NOTHING = "–"


# ---------------------------------------------------------------- any phase


def large_number(n: int) -> str:
    """A number with as many digits as a reader needs: 88.6 million, 29 thousand, 12."""
    return f"{n / 1e6:.1f} million" if n >= 1e6 else f"{n / 1e3:.0f} thousand" if n >= 1e3 else str(n)


def parameters_in_words(n: int) -> str:
    """A model's size: 88.6 million parameters."""
    return f"{large_number(n)} parameter{'' if n == 1 else 's'}"


def duration(seconds: float) -> str | None:
    """How long something took, in the unit that fits; None where nobody measured it."""
    if math.isnan(seconds):
        return None
    for unit, size in (("hour", 3600), ("minute", 60), ("second", 1)):
        # two hours in minutes say more than "2 hours"
        if seconds >= 2 * size or size == 1:
            whole = max(round(seconds / size), 1)
            return f"{whole} {unit}{'' if whole == 1 else 's'}"
    raise AssertionError("the last unit takes all")


# ---------------------------------------------------------------- phase 2


def focus_law(numbers: Mapping[str, float]) -> str:
    """What `civilwar.analysis.focus.summary` found at the end of the run, in a sentence that hangs on its interval and p."""
    rho, p = numbers["rho_causal_late"], numbers["rho_causal_p"]
    low, high = numbers["rho_causal_low"], numbers["rho_causal_high"]
    if math.isnan(rho):
        return "In this run all keys of a layer are equally long, so nothing can be said of longer ones."
    if math.isnan(p) or p >= 0.05 or not (high < 0 or low > 0):
        return (
            "In this run it is open whether heads with longer keys attend more sharply than others of their layer: "
            f"rank correlation with entropy {rho:.2f}."
        )
    return (
        f"In this run, heads with longer keys attend more {'sharply' if rho < 0 else 'broadly'} than others of their layer: "
        f"rank correlation with entropy {rho:.2f}."
    )


# ---------------------------------------------------------------- phase 5


def kinds_counted(labelled: pd.DataFrame) -> str:
    """Query heads of each kind, most frequent first: a list for the middle of a sentence."""
    found = labelled["kind"].value_counts()
    order = sorted(found.index, key=lambda kind: (-found[kind], list(KINDS).index(kind)))
    return ", ".join(f"{found[kind]} {KINDS[kind].label}" for kind in order)


def seeds_agree(numbers: Mapping[str, float]) -> str:
    """What `civilwar.analysis.kinds.agreement` found, in a sentence."""
    if numbers["n_seeds"] < 2:
        return "Fewer than two runs of the sweep are recorded, so how labels differ between seeds is open here."
    return (
        f"Between two of {numbers['n_seeds']:.0f} seeds, {numbers['same']:.0%} of places (layer and query head) have the same "
        f"kind; labels dealt anew within layers give {numbers['dealt']:.0%} (95%: {numbers['low']:.0%} to "
        f"{numbers['high']:.0%})."
    )


def golden_energy(run: Run) -> str:
    """What the criteria of C14 and C15 are in this run, in two sentences, or that they are undefined."""
    broad, sharp_less = roles.golden_energy_of_broad(run), roles.golden_energy_broad_less_sharp(run)
    if math.isnan(broad):
        return "This run has no golden dimensions, so nothing can be said of their energy."
    own, less = roles.golden_energy_of_sinks(run), roles.golden_energy_sinks_less_others(run)
    sinks = (
        "There is no static sink whose keys could be looked at."
        if math.isnan(own)
        else f"The keys that static sinks point at hold {own:.2f} times the golden dimensions' share of energy, "
        f"{_more_or_less(less)} the other KV heads of their layers at the same tokens."
    )
    return (
        f"{sinks} The keys that a layer's broadest quarter of heads read hold {broad:.2f} times that share, "
        f"{_more_or_less(sharp_less)} those of its sharpest quarter."
    )


def _more_or_less(difference: float) -> str:
    if math.isnan(difference):
        return "with nothing to compare, since static sinks read all of"
    return f"{abs(difference):.2f} {'more' if difference > 0 else 'less'} than"


def costliest_to_silence(by_kind: pd.DataFrame) -> str:
    """What silencing the costliest kind costs, of `civilwar.analysis.roles.ablation_by_kind`: a phrase."""
    row = roles.costliest(by_kind)
    heads = f"{KINDS[row['kind']].label} head{'s' if row['n_heads'] > 1 else ''}"
    cost = f"{row['n_heads']} {heads}, {row['change']:+.2f} nats"
    if math.isnan(row["random"]):
        return f"{cost}; they fill their layers, so there is no comparison"
    return f"{cost}; as many random heads of the same layers, {row['random']:+.2f}"


# ---------------------------------------------------------------- phase 6


def controls_there_are() -> pd.DataFrame:
    """One row for each variant that is no baseline: control, what is changed."""
    rows = [(variant.label, variant.says) for variant in VARIANTS.values() if variant.key != BASELINE]
    return pd.DataFrame(rows, columns=["control", "what is changed"])


def lacking(sweep: Sweep, variants: Sequence[str] = (), baseline_seeds: int = 1) -> str:
    """What a comparison needs and the sweep does not have yet, as a sentence; empty where nothing is lacking.

    Needed: so many runs of the baseline, and runs of ``variants``, or where none are named, any control with a baseline of
    its seed.
    """
    needed = []
    if len(sweep.baseline) < baseline_seeds:
        needed.append(f"at least {baseline_seeds} of the baseline (recorded: {len(sweep.baseline)})")
    needed += [f"one of {variant}" for variant in variants if not sweep.of(variant)]
    if not variants and not any(sweep.pairs(variant) for variant in LABELS if variant != BASELINE):
        needed.append("one of a control, with the baseline's of the same seed")
    return f"Nothing to show yet: this comparison needs runs of the sweep, {' and '.join(needed)}." if needed else ""


def first_falls(run: Run, beside: Sweep) -> str:
    """How far a run's norms first fall, and those of the variants ``beside`` it; a clause, which says where none are."""
    said = f"its norms first fall by {controls.fall(run):.2f} on average over layers"
    others = [
        f"{controls.fall(other):.2f} ({LABELS[other.config.variant]})"
        for other in beside.all
        if other.config.variant != run.config.variant
    ]
    return f"{said}, those of other variants by {', '.join(others)}" if others else f"{said}; no other variant is there"


def knobs_that_move(changes: pd.DataFrame) -> str:
    """How many changes of `civilwar.analysis.controls.changes` are clear of 0, and the largest; or that none can be said."""
    tested = changes.dropna(subset=["low"])
    if tested.empty:
        return "Which knob moves what is open here: a change has an interval only over the seeds of a sweep."
    clear = tested[tested["clear"]]
    said = (
        f"Of {len(tested)} changes that a turned knob could make, {len(clear)} are clear of 0 over seeds, where chance alone "
        f"would give {0.05 * len(tested):.1f}"
    )
    beside_seeds = clear["deviations"].abs().dropna()
    if beside_seeds.empty:
        return f"{said}."
    widest = clear.loc[beside_seeds.idxmax()]
    return f"{said}; the largest beside what seeds differ by is {LABELS[widest['variant']]}'s."


def attribution(changes: pd.DataFrame) -> pd.DataFrame:
    """Which knob moves which phenomenon: phenomenon, baseline, lowered by, raised by, no value in; the clear changes only.

    ``changes`` as `civilwar.analysis.controls.changes` gives them. Knobs by their labels, the largest change first.
    """
    rows = []
    for phenomenon in controls.PHENOMENA:
        table = changes[changes["phenomenon"] == phenomenon]
        table = table.assign(size=table["change"].abs()).sort_values("size", ascending=False)
        groups = {
            "lowered by": table["clear"] & (table["change"] < 0),
            "raised by": table["clear"] & (table["change"] > 0),
            "no value in": table["change"].isna(),
        }
        row: dict[str, object] = {"phenomenon": phenomenon, "baseline": table["baseline"].max()}
        row |= {
            name: ", ".join(LABELS[variant] for variant in table[chosen]["variant"]) or NOTHING
            for name, chosen in groups.items()
        }
        rows.append(row)
    return pd.DataFrame(rows)


def changes_in_words(changes: pd.DataFrame) -> pd.DataFrame:
    """One row per phenomenon, one column per knob: the change and half its interval as text; a dash where undefined."""
    said = changes.assign(
        text=[
            _change_in_words(change, high - change, controls.PHENOMENA[phenomenon])
            for phenomenon, change, high in zip(changes["phenomenon"], changes["change"], changes["high"], strict=True)
        ]
    )
    table = said.pivot(index="phenomenon", columns="variant", values="text")
    return table.reindex(index=list(controls.PHENOMENA), columns=list(changes["variant"].unique())).reset_index()


def _change_in_words(change: float, half: float, decimals: int) -> str:
    if math.isnan(change):
        return NOTHING
    number = f"{change:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")
    return number if math.isnan(half) else f"{number} ± {half:.{decimals}f}"


# ---------------------------------------------------------------- phase 10


def loud_heads(heads: pd.DataFrame) -> str:
    """One sentence on the attention in use of those `civilwar.analysis.beside.final_heads` that the report calls loud."""
    loud = heads[heads["norm"] > beside.REPORTED.loud]
    if loud.empty:
        return "Here no head is that loud."
    return f"Here the attention of the loud ones has {loud['entropy'].min():.1f} to {loud['entropy'].max():.1f} nats."
