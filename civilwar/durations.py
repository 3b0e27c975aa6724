"""How long things take, and how long the rest of them will, from what the first took since they warmed up."""

import statistics
from collections import deque

#: Steps at the beginning of a sitting that say nothing of the others: memory is taken and kernels are chosen in them.
WARM_UP = 3
#: Steps before there is a rate, and the number of latest ones that make it.
LEAST, LATEST = 5, 40


class TimeLeft:
    """Counts seconds of steps and of snapshots apart: at the beginning there is a snapshot at nearly every step."""

    def __init__(self) -> None:
        self._seen = 0
        self._steps: deque[float] = deque(maxlen=LATEST)
        self._snapshots: deque[float] = deque(maxlen=LATEST)

    def step(self, seconds: float) -> None:
        """One step took so long, its snapshot not counted."""
        self._seen += 1
        if self._seen > WARM_UP:
            self._steps.append(seconds)

    def snapshot(self, seconds: float) -> None:
        """One snapshot took so long."""
        self._snapshots.append(seconds)

    def seconds(self, steps: int, snapshots: int) -> float | None:
        """Of so many steps and snapshots to come; None until enough of both were seen.

        Medians, since a machine that does something else for a moment says nothing of the rest.
        """
        if len(self._steps) < LEAST or (snapshots and not self._snapshots):
            return None
        of_snapshots = statistics.median(self._snapshots) * snapshots if snapshots else 0.0
        return statistics.median(self._steps) * steps + of_snapshots


def in_words(seconds: float) -> str:
    """A duration as people say it: ``40 s``, ``7 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
