"""Thresholds that a user sets, and the steps at which a head passed one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from civilwar.runs.records import Records
from civilwar.runs.schema import TABLES
from civilwar.watching.rows import SINK

#: What can be watched over, and on which side of its threshold it is alarming.
KINDS = {"max_logit": "above", "entropy": "below", "sink_share": "above", "loss": "above"}


@dataclass(frozen=True)
class Alarm:
    """A head that passed a threshold."""

    step: int
    alarm: str
    """``max_logit``, ``entropy`` (as a share of the possible), ``sink_share`` or ``loss``."""
    layer: int
    query_head: int
    kv_head: int
    value: float
    threshold: float

    def __str__(self) -> str:
        side = "over" if KINDS[self.alarm] == "above" else "under"
        head = f"layer {self.layer}, query head {self.query_head}"
        return f"step {self.step}: {self.alarm} {self.value:.4g}, {side} {self.threshold:g} ({head})"


def checked(thresholds: Mapping[str, float] | None) -> dict[str, float]:
    """``thresholds`` if there are alarms of these names. Raises ValueError naming those there are."""
    given = dict(thresholds or {})
    for name, value in given.items():
        if name not in KINDS or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"alarms[{name!r}] = {value!r}: expected a number for one of {', '.join(KINDS)}.")
    return given


def alarms_of(records: Records, thresholds: Mapping[str, float]) -> list[Alarm]:
    """Every alarm in a stretch of steps, in order.

    ``max_logit`` above, ``entropy`` (normalised) below: of each head. ``sink_share``: the share of all heads whose mass on the
    first token is above `SINK`, told with the head that has most. ``loss`` above, told with the first head.
    """
    found: list[Alarm] = []
    attention = records.tables.get("step_attention", pd.DataFrame(columns=list(TABLES["step_attention"].all_columns)))
    for name, column in (("max_logit", "max_logit"), ("entropy", "entropy_normalised")):
        if name in thresholds:
            values, limit = attention[column], thresholds[name]
            passed = attention[values > limit if KINDS[name] == "above" else values < limit]
            found += [_alarm(row, name, row[column], limit) for _, row in passed.iterrows()]
    if "sink_share" in thresholds:
        for _, of_step in attention.dropna(subset=["first_mass"]).groupby("step"):
            share = float((of_step["first_mass"] > SINK).mean())
            if share > thresholds["sink_share"]:
                most = of_step.loc[of_step["first_mass"].idxmax()]
                found.append(_alarm(most, "sink_share", share, thresholds["sink_share"]))
    if "loss" in thresholds and "train" in records.tables:
        train = records.tables["train"]
        for _, row in train[train["loss"] > thresholds["loss"]].iterrows():
            loss = float(row["loss"])
            found.append(Alarm(int(row["step"]), "loss", 0, 0, 0, loss, thresholds["loss"]))
    return sorted(found, key=lambda alarm: (alarm.step, list(KINDS).index(alarm.alarm), alarm.layer, alarm.query_head))


def _alarm(row: pd.Series, name: str, value: float, threshold: float) -> Alarm:
    layer, query_head, kv_head = (int(row[at]) for at in ("layer", "query_head", "kv_head"))
    return Alarm(int(row["step"]), name, layer, query_head, kv_head, float(value), float(threshold))


def as_table(alarms: list[Alarm]) -> pd.DataFrame:
    """The schema's table ``alarms``."""
    columns = TABLES["alarms"].all_columns
    table = pd.DataFrame([vars(alarm) for alarm in alarms], columns=list(columns))
    return table.astype({name: column.dtype for name, column in columns.items()})
