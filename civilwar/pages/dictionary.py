"""The schema as two pages: the book's data dictionary, and ``data/README.md``.

Both are committed, and a test fails where they differ from what this file makes of the schema. Write them anew with
``python -m civilwar.pages.dictionary``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from civilwar import paths
from civilwar.runs.columns import Array, Bound, Column, Group, Owner, Table, When
from civilwar.runs.entries import MANIFEST_ENTRIES, PROBE_ENTRIES
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.quantities import STEP
from civilwar.runs.schema import ARRAYS, PROBE, TABLES

#: How a page names a paper, by its key in ``book/references.bib``.
Cite = Callable[[str], str]

OWNERS: dict[Owner, tuple[str, str]] = {
    "model": ("The whole model", ""),
    "layer": ("Layers", ""),
    "KV head": (
        "KV heads",
        "A KV head is one set of keys and values of a layer, which several query heads read. Norms, ranks and energies are "
        "its own.",
    ),
    "query head": (
        "Query heads",
        "A query head is one attention pattern of a layer. The column `kv_head` says whose keys it reads; query heads that "
        "read the same keys are no independent observations.",
    ),
}
WHEN: dict[When, str] = {
    "step": "Measured at every training step.",
    "snapshot": "Measured at every snapshot.",
    "end": "Measured once, of the trained model.",
}
HEADER = "| Column | Meaning | Unit | Range | Type |\n| --- | --- | --- | --- | --- |\n"

BOOK_INTRODUCTION = """# Data dictionary

What a recorded run holds, column by column. This page is printed from `civilwar/runs/schema.py`, against which everything is
checked when it is written; symbols are those of the [glossary](glossary.md).

`civilwar.open_run(name)` opens a run, `run.table(name)` gives a table, `run.array(name)` a group of arrays. What is not
defined, or was not yet measured when a run was recorded, is NaN. A light recording keeps fewer energies; a slim one keeps
every number that a verdict needs and thins some of the rest, as said below where it does.
"""
README_INTRODUCTION = """# Recorded runs

One folder a run, named after its preset, variant and seed: tables as parquet files, arrays as safetensors files, `probe.json`
with the texts that snapshots are measured on, and `manifest.json`, which says what was run and how and holds every file's
checksum. The weights are not here; training the same configuration gives them again. `benchmarks/` holds measurements of
this package's own speed and of faults caused on purpose, which a page of the book shows.

Printed from `civilwar/runs/schema.py`, against which everything is checked when it is written; do not edit it by hand, but
run `python -m civilwar.pages.dictionary`. What is not defined, or was not yet measured when a run was recorded, is NaN. A
light recording keeps fewer energies; a slim one keeps every number that a verdict needs and thins some of the rest, as said
below where it does.
"""


def book_page() -> str:
    """The text of ``book/data_dictionary.md``."""
    return BOOK_INTRODUCTION + _body(lambda key: f"{{cite:p}}`{key}`")


def data_readme() -> str:
    """The text of ``data/README.md``, whose reader has no list of references but the file itself."""
    return README_INTRODUCTION + _body(lambda key: f"([{key}](../book/references.bib))")


def _body(cite: Cite) -> str:
    parts = []
    for owner, (title, note) in OWNERS.items():
        parts.append(f"\n## {title}\n" + (f"\n{note}\n" if note else ""))
        parts += [_table(name, table, cite) for name, table in TABLES.items() if table.of == owner]
        parts += [_group(name, group, cite) for name, group in ARRAYS.items() if group.of == owner]
    parts.append(_entries("The manifest", f"Entries of `{MANIFEST}`.", MANIFEST_ENTRIES))
    parts.append(_entries("The probe texts", f"Entries of `{PROBE}`.", PROBE_ENTRIES))
    return "".join(parts)


def _table(name: str, table: Table, cite: Cite) -> str:
    one_row = ", ".join(f"`{axis.name}`" for axis in table.axes)
    facts = f"{table.says} {WHEN[table.when]} One row for each {one_row}.{_kept(table)}"
    return f"\n### `{name}`\n\n{facts}\n\n{HEADER}" + _rows(table.all_columns.values(), cite)


def _group(name: str, group: Group, cite: Cite) -> str:
    shapes = " ".join(f"`{array.column.name}` is {_shape(array)}." for array in group.arrays)
    facts = f"{group.says} {WHEN[group.when]} Arrays: {shapes}{_kept(group)}"
    return f"\n### `{name}` (arrays)\n\n{facts}\n\n{HEADER}" + _rows(
        (STEP, *(array.column for array in group.arrays)), cite
    )


def _shape(array: Array) -> str:
    return f"`[{', '.join(('step', *array.axes))}]`"


def _kept(entry: Table | Group) -> str:
    forms = {"slim": entry.slim, "light": entry.light}
    return "".join(f" A {form} recording lacks {kept.left_out}." for form, kept in forms.items() if kept is not None)


def _rows(columns: Iterable[Column], cite: Cite) -> str:
    return "".join(
        f"| `{column.name}` | {_meaning(column, cite)} | {column.unit} | {_range(column)} | {column.dtype} |\n"
        for column in columns
    )


def _meaning(column: Column, cite: Cite) -> str:
    said = [column.says]
    if column.formula:
        said.append(f"${column.formula}$")
    if column.source:
        said.append(cite(column.source))
    if column.undefined:
        said.append(f"Undefined {column.undefined}.")
    return " ".join(said)


def _range(column: Column) -> str:
    if column.dtype == "str":
        return ", ".join(f"`{value}`" for value in column.values) or "any"
    low, high = (_end(end) for end in (column.low, column.high))
    if not high:
        return f"at least {low}" if low else "any"
    return f"{low} to {high}"


def _end(end: Bound) -> str:
    """A number, a name as code, or nothing where there is no end."""
    if isinstance(end, str):
        return f"`{end}`"
    return f"{end:g}" if math.isfinite(end) else ""


def _entries(title: str, says: str, entries: Mapping[str, str]) -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in entries.items())
    return f"\n## {title}\n\n{says}\n\n| Entry | Meaning |\n| --- | --- |\n{rows}"


def written() -> dict[Path, str]:
    """The pages that are committed, and what they have to say."""
    root = paths.repository()
    return {root / "book" / "data_dictionary.md": book_page(), root / "data" / "README.md": data_readme()}


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")
