"""What pages show of watched runs: a measure of all heads over steps, one run beside another, and which models are heard."""

import numpy as np
import pandas as pd

from civilwar import paths
from civilwar.errors import RunError
from civilwar.runs.reader import Run

#: What `benchmarks/coverage.py` wrote.
COVERAGE = "benchmarks/coverage.csv"


def over_heads(run: Run, column: str, table: str = "step_attention") -> pd.DataFrame:
    """A measure's least, median and largest head at every step: step, low, median, high; and first_low, first_high at first.

    In the measure's unit. ``first_low`` and ``first_high`` are those of the first step, the same in every row: what heads
    differ by before this training.
    """
    values = run.table(table).dropna(subset=[column]).groupby("step")[column]
    found = pd.DataFrame({"low": values.min(), "median": values.median(), "high": values.max()}).reset_index()
    return found.assign(first_low=found["low"].iloc[0], first_high=found["high"].iloc[0])


def glance(runs: dict[str, Run]) -> pd.DataFrame:
    """One row a run: how, layers, query heads, steps, first_loss, last_loss (nats), largest_logit."""
    return pd.DataFrame(
        [
            {
                "how": how,
                "layers": run.config.model.n_layers,
                "query heads": run.config.model.n_layers * run.config.model.n_query_heads,
                "steps": len(run.table("train")),
                "first_loss": float(run.table("train")["loss"].iloc[0]),
                "last_loss": float(run.table("train")["loss"].iloc[-1]),
                "largest_logit": float(run.table("step_attention")["max_logit"].max()),
            }
            for how, run in runs.items()
        ]
    )


def deviations(live: Run, reread: Run) -> pd.DataFrame:
    """How far numbers of reread checkpoints lie from the live ones: table, numbers, largest (difference, in their own unit)."""
    rows = []
    for name in ("probe_query_heads", "probe_kv_heads", "probe_sinks", "probe_induction", "probe_loss"):
        one, other = live.table(name), reread.table(name)
        keys = [column for column in one if not pd.api.types.is_float_dtype(one[column])]
        both = one.merge(other, on=keys, suffixes=("", " reread"), validate="one_to_one")
        values = [column for column in one if column not in keys]
        apart = np.abs(both[values].to_numpy() - both[[f"{column} reread" for column in values]].to_numpy())
        rows.append({"table": name, "numbers": int(np.isfinite(apart).sum()), "largest": float(np.nanmax(apart))})
    return pd.DataFrame(rows)


def coverage() -> pd.DataFrame:
    """Every try to hear a family's attention, as recorded: see ``benchmarks/coverage.py``. Raises RunError without it."""
    file = paths.recorded() / COVERAGE
    if not file.is_file():
        raise RunError(f"{file} is not there: `python benchmarks/coverage.py` writes it.")
    return pd.read_csv(file)


def by_family(tries: pd.DataFrame) -> pd.DataFrame:
    """One row a family: family, traits, heard and tried (ways to run it), largest deviation from the model's own numbers."""
    deviation = tries[["weights_deviation", "output_deviation"]].max(axis=1)
    grouped = tries.assign(deviation=deviation).groupby(["family", "traits"], sort=True, dropna=False)
    found = grouped.agg(heard=("heard", "sum"), tried=("heard", "size"), largest=("deviation", "max")).reset_index()
    return found.assign(traits=found["traits"].fillna(""))
