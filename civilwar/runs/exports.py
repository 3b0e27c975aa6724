"""A run in other tools: one dataset of named axes, or a few curves a tool of experiment tracking can show.

A tracker is sent quantiles over heads, alarms and where the run lies, never a curve a head: ten thousand series make it slow
and show nothing.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from civilwar.errors import RunError, RunLacks
from civilwar.runs.schema import ARRAYS, TABLES

if TYPE_CHECKING:
    import xarray

#: Table -> columns whose quantiles over heads are sent.
SENT = {
    "step_kv_heads": ("norm_mean",),
    "step_query_heads": ("query_norm_mean",),
    "step_attention": ("max_logit", "entropy_normalised", "first_mass", "log_sum_exp_mean", "query_gradient"),
    "step_gradients": ("key_gradient",),
}
QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}


class Readable(Protocol):
    """What is asked of a run."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""

    def table(self, name: str) -> pd.DataFrame:
        """A table by name."""

    def array(self, name: str) -> dict[str, np.ndarray]:
        """A group of arrays by name."""


def curves(run: Readable) -> Iterator[tuple[int, dict[str, float]]]:
    """Step by step what a tracker is sent: the loss, quantiles over all heads of each of `SENT`, and how many alarms."""
    parts = [run.table("train").set_index("step")["loss"].rename("train/loss")]
    for name, columns in SENT.items():
        table = _or_none(lambda name=name: run.table(name))  # type: ignore[misc]
        for column in columns if table is not None else ():
            assert table is not None
            grouped = table.dropna(subset=[column]).groupby("step")[column]
            parts += [grouped.quantile(at).rename(f"heads/{column}/{label}") for label, at in QUANTILES.items()]
    alarms = _or_none(lambda: run.table("alarms"))
    if alarms is not None:
        parts += [rows.groupby("step").size().rename(f"alarms/{kind}") for kind, rows in alarms.groupby("alarm")]
    for step, row in pd.concat(parts, axis=1).sort_index().iterrows():
        yield int(str(step)), {str(key): float(value) for key, value in row.items() if not math.isnan(value)}


def _or_none(read: Callable[[], pd.DataFrame]) -> pd.DataFrame | None:
    try:
        return read()
    except RunLacks:
        return None


def to_tensorboard(run: Readable, folder: Path | str) -> Path:
    """Write `curves` as TensorBoard's event files under ``folder``. Raises ModuleNotFoundError without tensorboard."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_text("run", f"{run.name}: {run.path}", 0)
        for step, values in curves(run):
            for key, value in values.items():
                writer.add_scalar(key, value, step)
    return Path(folder)


def to_tracker(run: Readable, tracker: Any, **options: Any) -> Any:
    """Send `curves` to what speaks like wandb: ``init``, ``log`` and ``finish``. Returns what ``init`` gave."""
    options = {"name": run.name, "config": {"civilwar_run": str(run.path)}} | options
    session = tracker.init(**options)
    for step, values in curves(run):
        tracker.log(values, step=step)
    tracker.finish()
    return session


def to_xarray(run: Readable) -> "xarray.Dataset":
    """Every table and array of a run as one dataset: a variable ``table.column``, its axes by name.

    Axes of several tables that count the same have one coordinate, with all their values: where a table has no row, the
    variable is NaN. Raises ModuleNotFoundError without xarray.
    """
    import xarray

    found: dict[str, Any] = {}
    for name, schema in TABLES.items():
        try:
            table = run.table(name)
        except RunError:
            # a recording may lack some
            continue
        axes = [axis.name for axis in schema.axes]
        whole = table.set_index(axes)[list(schema.measured)].to_xarray()
        # a text of the probe is none of the repeated ones, and a step of one table need not be one of another
        found |= {
            f"{name}.{column}": whole[column].rename({axis: _axis(name, axis) for axis in axes})
            for column in schema.measured
        }
    for name, group in ARRAYS.items():
        try:
            arrays = run.array(name)
        except RunError:
            continue
        for array in group.arrays:
            key = array.column.name
            dims = (f"{name}_step", *(f"{name}_{axis}" for axis in array.axes))
            found[f"{name}.{key}"] = xarray.DataArray(arrays[key], dims=dims, coords={dims[0]: arrays["step"]})
    return xarray.Dataset(found, attrs={"run": run.name})


def _axis(table: str, axis: str) -> str:
    """An axis's name in the dataset: tables measured at the same moments share it."""
    if axis == "step":
        return {"probe": "snapshot", "step": "step", "train": "step"}.get(table.split("_")[0], f"{table}_step")
    return f"{table}_text" if axis == "text" and table == "probe_induction" else axis
