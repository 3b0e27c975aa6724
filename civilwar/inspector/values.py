"""A payload's numbers by step, layer and head, to the bit as `js/data.js` has them: what a view shows, still or alive.

Both read arrays as they arrive in a browser (`civilwar.inspector.pack`), in the same order of operations.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from civilwar.inspector.pack import as_it_arrives
from civilwar.inspector.payload import Payload, Series, Steps

#: Share of the pairs of heads of one layer that lie within the null of a difference.
SHARE = 0.95


class Tints(NamedTuple):
    """Colours of all heads of a run by one measure at one step."""

    below: np.ndarray
    """Whether a head is below its null, [layer, head] of the measure's owner; never where there is no null."""
    strength: np.ndarray
    """0 to 1, [layer, head]; 0 where the measure is undefined."""


def tick(steps: Steps, step: int) -> int:
    """The last tick at or before ``step``; the first where there is none before."""
    return max(int(np.searchsorted(steps, step, side="right")) - 1, 0)


class Values:
    """One measure of a payload."""

    def __init__(self, payload: Payload, key: str) -> None:
        """Raises KeyError for a measure that the payload does not have."""
        self.series: Series = payload.by_key[key]
        self._values = as_it_arrives(self.series.values).astype(float)
        null = self.series.null
        self._null = None if null is None else as_it_arrives(null.band).astype(float)

    def at(self, step: int) -> np.ndarray:
        """Values of all heads at the last tick at or before ``step``, [layer, head] of the measure's owner."""
        return self._values[tick(self.series.steps, step)]

    def band(self, step: int) -> np.ndarray:
        """The null of every layer at ``step``, [layer, (low, high)], NaN where there is none.

        On the line between the moments that it was computed at, and as it was last after the last of them.
        """
        if self._null is None or self.series.null is None:
            return np.full((self._values.shape[1], 2), np.nan)
        steps = self.series.null.steps
        here = tick(steps, step)
        following = min(here + 1, len(steps) - 1)
        share = max(0, step - steps[here]) / (steps[following] - steps[here]) if following > here else 0
        return self._null[here] + (self._null[following] - self._null[here]) * share

    def apart(self, step: int) -> np.ndarray:
        """Distance that 95% of the pairs of different heads of a layer do not exceed, [layer]; NaN without such a pair.

        The null of a difference between two sides of a comparison: heads of one layer differ that much anyway. No
        interpolation: the distance of the pair of rank ceil(0.95 n) of n. Heads are the measure's owners.
        """
        values = self.at(step)
        one, two = np.triu_indices(values.shape[1], 1)
        distances = np.sort(np.abs(values[:, one] - values[:, two]), axis=1)
        count = (~np.isnan(distances)).sum(axis=1)
        # undefined ones come last
        rank = np.ceil(SHARE * count).astype(int) - 1
        found = np.take_along_axis(distances, np.maximum(rank, 0)[:, None], axis=1)[:, 0] if one.size else np.nan
        return np.where(count > 0, found, np.nan)

    @cached_property
    def extent(self) -> tuple[float, float]:
        """Smallest and largest value over the whole run, the null included; half a unit around it where there is but one."""
        every = np.concatenate([part.ravel() for part in (self._values, self._null) if part is not None])
        low, high = float(np.fmin.reduce(every, initial=np.inf)), float(np.fmax.reduce(every, initial=-np.inf))
        return (low, high) if low < high else (low - 0.5, low + 0.5)

    @cached_property
    def deviation(self) -> float:
        """How far any head of the run gets from the middle of its null: full colour."""
        middles = np.stack([_middle(self.band(step)) for step in self.series.steps])
        return float(np.fmax.reduce(np.abs(self._values - middles[..., None]), axis=None, initial=0)) or 1.0

    def tints(self, step: int) -> Tints:
        """Below and above the middle of the null; from the smallest to the largest value where a layer has none."""
        values, middle = self.at(step), _middle(self.band(step))[:, None]
        off = (values - middle) / self.deviation
        low, high = self.extent
        strength = np.where(np.isnan(middle), (values - low) / (high - low), np.minimum(np.abs(off), 1))
        return Tints(off < 0, np.where(np.isnan(values), 0, strength))


def _middle(band: np.ndarray) -> np.ndarray:
    return (band[..., 0] + band[..., 1]) / 2


def difference(one: Values, two: Values, step: int, other_step: int) -> tuple[np.ndarray, np.ndarray]:
    """``one`` at ``step`` less ``two`` at ``other_step``, [layer, head] of the measure's owner; and its null, [layer].

    The null is `Values.apart` of the side where that is more; a difference beyond it is larger than that of most pairs of
    heads of one layer. Raises ValueError where the two have other heads.
    """
    a, b = one.at(step), two.at(other_step)
    if a.shape != b.shape:
        raise ValueError(f"cannot compare {list(a.shape)} heads [layer, head] with {list(b.shape)}: expected as many.")
    return a - b, np.fmax(one.apart(step), two.apart(other_step))
