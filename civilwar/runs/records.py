"""Rows and arrays of a stretch of steps: in memory, and as files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from civilwar.errors import RunDamaged
from civilwar.files import largest_unpacked
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
    """One parquet table. Raises RunDamaged where it cannot be read, or would fill the memory: runs come from anywhere."""
    try:
        _require_small(file)
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise RunDamaged(f"{file} is not a whole parquet file ({error}). {REMEDY}") from error


def _require_small(file: Path) -> None:
    """Raise RunDamaged where a table unpacks to more than its size lets expect, before it is unpacked.

    Every cell counts with eight bytes; a text with its length, read in the form in which it stands there once.
    """
    limit = largest_unpacked(file.stat().st_size)
    kept = pq.ParquetFile(file)
    unpacked = 8 * kept.metadata.num_rows * kept.metadata.num_columns
    kinds = {field.name: field.type for field in kept.schema_arrow}
    nested = [name for name, kind in kinds.items() if pa.types.is_nested(kind) or _is_bytes(kind)]
    if nested:
        raise RunDamaged(f"{file} holds {kinds[nested[0]]} in {nested[0]}, which no table of a run does. {REMEDY}")
    # a column of which every value is undefined has no kind
    texts = [name for name, kind in kinds.items() if not (pa.types.is_primitive(kind) or pa.types.is_null(kind))]
    if texts and unpacked <= limit:
        # pointers to texts: of as many bytes as there are texts, whatever their length
        for column in pq.ParquetFile(file, read_dictionary=texts).read(columns=texts).columns:
            for chunk in column.chunks:
                longest = max((len(text) for text in chunk.dictionary.to_pylist() if text is not None), default=0)
                unpacked += longest * len(chunk)
    if unpacked > limit:
        raise RunDamaged(
            f"{file} has {file.stat().st_size:,} bytes and would unpack to more than {limit:,}, which no table of a run does. "
            f"{REMEDY}"
        )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """One group of arrays. Raises RunDamaged where it cannot be read."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunDamaged(f"{file} is not a whole safetensors file ({error}). {REMEDY}") from error
