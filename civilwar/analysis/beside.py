"""Phase 10: the report's numbers, and the points of our run that are held against them.

The report's numbers are read off its figures, so they are as exact as a reader's eye. Its layer 11 of 22 is half way up; in
a model of another depth the layer half way up stands for it (`divergence.middle_layer`), and likewise for layers 1 and 20.
"""

from dataclasses import dataclass

import pandas as pd

from civilwar.analysis import focus
from civilwar.runs.reader import Run


@dataclass(frozen=True)
class Reported:
    """What the report's figures show, in the units of the tables here."""

    start_norm: float = 8.0
    dip_norm: float = 7.1
    dip_step: float = 90.0
    end_norms: tuple[float, ...] = (11.6, 10.5, 9.9, 9.7)
    """Of the four KV heads of layer 11, largest first."""
    start_rank: float = 24.0
    ranks: tuple[tuple[str, int, float], ...] = (("early", 1, 18.4), ("middle", 11, 11.4), ("late", 20, 13.9))
    """Coordinate participation ratio at the end: which layer, its number of 22, the value."""
    gains: tuple[float, float] = (0.56, 1.9)
    """Smallest and largest gain of layer 11 at the end."""
    loud: float = 11.0
    loud_entropies: tuple[float, float] = (3.6, 4.2)
    """Entropy, by the report's measure and in nats, of its late points with a key norm above `loud`."""


REPORTED = Reported()


def final_heads(run: Run) -> pd.DataFrame:
    """The report's points: every KV head at the end, with its query heads' mean entropies: layer, kv_head, norm, …."""
    points = focus.group_points(run)
    return points[points["step"] == run.last_step]
