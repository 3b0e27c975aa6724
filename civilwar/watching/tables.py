"""What was measured of layers with their own numbers of heads, as the schema's tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from civilwar.runs.schema import TABLES
from civilwar.runs.tidy import tidy, with_kv_head

#: Column -> array of one layer's heads, with the table's axes after the layer.
Columns = Mapping[str, np.ndarray]


def table(
    name: str,
    step: int,
    layers: Mapping[int, Columns],
    after: Mapping[str, np.ndarray | None],
    before: Mapping[str, int] | None = None,
    group_sizes: Mapping[int, int] | None = None,
) -> pd.DataFrame:
    """One step's rows of the schema's table ``name``.

    Args:
        name: of the table.
        step: the step.
        layers: each layer's columns, arrays over the axes in ``after``; a column that the schema has besides is undefined.
        after: axes that follow the layer, each with its labels, or None where they count from 0.
        before: axes between step and layer, and their value.
        group_sizes: query heads to a KV head of every layer, where the table is of query heads.
    """
    schema = TABLES[name]
    parts = []
    for layer, columns in layers.items():
        part = tidy(after, columns)
        if group_sizes is not None:
            part = with_kv_head(part, group_sizes[layer])
        part = part.assign(step=np.int32(step), layer=np.int32(layer))
        for axis, value in (before or {}).items():
            part[axis] = np.int32(value)
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    for key in schema.measured:
        if key not in whole:
            whole[key] = np.float32(np.nan)
    return whole[list(schema.all_columns)].astype({"step": "int32", "layer": "int32"})


def joined(tables: Sequence[Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Tables of several texts or steps, row upon row."""
    names = dict.fromkeys(name for one in tables for name in one)
    return {name: pd.concat([one[name] for one in tables if name in one], ignore_index=True) for name in names}
