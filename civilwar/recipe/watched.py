"""What is known of a model and a training that somebody else wrote: the configuration of a run that was only watched.

It answers the questions that analyses ask of a `RunConfig`, as far as the model itself or its user told. What nobody told,
an optimiser's decay or a base of RoPE, is no field here, and asking for it raises `RunLacks`: never a default.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from civilwar.errors import RunLacks
from civilwar.recipe.config import SCHEMA_VERSION, ConfigError, RunConfig

#: What the configuration of a watched run says it is; those of this package's own training say nothing.
WATCHED = "watched"
#: The moments at which the report looked, as shares of a run.
MOMENTS = {"start": 0.0, "early": 0.25, "mid": 0.5, "late": 1.0}


class _Told:
    """Fields that were told. Any other is unknown."""

    def __getattr__(self, name: str) -> Any:
        # copying and printing ask for names of Python's own
        if name.startswith("_"):
            raise AttributeError(name)
        raise RunLacks(
            f"nothing says what {name.replace('_', ' ')} a watched run has, so what rests on it is left out."
        )


@dataclass(frozen=True)
class WatchedModel(_Told):
    """Shape of a model, as its attention was heard."""

    family: str
    """Name of the model's class."""
    n_layers: int
    """Layers with attention that was heard."""
    n_query_heads: int
    """The most that a layer has."""
    n_kv_heads: int
    d_head: int
    """Width of a key."""
    n_parameters: int
    context: int
    """The longest text that was measured, in tokens: the probe's."""
    layers: tuple[str, ...]
    """Where each layer's attention stands in the model."""
    qk_norm: str = "none"
    """``learned`` where keys pass a norm whose gain was measured, else ``none``."""
    causal: bool = True
    frequencies: tuple[tuple[float, ...], ...] | None = None
    """Radians a token by which RoPE turns each dimension, [layer][d_head], 0 where it turns none; None where unknown."""

    @property
    def group_size(self) -> int:
        """Query heads per KV head."""
        return self.n_query_heads // self.n_kv_heads


@dataclass(frozen=True)
class WatchedProbe(_Told):
    """The texts on which heads are measured at every snapshot."""

    n_texts: int
    n_repeated: int
    short_tokens: int
    report_tokens: int
    sink_horizons: tuple[int, ...]
    sink_positions: tuple[int, ...]


@dataclass(frozen=True)
class WatchedTraining(_Told):
    """How far the training was followed."""

    steps: int


@dataclass(frozen=True)
class WatchedConfig(_Told):
    """Everything that decides what a watched run records, and what its user says of it."""

    model: WatchedModel
    probe: WatchedProbe
    every: int = 1
    """Steps from one measured step to the next."""
    full_every: int = 8
    """Steps from one full measurement to the next; the others have norms and largest logits only."""
    snapshots: str = "log"
    """At which steps the probe is measured, in words."""
    texts: str = ""
    """Checksum of the probe's tokens."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Free-form: whatever the user wants to keep with the run."""
    schema_version: int = SCHEMA_VERSION
    recorded: tuple[int, tuple[int, ...]] = (0, ())
    """The last step and the snapshots on disk so far, no part of the configuration."""

    preset = variant = WATCHED

    def at(self, last_step: int, snapshots: tuple[int, ...]) -> "WatchedConfig":
        """The same of a run that has come so far."""
        return dataclasses.replace(self, recorded=(last_step, snapshots))

    @property
    def train(self) -> WatchedTraining:
        """How far the run has come."""
        return WatchedTraining(self.recorded[0])

    @property
    def sink_horizon(self) -> int:
        """The T at which a head counts as a sink or not: 64 as in Gu et al. 2024, or the nearest recorded."""
        return min(self.probe.sink_horizons, key=lambda horizon: abs(horizon - 64))

    def snapshot_steps(self) -> list[int]:
        """Steps at which the probe was measured."""
        return list(self.recorded[1])

    def moments(self) -> dict[str, int]:
        """The snapshots nearest to the report's four moments; none without a snapshot."""
        last, snapshots = self.recorded
        if not snapshots:
            return {}
        first = snapshots[0]
        return {
            name: min(snapshots, key=lambda step: abs(step - first - share * (last - first)))
            for name, share in MOMENTS.items()
        } | {"late": snapshots[-1]}

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, as stored in the manifest."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        del plain["recorded"]
        return {"kind": WATCHED} | plain

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "WatchedConfig":
        """Inverse of `as_dict`. Raises ConfigError for fields this version does not know."""
        try:
            # plain dictionaries, whatever a manifest makes of them
            parts = {key: value for key, value in json.loads(json.dumps(stored)).items() if key != "kind"}
            model, probe = (
                {key: _tuples(value) for key, value in parts.pop(name).items()} for name in ("model", "probe")
            )
            config = cls(model=WatchedModel(**model), probe=WatchedProbe(**probe), **parts)
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"stored configuration does not fit this version of civilwar: {error}.") from error
        shape = [config.model.n_layers, config.model.n_query_heads, config.model.n_kv_heads, config.model.d_head]
        if not all(isinstance(n, int) and n > 0 for n in shape):
            raise ConfigError(f"layers, query heads, KV heads and d_head = {shape}: expected positive whole numbers.")
        return config

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of `as_dict`, as 16 hexadecimal digits."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


#: Of a run that this package trained, or of one that it watched.
AnyConfig = RunConfig | WatchedConfig


def read_config(stored: Any) -> AnyConfig:
    """The configuration that a manifest holds. Raises ConfigError where it is none that this version knows."""
    if isinstance(stored, dict) and stored.get("kind") == WATCHED:
        return WatchedConfig.from_dict(stored)
    return RunConfig.from_dict(stored)


def _tuples(value: Any) -> Any:
    """JSON makes lists of tuples."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
