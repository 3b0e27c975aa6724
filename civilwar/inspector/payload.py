"""What the inspector's views are given, whoever gathers it: `of_run` from a recorded run, `of_model` from a model.

One schema, checked when a payload is made, and one place that writes it for the browser. A *tick* is one of the steps at which
something was recorded; whatever has a ``steps`` has them as training steps, in rising order, one a tick. Query heads and KV
heads are numbered within their layer, and query head ``h`` reads KV head ``h // group_size``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from civilwar.inspector.pack import pack
from civilwar.names.measures import Owner
from civilwar.plots import style

Steps = tuple[int, ...]


@dataclass(frozen=True)
class Null:
    """What a measure would be without what it is meant to show."""

    says: str
    """Which null, as the end of "above the null (...)"."""
    steps: Steps
    band: np.ndarray
    """[tick, layer, (low, high)] in the measure's unit; undefined (NaN) where a layer has none."""


@dataclass(frozen=True)
class Series:
    """One measure of every head."""

    key: str
    label: str
    unit: str
    """Empty where it is a share of 1."""
    owner: Owner
    says: str
    """One sentence for a reader who has never met it."""
    steps: Steps
    values: np.ndarray
    """[tick, layer, head] in ``unit``; ``head`` counts what ``owner`` says. Undefined is NaN."""
    null: Null | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of head."""

    name: str
    code: str
    """Two letters for a cell of the map."""
    color: str
    """As ``#rrggbb``."""


@dataclass(frozen=True)
class Kinds:
    """What kind every query head is of."""

    kinds: tuple[Kind, ...]
    steps: Steps
    codes: np.ndarray
    """Index into ``kinds``, [tick, layer, query_head], uint8."""


@dataclass(frozen=True)
class Gain:
    """A layer's learned gain, and the keys that it acts on. A model without a gain has NaN in its place."""

    steps: Steps
    gain: np.ndarray
    """[tick, layer, d_head], 1 where it changes nothing."""
    energy_steps: Steps
    energy: np.ndarray
    """Mean square of a KV head's keys before the gain, [tick, layer, kv_head, d_head]; 1 is an even share."""
    golden: np.ndarray
    """Whether the gain is far above the layer's others at the end, [layer, d_head], uint8."""
    rank: np.ndarray
    """Rank of a dimension's RoPE pair, 0 is the fastest, [layer, d_head], int32."""
    wavelength: np.ndarray
    """Tokens a turn of the pair of every rank, [d_head / 2], float32."""


@dataclass(frozen=True)
class Patterns:
    """Attention on the short texts."""

    steps: Steps
    weights: np.ndarray
    """Rows of the lower triangle, [tick, text, layer, query_head, query * (query + 1) / 2 + key], uint8, weight 1 as 255."""


@dataclass(frozen=True)
class Text:
    """A short text, token by token."""

    tokens: tuple[str, ...]
    separator: tuple[bool, ...]


@dataclass(frozen=True)
class Curve:
    """One number of the whole model over training."""

    key: str
    label: str
    steps: Steps
    values: np.ndarray
    """[tick]; undefined is NaN."""


@dataclass(frozen=True)
class Alarm:
    """Something that went wrong at a step, or passed a threshold."""

    step: int
    says: str


@dataclass(frozen=True)
class Payload:
    """Everything that the views show of one run or model. Raises ValueError where its parts do not fit each other."""

    name: str
    n_layers: int
    n_query_heads: int
    n_kv_heads: int
    d_head: int
    context: int | None
    """The longest text the model takes, in tokens; None where that is unknown."""
    last_step: int
    default: str
    """Key of the measure that is shown first."""
    measures: tuple[Series, ...]
    gain: Gain
    texts: tuple[Text, ...] = ()
    kinds: Kinds | None = None
    patterns: Patterns | None = None
    curves: tuple[Curve, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    status: str = ""
    """How far a run has come, as its manifest says it; empty for a model without a run."""

    def __post_init__(self) -> None:
        if self.n_kv_heads < 1 or self.n_query_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_query_heads} query heads cannot share {self.n_kv_heads} KV heads evenly.")
        if self.default not in self.by_key or len(self.by_key) < len(self.measures):
            raise ValueError(
                f"measures: expected different keys, {self.default!r} among them; got {list(self.by_key)}."
            )
        for measure in self.measures:
            head = self.n_kv_heads if measure.owner == "kv_head" else self.n_query_heads
            _check(measure.key, measure.values, measure.steps, (self.n_layers, head))
            if measure.null is not None:
                _check(f"null of {measure.key}", measure.null.band, measure.null.steps, (self.n_layers, 2))
        if self.kinds is not None:
            _check("kind", self.kinds.codes, self.kinds.steps, (self.n_layers, self.n_query_heads), "uint8")
            if self.kinds.codes.max(initial=0) >= len(self.kinds.kinds):
                raise ValueError(f"kind: codes up to {self.kinds.codes.max()}, for {len(self.kinds.kinds)} kinds.")
        for curve in self.curves:
            _check(curve.key, curve.values, curve.steps, ())
        layer = (self.n_layers, self.d_head)
        _check("gain", self.gain.gain, self.gain.steps, layer)
        _check("energy", self.gain.energy, self.gain.energy_steps, (self.n_layers, self.n_kv_heads, self.d_head))
        _check("golden", self.gain.golden, None, layer, "uint8")
        _check("rank", self.gain.rank, None, layer, "int32")
        _check("wavelength", self.gain.wavelength, None, (self.d_head // 2,), "float32")
        if any(len(text.tokens) != len(text.separator) for text in self.texts):
            raise ValueError("texts: expected for every token whether it is a separator.")
        if self.patterns is not None:
            longest = max((len(text.tokens) for text in self.texts), default=0)
            shape = (len(self.texts), self.n_layers, self.n_query_heads, longest * (longest + 1) // 2)
            _check("pattern", self.patterns.weights, self.patterns.steps, shape, "uint8")

    @property
    def group_size(self) -> int:
        """How many query heads read one KV head."""
        return self.n_query_heads // self.n_kv_heads

    @cached_property
    def by_key(self) -> dict[str, Series]:
        """Measures by their keys."""
        return {measure.key: measure for measure in self.measures}

    @property
    def metrics(self) -> tuple[str, ...]:
        """What heads can be coloured by: every measure, and their kind where it is known."""
        return (*self.by_key, *(("kind",) if self.kinds is not None else ()))

    @property
    def core(self) -> bytes:
        """Everything but the patterns, packed for the browser."""
        return pack(_header(self), _arrays(self))

    def layer(self, layer: int) -> bytes:
        """One layer's patterns, [tick, text, query_head, triangle], packed. Raises ValueError where there are none."""
        if self.patterns is None:
            raise ValueError(f"{self.name} has no attention patterns: they are not part of a slim recording.")
        return pack({"layer": layer}, {"pattern": np.ascontiguousarray(self.patterns.weights[:, :, layer])})


def _check(name: str, array: np.ndarray, steps: Steps | None, shape: tuple[int, ...], kind: str = "float64") -> None:
    """Raises ValueError unless ``array`` has one ``shape`` a tick, all ticks at steps that rise, and the right type."""
    expected = shape if steps is None else (len(steps), *shape)
    if array.shape != expected or str(array.dtype) != kind:
        raise ValueError(f"{name}: expected {kind} {list(expected)}; got {array.dtype} {list(array.shape)}.")
    if steps is not None and (not steps or steps[0] < 0 or any(a >= b for a, b in pairwise(steps))):
        raise ValueError(f"{name}: expected steps from 0 on that rise; got {list(steps)}.")


def _header(payload: Payload) -> dict[str, Any]:
    """All but the arrays, as JSON can say it: ``Header`` of ``js/types.d.ts``. A clock is the steps that some of them share."""
    clocks: list[Steps] = []

    def clock(steps: Steps) -> int:
        if steps not in clocks:
            clocks.append(steps)
        return clocks.index(steps)

    def null_of(measure: Series) -> Mapping[str, Any] | None:
        null = measure.null
        return None if null is None else {"says": null.says, "clock": clock(null.steps)}

    said = ("name", "n_layers", "n_query_heads", "n_kv_heads", "d_head", "context", "last_step", "default", "status")
    described = ("key", "label", "unit", "owner", "says")
    return {
        **{name: getattr(payload, name) for name in said},
        "kv_colors": [style.kv_head_color(kv_head) for kv_head in range(payload.n_kv_heads)],
        "less": style.LESS,
        "more": style.MORE,
        "null_color": style.NULL,
        "measures": [
            {name: getattr(measure, name) for name in described}
            | {"clock": clock(measure.steps), "null": null_of(measure)}
            for measure in payload.measures
        ],
        "kinds": [vars(kind) for kind in payload.kinds.kinds] if payload.kinds else [],
        "kind_clock": clock(payload.kinds.steps) if payload.kinds else None,
        "gain_clock": clock(payload.gain.steps),
        "energy_clock": clock(payload.gain.energy_steps),
        "pattern_clock": clock(payload.patterns.steps) if payload.patterns else None,
        "curves": [{"key": c.key, "label": c.label, "clock": clock(c.steps)} for c in payload.curves],
        "alarms": [vars(alarm) for alarm in payload.alarms],
        "texts": [vars(text) for text in payload.texts],
        "clocks": clocks,
    }


def _arrays(payload: Payload) -> dict[str, np.ndarray]:
    """The arrays by the names that ``js/data.js`` knows them by."""
    found = {measure.key: measure.values for measure in payload.measures}
    found |= {f"null_{measure.key}": measure.null.band for measure in payload.measures if measure.null}
    found |= {f"curve_{curve.key}": curve.values for curve in payload.curves}
    if payload.kinds is not None:
        found["kind"] = payload.kinds.codes
    return found | {name: getattr(payload.gain, name) for name in ("gain", "energy", "golden", "rank", "wavelength")}
