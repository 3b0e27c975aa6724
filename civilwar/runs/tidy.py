"""Dense arrays with named axes to tidy tables: one row per combination of axis values, query and KV heads kept apart."""

from collections.abc import Mapping

import numpy as np
import pandas as pd


def tidy(axes: Mapping[str, np.ndarray | None], columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Dense arrays [*axes], one a column, as one row per combination of axis values; an axis of None counts from 0.

    Undefined values (NaN) stay null. Columns become float32.
    """
    shape = next(iter(columns.values())).shape
    labels = [
        np.arange(n, dtype=np.int32) if label is None else label for label, n in zip(axes.values(), shape, strict=True)
    ]
    grid = np.meshgrid(*labels, indexing="ij")
    table = pd.DataFrame({name: axis.ravel() for name, axis in zip(axes, grid, strict=True)})
    for name, values in columns.items():
        table[name] = values.reshape(-1).astype(np.float32)
    return table


def with_kv_head(table: pd.DataFrame, group_size: int) -> pd.DataFrame:
    """Add the KV head that each query head reads, beside it."""
    table.insert(list(table.columns).index("query_head") + 1, "kv_head", table["query_head"] // group_size)
    return table
