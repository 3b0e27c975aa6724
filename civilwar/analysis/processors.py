"""Phase 11: which numbers of a run repeat on another processor, and to how many digits."""

from pathlib import Path

import pandas as pd

from civilwar import paths
from civilwar.errors import RunError

#: What `benchmarks/processors.py` writes.
RESULT = "processors.csv"
#: The same machine once more: what must be equal.
AGAIN = "again"
#: Measures that a reader is told of, and what each is called there.
SHOWN = {
    "train.loss": "training loss",
    "probe_loss.loss": "held-out loss",
    "step_layers.k_gain_rms": "gain of the keys",
    "step_kv_heads.norm_mean": "key norm",
    "step_kv_heads.key_cosine": "cosine between keys",
    "probe_kv_heads.participation_ratio": "dimensions in use",
    "probe_query_heads.entropy": "entropy",
    "probe_query_heads.max_weight": "largest attention weight",
    "probe_query_heads.separator_mass": "attention to separators",
    "probe_induction.induction_score": "induction score",
}
#: What a reader measured between an Intel and an AMD processor, over the same steps: the largest difference of the loss, in
#: nats, and the largest relative ones of two measures.
OUTSIDE = {"train.loss": 0.011, "step_kv_heads.key_cosine": 0.09, "probe_query_heads.separator_mass": 0.12}
OUTSIDER = "Intel beside AMD"


def measured(root: Path | None = None) -> pd.DataFrame:
    """What the benchmark wrote: `civilwar.analysis.compare.compare`'s columns, and way, beside, processor, torch.

    Raises RunError where it was not recorded.
    """
    file = (paths.measured() if root is None else root / "benchmarks") / RESULT
    if not file.is_file():
        raise RunError(f"{file} is not there: run `python benchmarks/processors.py` to make it.")
    return pd.read_csv(file)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """A row a measure of `SHOWN`, a column a way: the largest relative difference in percent, and of losses that in nats.

    The last column has what was measured elsewhere (`OUTSIDE`); undefined where nothing was.
    """
    rows = []
    for measure, name in SHOWN.items():
        of_loss = measure.endswith(".loss")
        found = table[table["measure"] == measure].set_index("way")
        values = found["largest_difference"] if of_loss else 100 * found["largest_relative"]
        outside = OUTSIDE.get(measure)
        elsewhere = float("nan") if outside is None else outside if of_loss else 100 * outside
        rows.append({"measure": name, "unit": "nats" if of_loss else "%", **values.to_dict(), OUTSIDER: elsewhere})
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> dict[str, float | str]:
    """The page's numbers: of the machine itself, again; and of the other ways together."""
    again = table[table["way"] == AGAIN]
    others = table[(table["way"] != AGAIN) & (table["beside"] != AGAIN)]
    losses = others[others["measure"] == "train.loss"]
    return {
        "processor_name": str(table["processor"].iloc[0]),
        "processor_ways": others["way"].nunique(),
        "processor_others": "; ".join(others["way"].unique()),
        "processor_steps": int(losses["values"].iloc[0]),
        "processor_again_percent": 100 * float((again["equal"] == 1).mean()),
        "processor_loss_nats": float(losses["largest_difference"].max()),
        "processor_digits_loss": float(losses["digits"].min()),
        "processor_outside_nats": OUTSIDE["train.loss"],
        "processor_outside_cosine_percent": 100 * OUTSIDE["step_kv_heads.key_cosine"],
        "processor_outside_separator_percent": 100 * OUTSIDE["probe_query_heads.separator_mass"],
    }
