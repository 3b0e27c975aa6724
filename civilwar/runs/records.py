"""Rows and arrays of a stretch of steps: in memory, and as files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from civilwar.errors import RunDamaged
from civilwar.runs import conform

REMEDY = "Restore it from a copy, or remove the run's folder and train it again."


@dataclass
class Records:
    """Rows and arrays of one stretch of steps, as the tracker hands them over."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """One parquet file per table and one safetensors file per group of arrays.

        Raises SchemaMismatch, before anything is written, where one of them is not what the schema says.
        """
        for name, table in self.tables.items():
            conform.check_table(name, table)
        for name, group in self.arrays.items():
            conform.check_group(name, group)
        (folder / "tables").mkdir(parents=True)
        (folder / "arrays").mkdir()
        for name, table in self.tables.items():
            write_table(table, folder / "tables" / f"{name}.parquet")
        for name, group in self.arrays.items():
            save_file(
                {key: np.ascontiguousarray(value) for key, value in group.items()},
                folder / "arrays" / f"{name}.safetensors",
            )

    @classmethod
    def read(cls, folder: Path) -> "Records":
        """Inverse of `write`. Columns that the schema has gained since are undefined."""
        return cls(
            tables={
                file.stem: conform.completed(file.stem, read_table(file))
                for file in sorted((folder / "tables").glob("*.parquet"))
            },
            arrays={file.stem: read_arrays(file) for file in sorted((folder / "arrays").glob("*.safetensors"))},
        )

    @classmethod
    def concatenate(cls, parts: list["Records"]) -> "Records":
        """Stretches in order, joined along steps. A table or array that a stretch lacks adds nothing."""
        tables = {
            name: pd.concat([p.tables[name] for p in parts if name in p.tables], ignore_index=True)
            for name in dict.fromkeys(name for p in parts for name in p.tables)
        }
        arrays = {
            name: {
                key: np.concatenate([p.arrays[name][key] for p in parts if name in p.arrays])
                for key in next(p.arrays[name] for p in parts if name in p.arrays)
            }
            for name in dict.fromkeys(name for p in parts for name in p.arrays)
        }
        return cls(tables, arrays)


def write_table(table: pd.DataFrame, file: Path) -> None:
    """A table as parquet. Floats have their bytes sorted by place first, which compresses to about 60% of the size."""
    floats = [str(column) for column in table if pd.api.types.is_float_dtype(table[column])]
    table.to_parquet(
        file,
        index=False,
        compression="zstd",
        use_byte_stream_split=floats,
        use_dictionary=[str(column) for column in table if str(column) not in floats],
    )


def read_table(file: Path) -> pd.DataFrame:
    """One parquet table. Raises RunDamaged where it cannot be read."""
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise RunDamaged(f"{file} is not a whole parquet file ({error}). {REMEDY}") from error


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """One group of arrays. Raises RunDamaged where it cannot be read."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunDamaged(f"{file} is not a whole safetensors file ({error}). {REMEDY}") from error
