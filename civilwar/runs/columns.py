"""What a recorded column, table and array is: name, type, unit, range and meaning, and what smaller recordings keep of it."""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from civilwar.recipe.watched import AnyConfig

#: Of numbers as NumPy calls them; ``str`` is text.
DType = Literal["int32", "int64", "float32", "float64", "uint8", "str"]
#: Whose property a table or an array records.
Owner = Literal["model", "layer", "KV head", "query head"]
#: When its rows are measured: at every training step, at every snapshot, or once, of the trained model.
When = Literal["step", "snapshot", "end"]
#: An end of a range: a number, or a name in `BOUNDS` where it depends on the configuration.
Bound = float | str

#: What an end of a range is in a run of some configuration.
BOUNDS: dict[str, Callable[[AnyConfig], float]] = {
    "d_head": lambda config: config.model.d_head,
    "d_head - 1": lambda config: config.model.d_head - 1,
    "context": lambda config: config.model.context,
    "ln context": lambda config: math.log(config.model.context),
    "ln report_tokens": lambda config: math.log(config.probe.report_tokens),
    "steps": lambda config: config.train.steps,
    "n_layers - 1": lambda config: config.model.n_layers - 1,
    "n_query_heads - 1": lambda config: config.model.n_query_heads - 1,
    "n_kv_heads - 1": lambda config: config.model.n_kv_heads - 1,
    "all query heads": lambda config: config.model.n_layers * config.model.n_query_heads,
    "n_texts - 1": lambda config: config.probe.n_texts - 1,
    "n_repeated - 1": lambda config: config.probe.n_repeated - 1,
    "random_draws - 1": lambda config: config.probe.random_draws - 1,
}


def bound(end: Bound, config: AnyConfig) -> float:
    """The number at one end of a range, in a run of ``config``. Raises KeyError for a name that is not in `BOUNDS`."""
    return BOUNDS[end](config) if isinstance(end, str) else end


@dataclass(frozen=True)
class Column:
    """One column of a table, or one array of a group."""

    name: str
    _: KW_ONLY
    says: str
    """One plain sentence."""
    unit: str
    """nats, share, dimensions, ...; ``index`` of an axis, ``name`` of a text."""
    dtype: DType = "float32"
    low: Bound = -math.inf
    """Smallest possible value, rounding apart; minus infinity where there is none."""
    high: Bound = math.inf
    """Largest possible value, rounding apart; infinity where there is none."""
    values: tuple[str, ...] = ()
    """All that a text may be, where these are few."""
    formula: str = ""
    """LaTeX, in the notation of the book's glossary."""
    source: str = ""
    """Key of the paper in ``book/references.bib`` that it was taken from."""
    undefined: str = ""
    """Where its value is NaN. Empty if nowhere in a run that learns."""


@dataclass(frozen=True)
class Thinning:
    """What a smaller recording keeps of a table or of arrays: only some steps."""

    _: KW_ONLY
    left_out: str
    """What is missing, in the words of the recording's manifest."""
    kept: Callable[[AnyConfig], set[int]]
    """Steps that stay. Where there are none, the whole file is left out."""
    always: tuple[str, ...] = ()
    """Columns that stay at every step. Then no row goes: the other columns are undefined between the steps kept."""


@dataclass(frozen=True)
class Table:
    """A tidy table: one row for every combination of its axes that was measured."""

    _: KW_ONLY
    says: str
    """One plain sentence: what a row is, and what it was measured on."""
    of: Owner
    when: When
    axes: tuple[Column, ...]
    """Columns that together name a row."""
    columns: tuple[Column, ...]
    """What was measured."""
    labels: tuple[Column, ...] = ()
    """Columns that follow from the axes, written down for convenience."""
    slim: Thinning | None = None
    """What a slim recording keeps; None keeps all."""
    light: Thinning | None = None
    """What a light recording keeps; None keeps all."""
    watched: bool = False
    """Whether only runs have it that were watched (`civilwar.watching`), and of these not all."""

    @property
    def all_columns(self) -> dict[str, Column]:
        """Every column by name: axes, then labels, then what was measured."""
        return {column.name: column for column in (*self.axes, *self.labels, *self.columns)}

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the columns that were measured."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True)
class Array:
    """One array of a group; its first axis is the group's ``step``."""

    column: Column
    """Name, type, unit, range and meaning of its numbers."""
    axes: tuple[str, ...]
    """What each axis after the step counts."""


@dataclass(frozen=True)
class Group:
    """Arrays that share a file and a ``step`` axis."""

    _: KW_ONLY
    says: str
    of: Owner
    when: When
    arrays: tuple[Array, ...]
    slim: Thinning | None = None
    light: Thinning | None = None


# ---------------------------------------------------------------- which steps a smaller recording keeps


def often_kept(config: AnyConfig) -> set[int]:
    """Snapshots and multiples of 8."""
    return {*config.snapshot_steps(), *range(0, config.train.steps + 1, 8)}


def seldom_kept(config: AnyConfig) -> set[int]:
    """The report's four moments and multiples of 32."""
    return moments_kept(config) | set(range(0, config.train.steps + 1, 32))


def moments_kept(config: AnyConfig) -> set[int]:
    """The report's four moments: start, a quarter, half and the end of the run."""
    return set(config.moments().values())


RARELY = "steps that are neither snapshots nor multiples of 8"
OFTEN = Thinning(left_out=RARELY, kept=often_kept)
SELDOM = Thinning(left_out="steps that are neither the report's four moments nor multiples of 32", kept=seldom_kept)
MOMENTS = Thinning(left_out="steps other than the report's four moments", kept=moments_kept)
NOTHING = Thinning(left_out="all", kept=lambda config: set())
