"""Work in numbered stages: what each will take is said before the first begins, and that it goes on while it does."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from civilwar.durations import in_words

#: Seconds of silence after which a stage says that it still works.
BEAT = 20.0


@dataclass(frozen=True)
class Stage:
    """One stage, before it begins."""

    name: str
    does: str
    seconds: float | None = None
    """As measured before, on this machine or another; None where it was not."""
    megabytes: float | None = None
    """Of disk that it fills, likewise."""


def plan(stages: Sequence[Stage]) -> list[str]:
    """A line a stage: its number, what it does, and what it will take."""
    width = max(len(stage.name) for stage in stages)
    longest = max(len(stage.does) for stage in stages)
    return [
        f"  {number}/{len(stages)} {stage.name:<{width}}  {stage.does:<{longest}}  {_costs(stage)}".rstrip()
        for number, stage in enumerate(stages, 1)
    ]


def _costs(stage: Stage) -> str:
    takes = "time not known yet" if stage.seconds is None else f"about {in_words(stage.seconds)}"
    return takes if stage.megabytes is None else f"{takes}, {stage.megabytes:.0f} MB of disk"


class Stages:
    """Stages one after the other; says when each begins, that it goes on, and what it took."""

    def __init__(self, stages: Sequence[Stage], say: Callable[[str], None], beat: float = BEAT) -> None:
        self.stages, self.say, self.beat = tuple(stages), say, beat
        #: Seconds that each took, by name.
        self.took: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, speaks: bool = False) -> Iterator[Callable[[str], None]]:
        """Do the stage of that name in the block. Gives a function to call with what it does now.

        Args:
            name: of the stage.
            speaks: whether it shows its own progress, so that nothing need be said in between.
        """
        number = next(n for n, stage in enumerate(self.stages, 1) if stage.name == name)
        head = f"[{number}/{len(self.stages)}] {name}"
        begun, now, over = time.monotonic(), [""], threading.Event()

        def still() -> None:
            while not over.wait(self.beat):
                self.say(f"{head}: {now[0] or 'goes on'}, {in_words(time.monotonic() - begun)} so far")

        def tell(what: str) -> None:
            now[0] = what
            self.say(f"{head}: {what}")

        self.say(f"{head}: {self.stages[number - 1].does}")
        beats = threading.Thread(target=still, daemon=True)
        if not speaks:
            beats.start()
        try:
            yield tell
        finally:
            over.set()
            if not speaks:
                beats.join()
        self.took[name] = time.monotonic() - begun
        self.say(f"{head}: done in {in_words(self.took[name])}")
