"""At which steps a watched run is measured, how thoroughly, and when its probe is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

#: ``logits``: lengths and the largest logit. ``full``: everything.
Level = Literal["logits", "full"]


@dataclass(frozen=True)
class Schedule:
    """Which steps are measured.

    Args:
        every: steps from one measured step to the next.
        full_every: steps from one full measurement to the next.
        snapshots: ``log``, about four an octave; a number of steps from one to the next; the steps themselves; or None.

    Raises ValueError, naming the argument, for what is none of these.
    """

    every: int = 1
    full_every: int = 8
    snapshots: "str | int | Iterable[int] | None" = "log"
    _chosen: frozenset[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("every", "full_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} = {value!r}: expected a number of steps, at least 1.")
        chosen: frozenset[int] = frozenset()
        told = self.snapshots
        if isinstance(told, str):
            if told != "log":
                raise ValueError(
                    f"snapshots = {told!r}: expected 'log', a number of steps, the steps themselves, or None."
                )
        elif isinstance(told, int):
            if told < 1 or isinstance(told, bool):
                raise ValueError(f"snapshots = {told}: expected at least 1 step from one to the next.")
        elif told is not None:
            chosen = frozenset(told)
            if not all(isinstance(step, int) and step >= 0 for step in chosen):
                raise ValueError("snapshots: expected steps as whole numbers from 0 on.")
        object.__setattr__(self, "_chosen", chosen)

    def is_snapshot(self, step: int) -> bool:
        """Whether the probe is measured at ``step``."""
        if self.snapshots is None:
            return False
        if self.snapshots == "log":
            return step == 0 or step in _near_powers(step)
        if isinstance(self.snapshots, int):
            return step % self.snapshots == 0
        return step in self._chosen

    def level(self, step: int) -> Level | None:
        """How thoroughly the training batch of ``step`` is measured; None where it is not."""
        if self.is_snapshot(step) or step % self.full_every == 0:
            return "full"
        return "logits" if step % self.every == 0 else None

    @property
    def words(self) -> str:
        """When the probe is measured, as the configuration says it."""
        if self._chosen:
            return ", ".join(map(str, sorted(self._chosen)))
        return "never" if self.snapshots is None else str(self.snapshots)


def _near_powers(step: int) -> set[int]:
    """Rounded powers of 2^(1/4) in the octave of ``step``."""
    octave = step.bit_length() - 1
    return {round(2 ** (octave + quarter / 4)) for quarter in range(5)}
